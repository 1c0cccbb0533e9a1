//! Callers of the worker's listeners that are many, idle, slow, or not finAPI.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::neighbours::{Neighbours, swift};
use crate::support::platform::{Platform, client, free_address};

const SECRET: &str = "0123456789abcdef";

/// A worker whose listeners can be called.
struct Listeners {
    neighbours: Neighbours,
    callbacks: String,
}

impl Listeners {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let callbacks = free_address();
        let listening = [
            ("CALLBACKS__LISTEN", callbacks.as_str()),
            ("CALLBACKS__NOTIFICATION_SECRET", SECRET),
        ];
        let neighbours = Neighbours::start(&[&listening, settings].concat()).await;
        Self { neighbours, callbacks }
    }

    /// The status of a notification that finAPI could send.
    async fn notify(&self, secret: &str) -> u16 {
        let url = format!("http://{}/notifications/{secret}", self.callbacks);
        let body = r#"{"triggerEvent": "NEW_ACCOUNTS", "callbackHandle": "nobody/1"}"#;
        let response = client().post(url).body(body).send().await;
        response.expect("an answer").status().as_u16()
    }
}

/// Connects and writes this, then writes a byte a second. Answers with what came once the other side has closed, and how long that took.
async fn slow(address: &str, start: &str) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(start.as_bytes()).await.expect("written");
    let (mut reading, mut writing) = stream.split();
    let mut said = Vec::new();
    let write = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            if start.is_empty() || writing.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = reading.read_to_end(&mut said) => {}
        () = write => {}
        () = sleep(Duration::from_secs(60)) => {
            let port = stream.local_addr().expect("an address").port();
            return (format!("still open after {start:?} and {said:?}:\n{}", sockets(port)), began.elapsed());
        }
    }
    (String::from_utf8_lossy(&said).into_owned(), began.elapsed())
}

/// What the system says of both ends of a connection: their states, and what waits in their queues.
fn sockets(port: u16) -> String {
    let port = format!(":{port:04X} ");
    let all = std::fs::read_to_string("/proc/net/tcp").expect("the sockets");
    let of_both = all.lines().filter(|line| line.contains(&port));
    of_both.collect::<Vec<_>>().join("\n")
}

fn post(secret: &str, length: usize) -> String {
    format!("POST /notifications/{secret} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n")
}

/// In one of many runs a caller was still connected after a minute, which nobody could explain. Such a caller is closed after five minutes
/// (`CONNECTION_MAX`); how far its connection was shows if it happens again.
#[tokio::test]
async fn idle_and_slow_callers_are_closed_and_delay_nobody() {
    let mut listeners = Listeners::start(&[]).await;
    let body = post(SECRET, 1000);
    let starts = ["", "POST /notifications/x HTTP/1.1\r\nx: ", &body];
    let callers: Vec<_> = (0..300)
        .map(|n| {
            let (address, start) = (listeners.callbacks.clone(), starts[n % 3].to_owned());
            tokio::spawn(async move { slow(&address, &start).await })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    listeners.neighbours.are_served().await.expect("they are served");
    let began = Instant::now();
    assert_eq!(listeners.notify(SECRET).await, 204);
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    for (said, took) in join_all(callers)
        .await
        .into_iter()
        .map(|caller| caller.expect("it ends"))
    {
        // Those that found no room at first have waited for it.
        assert!(took < Duration::from_secs(30), "{took:?}: {said}");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
}

#[tokio::test]
async fn callers_who_do_not_know_a_secret_cost_neither_a_body_nor_the_rate() {
    let listeners = Listeners::start(&[("CALLBACKS__CALLS_PER_SECOND", "5"), ("CALLBACKS__TRUSTED_PROXIES", "")]).await;
    let callbacks = format!("http://{}/callbacks/x/y", listeners.callbacks);
    for _ in 0..20 {
        let status = client().post(&callbacks).send().await.expect("an answer").status();
        assert_eq!(status.as_u16(), 404);
        assert_eq!(listeners.notify("fedcba9876543210").await, 404);
    }
    assert_eq!(listeners.notify(SECRET).await, 204);
    // No byte of it is sent.
    let (said, took) = slow(&listeners.callbacks, &post("fedcba9876543210", 1_000_000)).await;
    assert!(
        said.starts_with("HTTP/1.1 404") && took < Duration::from_secs(5),
        "{took:?}: {said}"
    );
    let large = client().post(format!("http://{}/notifications/{SECRET}", listeners.callbacks));
    let status = large.body(vec![b'x'; 70_000]).send().await.expect("an answer").status();
    assert_eq!(status.as_u16(), 413);
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(listeners.notify(SECRET).await);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn many_callers_leave_file_descriptors_to_the_broker_and_finapi() {
    let (callbacks, admin) = (free_address(), free_address());
    let platform = Platform::start(swift()).await;
    let mut neighbours = Neighbours::of(platform, &[]).await;
    neighbours.worker.signal("TERM").await;
    neighbours.worker.ended().await;
    let listening = [
        ("CALLBACKS__LISTEN", callbacks.as_str()),
        ("ADMIN__LISTEN", admin.as_str()),
    ];
    neighbours.worker = neighbours.platform.worker_after("ulimit -n \"$1\"", "128", &listening);
    neighbours.worker.log.until("connected to RabbitMQ").await;
    let callers: Vec<_> = (0..400)
        .map(|n| {
            let address = if n % 2 == 0 { callbacks.clone() } else { admin.clone() };
            tokio::spawn(async move { slow(&address, "").await })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    neighbours.are_served().await.expect("they are served");
    // The kubelet has another address than whoever idles.
    let elsewhere = reqwest::Client::builder().local_address(Some([127, 0, 0, 2].into()));
    let get = elsewhere
        .build()
        .expect("a client")
        .get(format!("http://{admin}/livez"));
    let live = timeout(Duration::from_secs(5), get.send())
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(live.status().as_u16(), 200);
    for caller in callers {
        caller.abort();
    }
}
