//! A worker in the memory that `deploy/k8s/base/deployment.yaml` gives it, with the shipped settings: connections with more transactions than that
//! memory has room for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{After, Behaviour, Sandbox, SandboxConfig, Script};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::support::cgroup::Cgroup;
use crate::support::platform::{Platform, command, free_address, quick, status};

const MANIFEST: &str = include_str!("../../deploy/k8s/base/deployment.yaml");

/// finAPI's largest page.
const PER_PAGE: usize = 500;

/// With texts of so many characters a page has 1.1 MiB. In an event they may be as long.
const LONG: usize = 2000;

/// With these it has 5.8 MiB, and `finapi.body_max` allows 8.
const LONGER: usize = 12_000;

/// finAPI with the sandbox's users and tasks, and with any number of long transactions.
struct Large {
    pages: usize,
    purpose: String,
}

impl Large {
    /// Serves it, and says where.
    async fn serve(pages: usize, purpose: usize) -> String {
        let sandbox = Sandbox::new(SandboxConfig {
            ids_pick_behaviour: false,
            default_script: Script::of(Behaviour::Silent {
                after: After::Fixed(Duration::from_secs(1)),
            }),
            ..quick()
        });
        let large = Arc::new(Self {
            pages,
            purpose: "x".repeat(purpose),
        });
        let own = Router::new().route("/api/v2/transactions", get(page)).with_state(large);
        let router = own.fallback_service(sandbox.router());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn page(&self, account: &str, page: usize) -> String {
        let first = (page - 1) * PER_PAGE + 1;
        let imported = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000+00:00").to_string();
        let mut body = String::with_capacity(PER_PAGE * (self.purpose.len() + 300));
        body.push_str(r#"{"transactions":["#);
        for id in first..first + PER_PAGE {
            let comma = if id == first { "" } else { "," };
            let purpose = &self.purpose;
            write!(
                body,
                r#"{comma}{{"id":{id},"accountId":{account},"amount":-12.34,"currency":"EUR","bankBookingDate":"2026-03-09","valueDate":"2026-03-09","finapiBookingDate":"2026-03-09","purpose":"{purpose}","counterpartName":"ACME","importDate":"{imported}"}}"#
            )
            .expect("a text");
        }
        let (pages, total) = (self.pages, self.pages * PER_PAGE);
        write!(
            body,
            r#"],"paging":{{"page":{page},"perPage":{PER_PAGE},"pageCount":{pages},"totalCount":{total}}},"income":0.00,"spending":-1.00,"balance":-1.00}}"#
        )
        .expect("a text");
        body
    }
}

async fn page(State(large): State<Arc<Large>>, Query(query): Query<BTreeMap<String, String>>) -> impl IntoResponse {
    let page = query["page"].parse().expect("a page");
    let account = query["accountIds"].split(',').next().unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], large.page(account, page))
}

/// What a container may have.
fn limit() -> u64 {
    let (_, limits) = MANIFEST.split_once("limits: { memory: ").expect("a limit of memory");
    let (mebibytes, _) = limits.split_once("Mi").expect("mebibytes");
    mebibytes.parse::<u64>().expect("a number") * 1024 * 1024
}

/// Notes the most bytes of answers that a worker had, and the most connections that waited for some.
async fn watch(admin: String, most: Arc<Mutex<(u64, u64)>>) {
    loop {
        if let Some(status) = status(&admin).await {
            let seen = |name: &str| status["finapi_bodies"][name].as_u64().expect("a number");
            let mut most = most.lock().expect("the most");
            *most = (most.0.max(seen("reserved_bytes")), most.1.max(seen("waiting")));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Refreshes connections that have so many pages each, all at once. Each has all of them in the end, and the worker lives.
async fn all_are_read(connections: i64, pages: usize, purpose: usize) {
    let Some(group) = Cgroup::with_memory(limit()) else {
        return;
    };
    let mut platform = Platform::start(SandboxConfig::default()).await;
    let (url, admin) = (Large::serve(pages, purpose).await, free_address());
    let credentials = format!("{url}/sandbox/credentials");
    let settings = [
        ("FINAPI__ACCESS_URL", url.as_str()),
        ("FINAPI__WEB_FORM_URL", &url),
        ("CREDENTIALS__URL", &credentials),
        ("ADMIN__LISTEN", &admin),
    ];
    let mut worker = platform.worker_after("echo $$ > \"$1\"", group.entrance(), &settings);
    if connections > 1 {
        // Of a crowd each has its page. Peaks between two looks, and files, need room besides.
        worker.resident_kb_max = limit() / 1024 * 3 / 4;
    }
    worker.log.until("connected to RabbitMQ").await;
    let most = Arc::new(Mutex::new((0, 0)));
    let watching = tokio::spawn(watch(admin, Arc::clone(&most)));
    let commands: Vec<RefreshConnection> = (1..=connections).map(command).collect();
    platform.send_all(commands, false).await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut over = 0;
    while over < connections {
        assert_eq!(
            worker.child.try_wait().expect("its status"),
            None,
            "{}",
            worker.log.text()
        );
        let event = platform.next_event().await;
        let EventKind::TransactionsUpdated(part) = event.kind() else {
            panic!("{event:?}");
        };
        *counts.entry(event.context().command_id.clone()).or_default() += part.transactions.len();
        over += i64::from(Event::is_last(&event));
        // They are counted, and there are too many to keep.
        platform.events.clear();
    }
    watching.abort();
    let resident = worker.resident_max();
    let (reserved, waiting) = *most.lock().expect("the most");
    println!(
        "{connections} connections with {pages} pages: at most {reserved} bytes reserved, and {waiting} waited; \
         {} kB of memory, {} kB with files, {} kills",
        resident.expect("it lives"),
        group.peak() / 1024,
        group.kills()
    );
    assert_eq!(group.kills(), 0);
    assert_eq!(waiting > 0, connections > 1, "there was a crowd");
    assert!(counts.values().all(|count| *count == pages * PER_PAGE), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_with_many_pages_of_long_transactions_is_read_within_the_shipped_limit() {
    // An unoptimized worker takes half a second for a page.
    let pages = if cfg!(debug_assertions) { 50 } else { 200 };
    all_are_read(1, pages, LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_with_many_long_transactions_at_once_are_read_within_the_shipped_limit() {
    all_are_read(64, 4, LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_whose_pages_are_nearly_as_long_as_they_may_be_are_read_within_the_shipped_limit() {
    all_are_read(64, 1, LONGER).await;
}
