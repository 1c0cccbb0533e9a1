//! What gateways answer in finAPI's place, and what happens to a body on its way.

use super::faults::{at, one};
use super::*;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

fn gateway(status: u16, body: GatewayBody) -> FaultKind {
    FaultKind::Gateway(Gateway::new(status, body))
}

#[tokio::test(start_paused = true)]
async fn a_gateway_answers_with_any_status_and_a_body_that_is_not_finapis() {
    let cases = [
        (GatewayBody::Html, "text/html", "<html>"),
        (
            GatewayBody::Json,
            "application/json",
            "\"path\":\"/api/tasks/backgroundUpdate\"",
        ),
        (GatewayBody::Text("no route\n".into()), "text/plain", "no route\n"),
    ];
    for (body, content_type, text) in cases {
        for status in [200, 302, 400, 401, 403, 404, 429, 502, 599] {
            let probe = Probe::scripted(at(Endpoint::StartUpdate, None, gateway(status, body.clone())));
            let answer = probe.update(one()).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.headers["content-type"], content_type);
            assert!(answer.text.contains(text), "{}", answer.text);
            assert_eq!(probe.sandbox.asked().tasks, 0, "no work is done");
        }
    }
    let probe = Probe::scripted(at(Endpoint::StartUpdate, None, gateway(204, GatewayBody::Empty)));
    let answer = probe.update(one()).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    assert!(!answer.headers.contains_key("content-type"));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_does_not_know_the_requests_id() {
    let probe = Probe::new();
    let request = |path: &str| {
        let request = Request::get(path).header("x-request-id", "mine");
        request.body(Body::empty()).expect("a request")
    };
    let finapis = probe.send(request("/api/tasks")).await.expect("an answer");
    assert_eq!(finapis.headers["x-request-id"], "mine");
    assert_eq!(finapis.headers["date"], "Mon, 08 Mar 2021 08:36:15 GMT");
    probe.sandbox.go_down(gateway(502, GatewayBody::Html));
    let gateways = probe.send(request("/api/tasks")).await.expect("an answer");
    assert!(!gateways.headers.contains_key("x-request-id"));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_may_lose_the_answer_to_work_that_is_done() {
    let timeout = FaultKind::Gateway(Gateway {
        after_work: true,
        ..Gateway::new(504, GatewayBody::Empty)
    });
    let probe = Probe::scripted(at(Endpoint::StartUpdate, Some(1), timeout));
    assert_eq!(probe.update(one()).await.status, 504);
    assert_eq!(probe.sandbox.asked().responses["start_update 504"], 1);
    assert_eq!(probe.update(one()).await.status, 423, "it runs");
}

#[tokio::test(start_paused = true)]
async fn redirects_and_both_forms_of_retry_after_are_written_as_scripted() {
    let script = r#"[[faults]]
        at = "tasks"
        first = 1
        kind = { gateway = { status = 302, location = "https://login.example/", body = "empty" } }
        [[faults]]
        at = "tasks"
        first = 1
        kind = { gateway = { status = 503, retry_after = 7 } }
        [[faults]]
        at = "tasks"
        first = 1
        kind = { gateway = { status = 429, retry_after = { date_in = 30 }, body = { text = "slow down" } } }
        [[faults]]
        at = "tasks"
        kind = { status = { status = 429, retry_after = "-1" } }
    "#;
    let probe = Probe::of(SandboxConfig::from_toml(script).expect("settings"));
    let redirected = probe.get("/api/tasks").await;
    assert_eq!(redirected.status, 302);
    assert_eq!(redirected.headers["location"], "https://login.example/");
    let mut waits = Vec::new();
    for _ in 0..3 {
        let answer = probe.get("/api/tasks").await;
        waits.push(answer.headers["retry-after"].to_str().expect("text").to_owned());
    }
    assert_eq!(waits, ["7", "Mon, 08 Mar 2021 08:36:45 GMT", "-1"]);
}

/// The sandbox over HTTP, with `Tasks` as it should be at first.
struct Served {
    probe: Probe,
    url: String,
    client: reqwest::Client,
    token: String,
    server: JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn new() -> Self {
        // Whichever test of this process comes first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let probe = Probe::scripted(Script {
            bank_name: "Müller & Žofie".into(),
            ..Script::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let url = format!("http://{address}/api/v1/bankConnections/1");
        let server = tokio::spawn(serve(Arc::clone(&probe.sandbox), listener, std::future::pending()));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Self {
            token: probe.token("anna").await,
            url,
            client: client.build().expect("a client"),
            server,
            probe,
        }
    }

    /// The answer that meets a fault.
    async fn meeting(&self, kind: FaultKind) -> reqwest::Response {
        self.probe.sandbox.go_down_at(kind, &[Endpoint::BankConnection]);
        let request = self.client.get(&self.url).bearer_auth(&self.token);
        request.send().await.expect("an answer")
    }

    async fn whole(&self) -> Vec<u8> {
        self.probe.sandbox.come_up();
        let request = self.client.get(&self.url).bearer_auth(&self.token);
        let answer = request.send().await.expect("an answer");
        answer.bytes().await.expect("a body").to_vec()
    }

    async fn body(&self, fault: BodyFault) -> reqwest::Result<Vec<u8>> {
        let answer = self.meeting(FaultKind::Body(fault)).await;
        assert_eq!(answer.status(), 200);
        Ok(answer.bytes().await?.to_vec())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[tokio::test]
async fn over_http_a_body_is_cut_breaks_off_or_drips() {
    let served = Served::new().await;
    let whole = served.whole().await;
    let cut = served.body(BodyFault::Truncated { at: 100 }).await.expect("a body");
    assert_eq!(cut, whole[..100]);
    let broken = served.body(BodyFault::BreaksOff { at: 100 }).await;
    assert!(broken.is_err(), "the connection drops");
    let every = Duration::from_millis(1);
    let dripped = served
        .body(BodyFault::Drips { bytes: 100, every })
        .await
        .expect("a body");
    assert_eq!(dripped, whole);
}

#[tokio::test]
async fn over_http_a_body_hangs_or_never_ends() {
    let served = Served::new().await;
    let hanging = served.body(BodyFault::Hangs { at: 100 });
    let waited = tokio::time::timeout(Duration::from_millis(100), hanging).await;
    assert!(waited.is_err(), "nothing more comes");
    let mut endless = served.meeting(FaultKind::Body(BodyFault::Endless)).await;
    let mut read = 0;
    while read < 1 << 20 {
        read += endless.chunk().await.expect("no error").expect("more").len();
    }
}

#[tokio::test]
async fn over_http_a_body_has_another_type_or_encoding() {
    let served = Served::new().await;
    let whole = String::from_utf8(served.whole().await).expect("UTF-8");
    assert!(whole.contains("Müller"), "{whole}");
    let other = BodyFault::ContentType("text/html".into());
    let answer = served.meeting(FaultKind::Body(other)).await;
    assert_eq!(answer.headers()["content-type"], "text/html");
    assert_eq!(answer.text().await.expect("a body"), whole);
    let marked = served.body(BodyFault::ByteOrderMark).await.expect("a body");
    assert_eq!(marked, format!("\u{feff}{whole}").as_bytes());
    let utf_16 = served.body(BodyFault::Utf16).await.expect("a body");
    let units = utf_16.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let text = String::from_utf16(&units.collect::<Vec<_>>()).expect("UTF-16");
    assert_eq!(text, format!("\u{feff}{whole}"));
    let latin_1 = served.body(BodyFault::Latin1).await.expect("a body");
    assert!(String::from_utf8(latin_1.clone()).is_err());
    let text: String = latin_1.into_iter().map(char::from).collect();
    assert!(text.contains("Müller & ?ofie"), "{text}");
}

#[tokio::test]
async fn over_http_a_gateway_answers_without_a_body() {
    let served = Served::new().await;
    let answer = served.meeting(gateway(204, GatewayBody::Html)).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.bytes().await.expect("no body").len(), 0);
    let redirect = FaultKind::Gateway(Gateway {
        location: Some("https://login.example/".into()),
        ..Gateway::new(307, GatewayBody::Empty)
    });
    let answer = served.meeting(redirect).await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "https://login.example/");
}
