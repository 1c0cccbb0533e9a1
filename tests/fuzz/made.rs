//! Inputs that are easier made than stored: protobuf and AMQP, which are not text, and what is as long or as deep as a target is given.

use bankrefresh::fuzzing::{SECRET, Target};
use bankrefresh::proto::refresh_state::{self, Phase};
use bankrefresh::proto::{
    Bank, RefreshConnection, RefreshContext, RefreshFailed, RefreshState, RefreshTimes, Transaction,
    TransactionsUpdated, UserActionRequired, UserMetadata,
};
use prost::Message as _;

pub(crate) fn of(target: &Target) -> Vec<Vec<u8>> {
    let bytes_max = target.bytes_max;
    let mut made: Vec<Vec<u8>> = ["[", "{\"a\":", "9", "\"", "[table]\n", "\n", "\u{0}"]
        .iter()
        .map(|piece| piece.repeat(bytes_max / piece.len()).into_bytes())
        .collect();
    made.push([&b"\""[..], &b"x".repeat(bytes_max - 2), b"\""].concat());
    match target.name {
        "command" | "dead-letter" => made.extend(commands()),
        "checkpoint" => made.extend(checkpoints()),
        "event" => made.extend(events()),
        "amqp-headers" => made.extend(headers(bytes_max)),
        "amqp-frame" => {
            made.extend(headers(bytes_max - 64).iter().map(|entries| frame(entries)));
            made.push(message(40_000));
            made.push(message(10));
        }
        _ => {}
    }
    made
}

fn commands() -> Vec<Vec<u8>> {
    let plain = RefreshConnection {
        command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        user_id: "anna".to_owned(),
        bank_connection_id: 101,
        ..RefreshConnection::default()
    };
    let label = |n: u32| (format!("label-{n}"), "x".repeat(255));
    let all = RefreshConnection {
        requested_at: Some(prost_types::Timestamp {
            seconds: 1_773_133_000,
            nanos: 999_999_999,
        }),
        import_new_accounts: 2,
        account_types: vec![1, 2, 3],
        allowed_interfaces: vec![1, 2],
        edit_saved_settings: vec![1],
        skip_balances_download: true,
        skip_positions_download: true,
        load_owner_data: true,
        user_metadata: Some(UserMetadata {
            ip_address: "192.0.2.1".to_owned(),
            device_os: "iOS".to_owned(),
            user_agent: "App".to_owned(),
        }),
        profile_id: "946db09e-5bfc-11eb-ae93-0242ac130002".to_owned(),
        redirect_url: "https://b.example/back".to_owned(),
        max_age: Some(prost_types::Duration { seconds: 60, nanos: 1 }),
        wait_for_categorization: true,
        access_token: format!("{SECRET}token"),
        labels: (0..32).map(label).collect(),
        ..plain.clone()
    };
    let long_ago = prost_types::Timestamp {
        seconds: -377_705_023_201,
        nanos: 0,
    };
    let never = prost_types::Duration {
        seconds: i64::MAX,
        nanos: 999_999_999,
    };
    let odd = RefreshConnection {
        bank_connection_id: i64::MAX,
        user_id: "ä".repeat(36),
        requested_at: Some(long_ago),
        max_age: Some(never),
        ..plain.clone()
    };
    [plain, all, odd].iter().map(RefreshConnection::encode_to_vec).collect()
}

