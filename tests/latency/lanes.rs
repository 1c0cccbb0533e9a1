//! The two lanes: whoever waits at a spinner does not wait for the nightly batch.

use std::time::Duration;

use bankrefresh::proto::{RefreshConnection, from_timestamp};
use jiff::Timestamp;

use crate::support::platform::{Platform, command, quick};

/// As many as wait, of which one worker takes 2,000 at a time.
const BACKGROUND: i64 = 20_000;

/// One after the other, while the others are being worked on.
const INTERACTIVE: i64 = 5;

/// Most of what an unoptimized worker takes is its own work, also that of announcing 20,000 users' passwords and starts: 1.1 to 1.7 s. An
/// optimized one takes 0.2 s.
const SLOWEST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 1 });

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_20000_background_commands_waiting_an_interactive_refresh_starts_within_a_second() {
    let mut platform = Platform::start(quick()).await;
    platform.send_all((1..=BACKGROUND).map(command).collect(), false).await;
    let _worker = platform.worker(&[]);
    // The first outcome: by now it has as much in flight as it may.
    platform.next_event().await;
    let mut slowest = Duration::ZERO;
    for connection in BACKGROUND + 1..=BACKGROUND + INTERACTIVE {
        let sent_at = Timestamp::now();
        let interactive = RefreshConnection {
            requested_at: Some(from_timestamp(sent_at)),
            ..command(connection)
        };
        let id = platform.send(interactive).await;
        platform.outcome(&id).await;
        let asked = platform.sandbox.asked();
        let started_at: Timestamp = asked.connections[&connection].tasks[0]
            .created_at
            .parse()
            .expect("a moment");
        let took = Duration::try_from(started_at.duration_since(sent_at)).unwrap_or_default();
        println!("started {took:?} after it was sent, as update {}", asked.tasks);
        slowest = slowest.max(took);
    }
    let background = platform.topology.background();
    assert!(
        platform.sandbox.asked().tasks < u64::try_from(BACKGROUND).expect("a count"),
        "{background} was not yet empty"
    );
    assert!(slowest < SLOWEST, "the slowest took {slowest:?}");
}
