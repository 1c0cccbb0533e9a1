//! What a collector sees of workers, and that it costs them nothing when it sees nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bankrefresh::broker::Header;
use bankrefresh::sandbox::{After, Behaviour, SandboxConfig, Script};
use tokio::net::TcpListener;

use crate::support::collector::{Collector, Span};
use crate::support::platform::{Platform, command, quick};

/// The span that senders of these tests name.
const SENDERS_SPAN: &str = "b7ad6b7169203331";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn taking(seconds: u64) -> SandboxConfig {
    let default_script = Script::of(Behaviour::Silent {
        after: After::Fixed(Duration::from_secs(seconds)),
    });
    SandboxConfig {
        default_script,
        ..quick()
    }
}

#[tokio::test]
async fn one_refresh_is_one_trace_over_two_workers_with_a_park_and_a_kill_between() {
    for protocol in ["grpc", "http"] {
        let mut platform = Platform::start(taking(4)).await;
        let collector = Collector::start().await;
        let settings = [
            ("TELEMETRY__OTLP_ENDPOINT", collector.url.as_str()),
            ("TELEMETRY__OTLP_PROTOCOL", protocol),
            // Whatever waits is parked.
            ("WORKER__HOLD_WAIT_MAX", "0s"),
        ];
        let mut killed = platform.worker(&settings);
        let id = platform.send(command(1)).await;
        let is_parked = |span: &Span| span.name.ends_with(".delay:1s");
        collector.until(|seen| seen.spans().iter().any(is_parked)).await;
        killed.child.kill().await.expect("killed");
        let _other = platform.worker(&settings);
        platform.outcome(&id).await;
        let is_told = |span: &Span| span.name.contains("transactions.updated");
        let is_done = |span: &Span| is_process(span) && span.attributes["bankrefresh.state"] == "settled";
        collector
            .until(|seen| seen.spans().iter().any(is_told) && seen.spans().iter().any(is_done))
            .await;

        let spans = collector.spans();
        println!("{protocol}\n{}", tree(&spans));
        let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
        assert_eq!(traces, [TRACE].into());
        let workers: BTreeSet<&str> = spans.iter().map(|span| span.instance.as_str()).collect();
        assert_eq!(workers.len(), 2, "both workers had a part in it");
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
        assert_eq!(ids.len(), spans.len());
        for span in &spans {
            let known = span.parent == SENDERS_SPAN || ids.contains(span.parent.as_str());
            // What the killed worker did last it could not tell.
            assert!(known, "no parent of {span:?}");
            let links = if is_process(span) {
                vec![span.parent.clone()]
            } else {
                vec![]
            };
            assert_eq!(span.links, links);
        }
        let parked: Vec<&Span> = spans.iter().filter(|span| span.name == "parked").collect();
        assert!(
            parked.iter().any(|span| span.end - span.start >= 900_000_000),
            "{parked:?}"
        );
        for call in [
            "POST /api/tasks/backgroundUpdate",
            "GET /api/tasks/{id}",
            "GET /api/v1/transactions",
        ] {
            assert!(spans.iter().any(|span| span.name == call && span.kind == 3), "{call}");
        }
        let told = spans.iter().find(|span| is_told(span)).expect("just seen");
        let (_, message) = &platform.events[&id][0];
        let traceparent = message.properties.headers.get("traceparent").and_then(Header::as_text);
        assert_eq!(traceparent, Some(format!("00-{TRACE}-{}-01", told.id).as_str()));
    }
}

fn is_process(span: &Span) -> bool {
    span.name.starts_with("process ")
}

/// The spans by parent and time, as docs/operating.md shows them.
fn tree(spans: &[Span]) -> String {
    let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        children.entry(&span.parent).or_default().push(span);
    }
    let begin = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let mut workers: Vec<&str> = Vec::new();
    let mut text = String::new();
    let mut todo = vec![(0, SENDERS_SPAN)];
    while let Some((depth, id)) = todo.pop() {
        if let Some(span) = spans.iter().find(|span| span.id == id) {
            let worker = workers.iter().position(|worker| *worker == span.instance);
            let worker = worker.unwrap_or_else(|| {
                workers.push(&span.instance);
                workers.len() - 1
            });
            let after = (span.start - begin) as f64 / 1e9;
            let took = (span.end.saturating_sub(span.start)) as f64 / 1e6;
            let prefix = span.name.split('.').next().unwrap_or_default().split(' ').next_back();
            let name = span
                .name
                .replace(prefix.filter(|word| word.len() > 30).unwrap_or("\0"), "bankrefresh");
            writeln!(
                text,
                "{:>7.3} s {took:>8.1} ms  worker {}  {}{name}",
                after,
                worker + 1,
                "  ".repeat(depth)
            )
            .expect("text");
        }
        let mut next = children.remove(id).unwrap_or_default();
        next.sort_by_key(|span| std::cmp::Reverse(span.start));
        todo.extend(next.into_iter().map(|span| (depth + 1, span.id.as_str())));
    }
    text
}