/// One of each phase. Each number is the largest there is, and each moment the last.
fn checkpoints() -> Vec<Vec<u8>> {
    let last = Some(prost_types::Timestamp {
        seconds: 253_402_207_200,
        nanos: 999_999_999,
    });
    let task = Some(refresh_state::Task {
        id: "946db09e-5bfc-11eb-ae93-0242ac130002".to_owned(),
        created_at: last,
    });
    let update = Some(refresh_state::Update {
        task: task.clone(),
        origin: 1,
    });
    let phases = [
        Phase::Locating(refresh_state::Locating {
            locked: true,
            ..refresh_state::Locating::default()
        }),
        Phase::Updating(refresh_state::Updating { task: task.clone() }),
        Phase::AwaitingUser(refresh_state::AwaitingUser {
            task: task.clone(),
            web_form_id: "31c508d8-51da-11eb-ae93-0242ac130002".to_owned(),
            expires_at: last,
        }),
        Phase::Failing(refresh_state::Failing {
            task,
            part: u32::MAX,
            failure: Some(RefreshFailed {
                reason: i32::MAX,
                message: "no".to_owned(),
                ..RefreshFailed::default()
            }),
        }),
        Phase::Settling(refresh_state::Settling { update: update.clone() }),
        Phase::Collecting(refresh_state::Collecting {
            update,
            covered_from: last,
            covered_until: last,
            began: last,
            listed: true,
            groups: (0..10i64)
                .map(|group| refresh_state::Group {
                    account_ids: (0..100).map(|id| i64::MAX - 100 * group - id).collect(),
                })
                .collect(),
            group: 10,
            page: u32::MAX,
            last_id: i64::MAX,
            last_account_ids: vec![i64::MAX; 100],
            totals: Some(refresh_state::Totals {
                count: Some(u64::MAX),
                income: "79228162514264337593543950335".to_owned(),
                spending: "-0.0000000000000000000000000001".to_owned(),
            }),
            way: 3,
            part: u32::MAX,
            figures: (0..1000)
                .map(|account_id| refresh_state::AccountFigures {
                    account_id,
                    new: u32::MAX,
                    oldest: "9999-12-31".to_owned(),
                })
                .collect(),
            others: u32::MAX,
            uncovered_account_ids: vec![i64::MAX; 1000],
            skipped: u32::MAX,
            skipped_first: last,
        }),
    ];
    let state = |phase| RefreshState {
        paused_for: Some(prost_types::Duration { seconds: 60, nanos: 1 }),
        version: 1,
        command: Some(RefreshConnection {
            command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
            user_id: "anna".to_owned(),
            bank_connection_id: 101,
            requested_at: last,
            ..RefreshConnection::default()
        }),
        interactive: true,
        correlation_id: "c".to_owned(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        tracestate: "a=b".to_owned(),
        phase: Some(phase),
        phase_since: last,
        due_at: last,
        polls: u32::MAX,
        failures: u32::MAX,
        refusals: u32::MAX,
        not_found: u32::MAX,
        token_refused: u32::MAX,
        times: Some(RefreshTimes {
            data_stored_at: last,
            ..RefreshTimes::default()
        }),
    };
    phases.map(|phase| state(phase).encode_to_vec()).into()
}

fn events() -> Vec<Vec<u8>> {
    let refresh = Some(RefreshContext {
        command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        user_id: "anna".to_owned(),
        bank_connection_id: 101,
        ..RefreshContext::default()
    });
    let transaction = Transaction {
        id: 9001,
        account_id: 7,
        purpose: "Rent".to_owned(),
        ..Transaction::default()
    };
    let updated = TransactionsUpdated {
        refresh: refresh.clone(),
        bank: Some(Bank {
            id: 280_001,
            name: "Testbank".to_owned(),
            ..Bank::default()
        }),
        part: 1,
        last: true,
        transactions: vec![transaction; 3],
        ..TransactionsUpdated::default()
    };
    let action = UserActionRequired {
        refresh: refresh.clone(),
        web_form_url: format!("https://webform.test/{SECRET}1"),
        ..UserActionRequired::default()
    };
    let failed = RefreshFailed {
        refresh,
        finapi_code: "LOCKED".to_owned(),
        message: "locked".to_owned(),
        ..RefreshFailed::default()
    };
    vec![updated.encode_to_vec(), action.encode_to_vec(), failed.encode_to_vec()]
}

/// How deep tables and arrays are nested, besides those that are nested as deep as there is room for.
const DEPTH: usize = 16;

/// Entries of header tables: each type, each of our headers, and what is nested.
fn headers(bytes_max: usize) -> Vec<Vec<u8>> {
    let text = |text: &str| [&b"S"[..], &length(text.len()), text.as_bytes()].concat();
    let integer = |number: i64| [&b"l"[..], &number.to_be_bytes()].concat();
    let ours = [
        entry(
            "traceparent",
            &text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ),
        entry("x-delivery-count", &integer(i64::MAX)),
        entry("bankrefresh_revision", &integer(i64::MAX)),
        entry("bankrefresh_redeliveries", &integer(3)),
        entry("bankrefresh_parked_at", &integer(i64::MIN)),
        entry("bankrefresh_died_at", &integer(1_773_133_200_000)),
        entry("bankrefresh_quarantined_since", &integer(-1)),
        entry("bankrefresh_queue", &text("bankrefresh.commands.interactive")),
        entry("bankrefresh_reason", &text("type: is wrong\u{1b}[31m")),
    ];
    let scalars: Vec<u8> = [
        &b"t\x01"[..],
        b"b\xff",
        b"B\xff",
        b"s\xff\xff",
        b"u\xff\xff",
        b"I\x80\0\0\0",
        b"i\xff\xff\xff\xff",
    ]
    .iter()
    .chain(&[
        &b"d\x7f\xf0\0\0\0\0\0\0"[..],
        b"f\xff\xc0\0\0",
        b"D\xff\xff\xff\xff\xff",
        b"T\xff\xff\xff\xff\xff\xff\xff\xff",
        b"V",
    ])
    .enumerate()
    .flat_map(|(n, value)| entry(&n.to_string(), value))
    .collect();
    let death = [
        entry("reason", &text("delivery_limit")),
        entry("queue", &text("bankrefresh.quarantine")),
        entry("time", b"T\0\0\0\0\x69\xaf\x3c\x90"),
    ];
    let table = nest(b"F", &death.concat());
    let many: Vec<u8> = (0..bytes_max / 16)
        .flat_map(|n| entry(&format!("{n:08}"), b"I\0\0\0\x01"))
        .collect();
    let tables = deep(DEPTH, &b"\0F"[..]);
    let arrays = entry("", &deep(DEPTH, &b"A"[..]));
    let deepest = entry("", &deep(bytes_max / 5 - 1, &b"A"[..]));
    let not_utf8 = [&b"\x01\xff"[..], &integer(1)].concat();
    vec![
        ours.concat(),
        scalars,
        entry("x-death", &nest(b"A", &table)),
        many,
        tables,
        arrays,
        deepest,
        not_utf8,
    ]
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    let name_length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[name_length][..], name.as_bytes(), value].concat()
}

