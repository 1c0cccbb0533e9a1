//! What a collector sees of workers, and that it costs them nothing when it sees nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bankrefresh::broker::Header;
use bankrefresh::message;
use bankrefresh::refresh::Envelope;
use bankrefresh::sandbox::{After, Behaviour, Endpoint, Fault, FaultKind, Script, UserDoes};
use jiff::Timestamp;

use crate::support::collector::{Collector, Span, hanging};
use crate::support::platform::{Platform, command, quick};

/// The span that senders of these tests name.
const SENDERS_SPAN: &str = "b7ad6b7169203331";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// OTLP's kinds of spans.
const INTERNAL: i32 = 1;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

#[tokio::test]
async fn one_refresh_is_one_trace_over_two_workers_with_a_park_and_a_kill_between() {
    for protocol in ["grpc", "http"] {
        let mut platform = Platform::start(quick()).await;
        platform.sandbox.script("user-1", 1, asks_in_mid_update());
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
        let is_published = |span: &Span| span.name.contains("transactions.updated");
        collector
            .until(|seen| seen.spans().iter().any(is_published) && orphans(&seen.spans()).is_empty())
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
            assert_conventional(span, &id);
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
        for name in [
            "POST /api/tasks/backgroundUpdate",
            "GET /api/tasks/{id}",
            "GET /api/webForms/{id}",
            "GET /api/v2/transactions",
        ] {
            assert!(spans.iter().any(|span| span.name == name), "{name}");
        }
        let needed = format!("send {}:user-action.required", platform.topology.events());
        assert!(spans.iter().any(|span| span.name == needed), "{needed}");
        let failed = spans.iter().filter(|span| span.attributes.contains_key("error.type"));
        let failed: Vec<_> = failed
            .map(|span| (&*span.name, &*span.attributes["error.type"]))
            .collect();
        assert_eq!(failed, [("GET /api/tasks/{id}", "503")]);
        // Whoever consumes an event continues from the span that sent it.
        for ((_, message), name) in platform.events[&id]
            .iter()
            .zip(["user-action.required", "transactions.updated"])
        {
            let sent = spans.iter().find(|span| span.name.ends_with(name)).expect("just seen");
            let traceparent = message.properties.headers.get("traceparent").and_then(Header::as_text);
            assert_eq!(traceparent, Some(format!("00-{TRACE}-{}-01", sent.id).as_str()));
        }
    }
}

/// The bank asks in the middle of the update; and one poll fails.
fn asks_in_mid_update() -> Script {
    let fails_once = Fault::at(Endpoint::Task, FaultKind::status(503)).first(1);
    Script {
        faults: vec![fails_once],
        settles: After::millis(100),
        ..Script::of(Behaviour::WebFormDuring {
            after: After::secs(2),
            user: UserDoes::Completes { after: After::secs(2) },
        })
    }
}

/// The spans whose parents are not there, or not yet.
fn orphans(spans: &[Span]) -> Vec<&Span> {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let known = |span: &&Span| span.parent == SENDERS_SPAN || ids.contains(span.parent.as_str());
    spans.iter().filter(|span| !known(span)).collect()
}

/// Name, kind and attributes are as OpenTelemetry's conventions for messaging and HTTP want them.
fn assert_conventional(span: &Span, command_id: &str) {
    let at = |name: &str| span.attributes.get(name).map(String::as_str).unwrap_or_default();
    match span.kind {
        INTERNAL => assert_eq!(span.name, "parked"),
        CLIENT => {
            assert_eq!(
                span.name,
                format!("{} {}", at("http.request.method"), at("url.template"))
            );
            assert_eq!(at("server.address"), "127.0.0.1");
            assert!(at("server.port").starts_with("IntValue("), "{span:?}");
            assert!(at("http.response.status_code").starts_with("IntValue("), "{span:?}");
        }
        PRODUCER | CONSUMER => {
            let operation = if span.kind == PRODUCER { "send" } else { "process" };
            assert_eq!(span.name, format!("{operation} {}", at("messaging.destination.name")));
            assert_eq!(at("messaging.system"), "rabbitmq");
            assert_eq!(at("messaging.operation.name"), operation);
            assert_eq!(at("messaging.operation.type"), operation);
            assert_eq!(at("messaging.message.conversation_id"), format!("c-{command_id}"));
            if span.kind == PRODUCER {
                let key = at("messaging.rabbitmq.destination.routing_key");
                assert!(!key.is_empty() && span.name.ends_with(key), "{span:?}");
                assert!(!at("messaging.message.id").is_empty(), "{span:?}");
            } else {
                assert_eq!(at("bankrefresh.command_id"), command_id);
                assert!(at("bankrefresh.bank_connection_id").contains('1'), "{span:?}");
                // A run that ends before its update starts knows no task.
                let announces = at("bankrefresh.state") == "announces_start";
                assert_eq!(at("bankrefresh.task_id").is_empty(), announces, "{span:?}");
            }
        }
        other => panic!("no span is of kind {other}: {span:?}"),
    }
}

fn is_process(span: &Span) -> bool {
    span.name.starts_with("process ")
}

#[tokio::test]
async fn senders_decide_on_their_traces_and_the_ratio_on_the_others() {
    let mut platform = Platform::start(quick()).await;
    let senders = |flags: &str| format!("00-{TRACE}-{SENDERS_SPAN}-{flags}");
    for (ratio, number) in [("0", 10), ("1", 20)] {
        let collector = Collector::start().await;
        let mut worker = platform.worker(&[
            ("TELEMETRY__OTLP_ENDPOINT", &collector.url),
            ("TELEMETRY__SAMPLE_RATIO", ratio),
        ]);
        let (sampled, not_sampled, undecided) = (command(number), command(number + 1), command(number + 2));
        for (command, traceparent) in [
            (&sampled, senders("01")),
            (&not_sampled, senders("00")),
            (&undecided, String::new()),
        ] {
            let envelope = Envelope {
                interactive: true,
                traceparent,
                ..Envelope::default()
            };
            let sent = message::command(&platform.topology, command.clone(), &envelope, Timestamp::now());
            platform.broker.publish(vec![sent]).await.expect("published");
            platform.outcome(&command.command_id).await;
        }
        worker.signal("TERM").await;
        assert!(worker.ended().await.success());
        let spans = collector.spans();
        let of = |id: &str| {
            spans
                .iter()
                .filter(|span| span.attributes.get("bankrefresh.command_id").is_some_and(|of| of == id))
                .count()
        };
        assert!(of(&sampled.command_id) > 0, "{spans:?}");
        assert_eq!(of(&not_sampled.command_id), 0, "{spans:?}");
        assert_eq!(of(&undecided.command_id) > 0, ratio == "1", "{spans:?}");
        let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
        assert_eq!(traces.len(), if ratio == "1" { 2 } else { 1 });
    }
}

/// The spans by parent and time, as docs/operating/monitor.md shows them.
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
    let spans = collector.spans();
    assert!(
        spans.iter().any(|span| span.name.contains("transactions.updated")),
        "{spans:?}"
    );
}

#[tokio::test]
async fn a_collector_that_hangs_or_refuses_changes_nothing() {
    let mut platform = Platform::start(quick()).await;
    let hanging = hanging().await;
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
