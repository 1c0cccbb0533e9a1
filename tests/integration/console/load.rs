//! What the console takes at 10,000 refreshes a minute.

use std::ops::Range;
use std::time::Duration;

use bankrefresh::broker::Outgoing;
use bankrefresh::message;
use bankrefresh::proto::{
    RefreshContext, RefreshTimes, Transaction, TransactionsUpdated, UpdateOrigin, from_timestamp,
};
use bankrefresh::refresh::Envelope;
use bankrefresh::refresh::event::{Event, EventKind};
use jiff::Timestamp;
use tokio::time::{Instant, interval, sleep, timeout};

use super::console;
use crate::support::platform::{PATIENCE, Platform, client, quick};

/// How much the console may take at 10,000 refreshes a minute, its memory full.
const MEGABYTES_MAX: u64 = 100;
const CORES_MAX: f64 = 0.5;
const P95_MAX: Duration = Duration::from_millis(200);
const EVENTS_PER_SECOND: u64 = 10_000 / 60;

/// Events as of an outcome with some accounts and transactions.
fn outcomes(platform: &Platform, numbers: Range<u64>) -> Vec<Outgoing> {
    let now = Timestamp::now();
    let transaction = Transaction {
        purpose: "a purpose as long as they usually are, with a number: 4711".to_owned(),
        counterpart_name: "Somebody".to_owned(),
        ..Transaction::default()
    };
    let made = numbers.map(|number| {
        let context = RefreshContext {
            command_id: uuid::Uuid::now_v7().to_string(),
            user_id: format!("user-{number}"),
            bank_connection_id: i64::try_from(number).expect("a number"),
            task_id: uuid::Uuid::now_v7().to_string(),
            occurred_at: Some(from_timestamp(now)),
            labels: [("tenant".to_owned(), "blue".to_owned())].into(),
            times: Some(RefreshTimes {
                requested_at: Some(from_timestamp(now - jiff::SignedDuration::from_secs(9))),
                ..RefreshTimes::default()
            }),
            ..RefreshContext::default()
        };
        let updated = TransactionsUpdated {
            origin: UpdateOrigin::Silent.into(),
            transactions: vec![transaction.clone(); 10],
            part: 1,
            last: true,
            ..TransactionsUpdated::default()
        };
        let event = Event::new(context, EventKind::TransactionsUpdated(updated));
        message::event(&platform.topology, &event, &Envelope::default(), now)
    });
    made.collect()
}

#[tokio::test]
async fn ten_thousand_refreshes_a_minute_take_little() {
    let platform = Platform::start(quick()).await;
    let (console, url) = console(&platform, &[]).await;
    let pid = console.child.id().expect("it runs");
    // More than it remembers.
    for start in (0..21_000).step_by(1000) {
        platform
            .broker
            .publish(outcomes(&platform, start..start + 1000))
            .await
            .expect("published");
    }
    let get = async || {
        let asked = Instant::now();
        let response = client()
            .get(format!("{url}/refreshes?q=user-20"))
            .send()
            .await
            .expect("an answer");
        let text = response.text().await.expect("a page");
        (asked.elapsed(), text)
    };
    let wait = async {
        while !get().await.1.contains("user-20999") {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the last one is shown in time");
    let (before, began) = (cpu_seconds(pid), Instant::now());
    let mut every = interval(Duration::from_millis(500));
    let mut took = Vec::new();
    for second in 0..30 {
        every.tick().await;
        let start = 30_000 + second * EVENTS_PER_SECOND / 2;
        platform
            .broker
            .publish(outcomes(&platform, start..start + EVENTS_PER_SECOND / 2))
            .await
            .expect("published");
        took.push(get().await.0);
    }
    let cores = (cpu_seconds(pid) - before) / began.elapsed().as_secs_f64();
    let megabytes = resident_megabytes(pid);
    took.sort();
    let p95 = took[took.len() * 95 / 100];
    println!("{megabytes} MB, {cores:.2} cores, a search answers within {p95:?} (p95), in a debug build");
    assert!(
        megabytes <= MEGABYTES_MAX && cores <= CORES_MAX && p95 <= P95_MAX,
        "{megabytes} MB, {cores:.2} cores, {p95:?}"
    );
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("its fields")
        .split_whitespace()
        .collect();
    // Of user and system, in hundredths.
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().expect("a number"))
        .sum();
    ticks / 100.0
}

fn resident_megabytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("its memory");
    let kilobytes: u64 = line
        .split_whitespace()
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    kilobytes / 1024
}
