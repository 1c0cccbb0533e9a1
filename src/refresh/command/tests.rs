//! What passes the edge, what is refused there, and the way back.

use uuid::Uuid;

use super::*;
use crate::limits::{COMMAND_BYTES_MAX, MAX_AGE_SECONDS_MAX};
use crate::proto::{self, RefreshConnection};

type Spoil = fn(&mut RefreshConnection);

fn plain() -> RefreshConnection {
    RefreshConnection {
        command_id: Uuid::from_u128(1).to_string(),
        user_id: "anna".into(),
        bank_connection_id: 1,
        ..RefreshConnection::default()
    }
}

/// A command with something in every field.
fn full() -> RefreshConnection {
    RefreshConnection {
        command_id: "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001".into(),
        user_id: "Änna".into(),
        bank_connection_id: 7,
        requested_at: Some(prost_types::Timestamp {
            seconds: 1_772_000_000,
            nanos: 5,
        }),
        import_new_accounts: proto::ImportNewAccounts::Forced.into(),
        account_types: (1..=7).collect(),
        allowed_interfaces: (1..=3).collect(),
        edit_saved_settings: (1..=2).collect(),
        skip_balances_download: true,
        skip_positions_download: true,
        load_owner_data: true,
        user_metadata: Some(proto::UserMetadata {
            ip_address: "192.0.2.1".into(),
            device_os: "iOS".into(),
            user_agent: "App".into(),
        }),
        profile_id: "p".repeat(36),
        redirect_url: "https://example.org/Path?back".into(),
        max_age: Some(prost_types::Duration { seconds: 60, nanos: 7 }),
        transactions_since: Some(prost_types::Timestamp {
            seconds: 1_771_000_000,
            nanos: 7,
        }),
        wait_for_categorization: true,
        access_token: "planted-token".into(),
        labels: [("tenant".to_owned(), "t-1".to_owned())].into(),
        client: "live.2_a-b".into(),
    }
}

fn invalid(spoil: Spoil) -> InvalidCommand {
    let mut command = plain();
    spoil(&mut command);
    Command::parse(command).expect_err("a command that is refused")
}

#[test]
fn what_a_command_asks_for_is_kept() {
    let command = Command::parse(full()).expect("a command");
    assert_eq!(command.account_types().len(), 7);
    assert_eq!(command.allowed_interfaces().len(), 3);
    assert_eq!(command.edit_saved_settings().len(), 2);
    assert!(command.load_owner_data());
    assert_eq!(command.profile_id(), Some("p".repeat(36).as_str()));
    assert_eq!(command.redirect_url(), Some("https://example.org/Path?back"));
    let command = Command::parse(plain()).expect("a command");
    assert!(command.account_types().is_empty() && command.allowed_interfaces().is_empty());
    assert!(!command.load_owner_data());
    assert_eq!((command.profile_id(), command.redirect_url()), (None, None));
}

#[test]
fn every_field_out_of_bounds_is_named() {
    let spoilt: [(&str, Spoil); 49] = [
        ("transactions_since", |c| {
            c.transactions_since = Some(prost_types::Timestamp {
                seconds: i64::MIN,
                nanos: 0,
            });
        }),
        ("command_id", |c| c.command_id = "7".into()),
        ("command_id", |c| c.command_id.clear()),
        ("user_id", |c| c.user_id.clear()),
        ("user_id", |c| c.user_id = "x".repeat(37)),
        ("bank_connection_id", |c| c.bank_connection_id = 0),
        ("requested_at", |c| {
            c.requested_at = Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            });
        }),
        ("import_new_accounts", |c| c.import_new_accounts = 9),
        ("account_types", |c| c.account_types = vec![1]),
        ("account_types", |c| {
            c.import_new_accounts = 1;
            c.account_types = vec![1];
        }),
        ("account_types", |c| {
            c.import_new_accounts = 2;
            c.account_types = vec![0];
        }),
        ("allowed_interfaces", |c| c.allowed_interfaces = vec![1, 0]),
        ("edit_saved_settings", |c| c.edit_saved_settings = vec![0]),
        ("skip_balances_download", |c| c.skip_balances_download = true),
        ("user_metadata", |c| {
            c.user_metadata = Some(proto::UserMetadata::default())
        }),
        ("profile_id", |c| c.profile_id = "short".into()),
        ("redirect_url", |c| c.redirect_url = "http://example.org".into()),
        ("redirect_url", |c| {
            c.redirect_url = format!("https://example.org/{}", "x".repeat(2048))
        }),
        ("max_age", |c| {
            c.max_age = Some(prost_types::Duration { seconds: -1, nanos: 0 })
        }),
        ("max_age", |c| {
            c.max_age = Some(prost_types::Duration { seconds: 1, nanos: -1 })
        }),
        ("labels", |c| {
            c.labels.insert("k".into(), "v".repeat(256));
        }),
        ("command_id", |c| c.command_id = c.command_id.replace('-', "")),
        ("command_id", |c| c.command_id = format!("urn:uuid:{}", c.command_id)),
        ("command_id", |c| c.command_id = full().command_id.to_uppercase()),
        ("user_id", |c| c.user_id = ".\t.".into()),
        ("user_id", |c| c.user_id = "anna\n".into()),
        ("user_id", |c| c.user_id = "an\u{202e}na".into()),
        ("bank_connection_id", |c| c.bank_connection_id = -5),
        ("account_types", |c| {
            c.import_new_accounts = 2;
            c.account_types = vec![1; 8];
        }),
        ("allowed_interfaces", |c| c.allowed_interfaces = vec![1; 4]),
        ("edit_saved_settings", |c| c.edit_saved_settings = vec![1; 3]),
        ("user_metadata", |c| metadata(c).ip_address = "1".repeat(65)),
        ("user_metadata", |c| metadata(c).device_os = "x".repeat(1025)),
        ("user_metadata", |c| metadata(c).user_agent = "App\r\nX: y".into()),
        ("profile_id", |c| c.profile_id = "\u{85}".repeat(36)),
        ("redirect_url", |c| c.redirect_url = "https://example.org/\nback".into()),
        ("redirect_url", |c| c.redirect_url = "https://example.org/ back".into()),
        ("redirect_url", |c| c.redirect_url = "https://localhost/back".into()),
        ("redirect_url", |c| {
            c.redirect_url = "https://example.org/b\u{fc}ck".into()
        }),
        ("redirect_url", |c| c.redirect_url = "https://example.org/?a[]=1".into()),
        ("redirect_url", |c| c.redirect_url = "https://example.org/;back".into()),
        ("max_age", |c| {
            c.max_age = Some(prost_types::Duration {
                seconds: MAX_AGE_SECONDS_MAX + 1,
                nanos: 0,
            });
        }),
        ("access_token", |c| c.access_token = "t".repeat(8193)),
        ("access_token", |c| c.access_token = "to\nken".into()),
        ("labels", |c| {
            c.labels.insert("k".repeat(256), "v".into());
        }),
        ("client", |c| c.client = "x".repeat(65)),
        ("client", |c| c.client = "li ve".into()),
        ("client", |c| c.client = "lïve".into()),
        ("labels", |c| {
            c.labels = (0..33).map(|n| (n.to_string(), String::new())).collect();
        }),
    ];
    for (field, spoil) in spoilt {
        let invalid = invalid(spoil);
        assert_eq!(invalid.field, field);
        assert!(invalid.to_string().starts_with(&format!("{field}: ")), "{invalid}");
    }
}