fn nest(kind: &[u8], inner: &[u8]) -> Vec<u8> {
    [kind, &length(inner.len()), inner].concat()
}

/// So many of one kind, each within the one before.
fn deep(levels: usize, kind: &[u8]) -> Vec<u8> {
    let size = kind.len() + 4;
    (0..levels)
        .rev()
        .flat_map(|level| [kind, &length(level * size)].concat())
        .collect()
}

/// A header frame of `basic` that has only a header table.
fn frame(entries: &[u8]) -> Vec<u8> {
    let content = [
        &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0][..],
        &length(entries.len()),
        entries,
    ]
    .concat();
    [&[2, 0, 1][..], &length(content.len()), &content, &[0xce]].concat()
}

/// The frames of a delivery to a consumer, with a body of so many bytes, and of another one behind it.
fn message(body: usize) -> Vec<u8> {
    let deliver = b"\x01\0\x01\0\0\0\x14\0\x3c\0\x3c\x02\xffc\0\0\0\0\0\0\0\x01\0\x01e\x01\xff\xce";
    let text = [&b"S"[..], &length(2), b"ok"].concat();
    let mut header = frame(&entry("a", &text));
    let size = u64::try_from(body).unwrap_or(u64::MAX).to_be_bytes();
    header[11..19].copy_from_slice(&size);
    let body = [&[3, 0, 1][..], &length(body), &vec![0xce; body], &[0xce]].concat();
    [&deliver[..], &header, &body, &deliver[..], &frame(&entry("b", &text))].concat()
}
