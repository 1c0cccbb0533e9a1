//! Workers of the release before this one and of this one, side by side under load: rolled forward, back, and forward again with kills in
//! place of stops.

use std::collections::BTreeSet;
use std::time::Duration;

use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{
    After, Behaviour, Endpoint, Fault, FaultKind, SandboxConfig, Script, ScriptedConnection, Transactions, UserDoes,
};
use tokio::time::sleep;

use crate::support::platform::{Platform, WorkerProcess, command, quick, silent};

/// Names the program of the release before. `scripts/check --long upgrade` builds it and sets this; where it is not set, this program takes
/// its place, so that workers are at least replaced.
const PREVIOUS: &str = "BANKREFRESH_TEST_PREVIOUS";

/// How many commands are sent between two replacements.
const COMMANDS: i64 = 60;

/// What updates do, in turns: so every phase of a refresh is there when a worker is replaced.
fn scripts() -> Vec<Script> {
    let user = UserDoes::Completes { after: After::secs(5) };
    let faulty = |fault| Script {
        faults: vec![fault],
        ..Script::of(silent())
    };
    vec![
        Script::of(silent()),
        Script::of(Behaviour::Silent { after: After::secs(8) }),
        Script::of(Behaviour::WebFormDuring {
            after: After::secs(1),
            user: user.clone(),
        }),
        Script::of(Behaviour::ImmediateWebForm { user }),
        Script::of(Behaviour::Fails {
            after: After::secs(2),
            error_code: "BANK_SERVER_REJECTION".to_owned(),
            error_message: String::new(),
        }),
        Script {
            batch_update: Some(After::secs(4)),
            ..Script::of(silent())
        },
        Script {
            transactions: Transactions {
                older: 0,
                per_update: 1_700,
            },
            ..Script::of(silent())
        },
        Script {
            settles: After::secs(4),
            ..Script::of(silent())
        },
        faulty(Fault::at(Endpoint::StartUpdate, FaultKind::ResponseLost).first(1)),
        faulty(Fault::at(Endpoint::StartUpdate, FaultKind::retry_after(429, 3)).first(1)),
    ]
}

const FAILING: usize = 4;

/// Which of the scripts a connection has.
fn kind(connection: i64) -> usize {
    usize::try_from(connection).expect("an id") % scripts().len()
}

fn config(commands: i64) -> SandboxConfig {
    let scripts = scripts();
    let connections = (1..=commands).map(|connection_id| ScriptedConnection {
        user_id: None,
        connection_id,
        script: scripts[kind(connection_id)].clone(),
    });
    SandboxConfig {
        connections: connections.collect(),
        web_form_life: Duration::from_secs(60),
        ..quick()
    }
}

/// Which release a worker is of.
#[derive(Clone, Copy, Debug)]
enum Release {
    Previous,
    This,
}

fn worker(platform: &Platform, release: Release) -> WorkerProcess {
    let ours = [
        ("WORKER__HOLD_WAIT_MAX", "1s"),
        ("EVENTS__SIZE_MAX", "65536"),
        // The topology is this release's, as an operator applies it before the first new worker.
        ("AMQP__DECLARE", "false"),
    ];
    let mut program = match (release, std::env::var_os(PREVIOUS)) {
        (Release::Previous, Some(path)) => platform.program_at(path, &["worker"], &ours),
        _ => platform.program(&["worker"], &ours),
    };
    WorkerProcess::start(&mut program)
}

#[tokio::test]
async fn releases_roll_forward_and_back_under_load_and_lose_nothing() {
    use Release::{Previous, This};
    // Forward, back, and forward again; who is replaced then is killed.
    let replacements = [This, This, Previous, Previous, This, This];
    let commands = COMMANDS * i64::try_from(replacements.len() + 1).expect("a few");
    let mut platform = Platform::start(config(commands)).await;
    let mut workers = [worker(&platform, Previous), worker(&platform, Previous)];
    for worker in &mut workers {
        worker.log.until("connected to RabbitMQ").await;
    }
    let mut sent = 0;
    for (turn, release) in replacements.into_iter().enumerate() {
        send(&platform, &mut sent).await;
        sleep(Duration::from_secs(3)).await;
        let old = &mut workers[turn % 2];
        if turn < 4 {
            old.signal("TERM").await;
            assert!(old.ended().await.success(), "{}", old.log.text());
        } else {
            old.child.kill().await.expect("killed");
        }
        *old = worker(&platform, release);
        old.log.until("connected to RabbitMQ").await;
    }
    send(&platform, &mut sent).await;
    assert_eq!(sent, commands);
    platform.outcomes(usize::try_from(commands).expect("a count")).await;
    check(&platform);
    let dead = platform.rabbit.depth(&platform.topology.dead_letters()).await;
    assert_eq!(dead.0, 0, "dead letters");
}

async fn send(platform: &Platform, sent: &mut i64) {
    let commands = (*sent + 1..=*sent + COMMANDS).map(command).collect();
    platform.send_all(commands, true).await;
    *sent += COMMANDS;
}

/// One outcome for each command, the right one; one update at most; and each transaction that an update imported.
fn check(platform: &Platform) {
    let asked = platform.sandbox.asked();
    for (command, events) in &platform.events {
        let connection = events[0].0.context().bank_connection_id;
        let shown = || {
            let events: Vec<_> = events.iter().map(|(event, _)| event).collect();
            format!(
                "{command} of connection {connection}, kind {}: {events:?}",
                kind(connection)
            )
        };
        let last: BTreeSet<&str> = events
            .iter()
            .filter(|(event, _)| event.is_last())
            .map(|(event, _)| event.context().event_id.as_str())
            .collect();
        assert_eq!(last.len(), 1, "{}", shown());
        let has_failed = events
            .iter()
            .any(|(event, _)| matches!(event.kind(), EventKind::RefreshFailed(_)));
        assert_eq!(has_failed, kind(connection) == FAILING, "{}", shown());
        let asked = &asked.connections[&connection];
        assert!(asked.tasks_made <= 1, "{} updates: {}", asked.tasks_made, shown());
        let published: BTreeSet<i64> = events.iter().flat_map(|(event, _)| transactions(event)).collect();
        for import in asked.imports.iter().filter(|import| import.task_id.is_some()) {
            let imported = import.first_id..import.first_id + i64::from(import.count);
            let missing = imported.filter(|id| !published.contains(id)).count();
            assert_eq!(missing, 0, "of {} transactions: {}", import.count, shown());
        }
    }
}

fn transactions(event: &Event) -> Vec<i64> {
    match event.kind() {
        EventKind::TransactionsUpdated(part) => part.transactions.iter().map(|one| one.id).collect(),
        _ => Vec::new(),
    }
}