fn metadata(command: &mut RefreshConnection) -> &mut proto::UserMetadata {
    let full = full().user_metadata;
    command.user_metadata.insert(full.expect("a device"))
}

#[test]
fn the_largest_command_fits_a_message() {
    let label = |n: usize| (format!("{n:02}").repeat(200)[..255].to_owned(), "ü".repeat(127));
    let command = RefreshConnection {
        user_id: "𝄞".repeat(36),
        user_metadata: Some(proto::UserMetadata {
            ip_address: "1".repeat(64),
            device_os: "日".repeat(1024),
            user_agent: "日".repeat(1024),
        }),
        profile_id: "日".repeat(36),
        redirect_url: format!("https://example.org/{}", "b".repeat(2028)),
        access_token: "t".repeat(8192),
        labels: (0..32).map(label).collect(),
        client: "x".repeat(64),
        ..full()
    };
    let parsed = Command::parse(command.clone());
    assert!(parsed.is_ok(), "{parsed:?}");
    let size = prost::Message::encoded_len(&command);
    assert!(size < COMMAND_BYTES_MAX, "{size} bytes");
}

#[test]
fn a_value_that_only_a_newer_release_knows_is_refused_with_the_field_and_the_value() {
    let newer: [(&str, Spoil); 4] = [
        ("import_new_accounts", |c| c.import_new_accounts = 99),
        ("account_types", |c| {
            c.import_new_accounts = 2;
            c.account_types = vec![1, 99];
        }),
        ("allowed_interfaces", |c| c.allowed_interfaces = vec![99]),
        ("edit_saved_settings", |c| c.edit_saved_settings = vec![99]),
    ];
    for (field, spoil) in newer {
        let reason = invalid(spoil).to_string();
        assert!(reason.starts_with(&format!("{field}: must be ")), "{reason}");
        assert!(
            reason.ends_with(" (this release does not know the value 99)"),
            "{reason}"
        );
    }
}

#[test]
fn every_field_comes_back_as_it_was() {
    let downloads = [(false, false), (true, false), (true, true)].map(|(positions, balances)| RefreshConnection {
        skip_positions_download: positions,
        skip_balances_download: balances,
        ..full()
    });
    let imports = [0, 1, 2, 3].map(|import_new_accounts| RefreshConnection {
        import_new_accounts,
        ..plain()
    });
    let never = RefreshConnection {
        max_age: Some(prost_types::Duration {
            seconds: MAX_AGE_SECONDS_MAX,
            nanos: 999_999_999,
        }),
        ..plain()
    };
    for command in [plain(), never].into_iter().chain(downloads).chain(imports) {
        let parsed = Command::parse(command.clone()).expect("a command");
        assert_eq!(RefreshConnection::from(&parsed), command);
    }
}

#[test]
fn a_command_shows_its_ids_and_nothing_that_is_secret_or_personal() {
    let command = Command::parse(full()).expect("a command");
    let shown = format!("{command:?} {command:#?}");
    assert!(shown.contains("6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001"), "{shown}");
    for hidden in ["planted-token", "Änna", "192.0.2.1", "t-1"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