#[tokio::test]
async fn metrics_come_to_the_collector_and_the_last_ones_when_a_worker_stops() {
    let mut platform = Platform::start(quick()).await;
    let collector = Collector::start().await;
    let mut worker = platform.worker(&[("TELEMETRY__OTLP_ENDPOINT", &collector.url)]);
    let id = platform.send(command(1)).await;
    platform.outcome(&id).await;
    worker.signal("TERM").await;
    assert!(worker.ended().await.success());
    collector
        .until(|seen| seen.metrics().contains_key("bankrefresh.refreshes"))
        .await;
    let told = collector.spans();
    assert!(
        told.iter().any(|span| span.name.contains("transactions.updated")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_collector_that_hangs_or_refuses_changes_nothing() {
    let mut platform = Platform::start(quick()).await;
    // One that takes connections and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let hanging = format!("http://{}", hanging_address(hanging));
    let refusing = "http://127.0.0.1:9".to_owned();
    for (number, url) in [(1, &hanging), (2, &refusing)] {
        for (offset, protocol) in [(0, "grpc"), (10, "http")] {
            let settings = [
                ("TELEMETRY__OTLP_ENDPOINT", url.as_str()),
                ("TELEMETRY__OTLP_PROTOCOL", protocol),
            ];
            let mut worker = platform.worker(&settings);
            let commands: Vec<_> = (0..50).map(|n| command(100 * (number + offset) + n)).collect();
            let before = platform.events.len();
            platform.send_all(commands, true).await;
            platform.outcomes(before + 50).await;
            let since = std::time::Instant::now();
            worker.signal("TERM").await;
            assert!(worker.ended().await.success());
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "{url} {protocol}: {:?}",
                since.elapsed()
            );
        }
    }
}

/// Keeps every connection and says nothing, until the test ends.
fn hanging_address(listener: TcpListener) -> std::net::SocketAddr {
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
        }
    });
    address
}

/// Throughput and CPU with everything on over the same with telemetry off, turn by turn. To be built with `--release`.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_telemetry_costs() {
    const REFRESHES: i64 = 2000;
    let mut ratios = Vec::new();
    for turn in 0..5 {
        let mut taken = [(0.0, 0.0); 2];
        for (which, taken) in taken.iter_mut().enumerate() {
            let mut platform = Platform::start(taking(1)).await;
            let collector = Collector::start().await;
            let on = [
                ("TELEMETRY__OTLP_ENDPOINT", collector.url.as_str()),
                ("ADMIN__LISTEN", "127.0.0.1:0"),
            ];
            let off = [("TELEMETRY__LOG_LEVEL", "off")];
            platform.send_all((1..=REFRESHES).map(command).collect(), false).await;
            let since = std::time::Instant::now();
            let worker = platform.worker(if which == 0 { &off } else { &on });
            platform.outcomes(usize::try_from(REFRESHES).expect("a count")).await;
            let pid = worker.child.id().expect("it runs");
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its CPU time");
            let after_name = stat.rsplit(')').next().expect("fields").split_whitespace();
            let ticks: f64 = after_name
                .skip(11)
                .take(2)
                .map(|ticks| ticks.parse::<f64>().expect("ticks"))
                .sum();
            *taken = (since.elapsed().as_secs_f64(), ticks * 10.0 / REFRESHES as f64);
        }
        let [off, on] = taken;
        println!(
            "turn {turn}: off {:.2} s, {:.3} ms of CPU each; on {:.2} s, {:.3} ms; throughput on/off {:.2}",
            off.0,
            off.1,
            on.0,
            on.1,
            off.0 / on.0
        );
        ratios.push(off.0 / on.0);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "throughput with everything on over telemetry off, median of 5: {:.2}",
        ratios[2]
    );
}
