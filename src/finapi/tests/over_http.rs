//! Over real connections to this machine. Nothing here waits for a time to pass but to see a timeout.

use std::path::PathBuf;

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::sandbox::serve;

/// A server on a port of its own, until it is dropped.
struct Server {
    url: HttpUrl,
    _stop: oneshot::Sender<()>,
}

async fn listener() -> (TcpListener, HttpUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, url(&format!("http://{address}/")))
}

async fn serving(sandbox: &Arc<Sandbox>) -> Server {
    let (listener, url) = listener().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let served = serve(Arc::clone(sandbox), listener, async {
        // Either way, the test is over.
        drop(stopped.await);
    });
    tokio::spawn(served);
    Server { url, _stop: stop }
}

async fn serving_router(router: Router) -> HttpUrl {
    let (listener, url) = listener().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn http_client(at: &HttpUrl, timeout: Duration, users: PathBuf) -> FinApi {
    // Whichever test of this process comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings {
        access_url: at.clone(),
        web_form_url: at.clone(),
        timeout,
        ..settings()
    };
    let transport = Transport::http(secs(5), false, false).expect("a transport");
    let credentials = Credentials::Directory { directory: users };
    FinApi::new(transport, settings, credentials, breaker::Settings::default(), None)
}

/// A refresh with a token of its own, so that nothing but the call itself is made.
async fn with_token(sandbox: &Arc<Sandbox>) -> Refresh {
    let world = World {
        client: client(sandbox.router().merge(credential_service()), settings(), from_service()),
        sandbox: Arc::clone(sandbox),
    };
    world.find(1).await;
    let form =
        "grant_type=password&client_id=sandbox-client&client_secret=sandbox-secret&username=anna&password=secret-anna";
    let token_url = "http://finapi.test/api/v2/oauth/token".parse().expect("a URL");
    let mut request = reqwest::Request::new(http::Method::POST, token_url);
    let form_type = http::HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert("content-type", form_type);
    *request.body_mut() = Some(form.into());
    let transport = Transport::InProcess(sandbox.router());
    let response = transport.send(request, secs(5), 10_000).await.expect("an answer");
    let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    refresh(RefreshConnection {
        access_token: body["access_token"].as_str().expect("a token").to_owned(),
        ..command(1)
    })
}

fn sandbox_with(endpoint: Endpoint, kind: FaultKind) -> Arc<Sandbox> {
    Sandbox::new(SandboxConfig {
        faults: vec![Fault::at(endpoint, kind).first(1)],
        ..SandboxConfig::default()
    })
}

#[tokio::test]
async fn a_refresh_goes_its_way_over_http() {
    let sandbox = Sandbox::new(SandboxConfig::default());
    let server = serving(&sandbox).await;
    let refresh = with_token(&sandbox).await;
    let client = http_client(&server.url, secs(20), PathBuf::new());
    let started = task(client.result_of(&refresh, &Query::Start).await);
    let polled = task(client.result_of(&refresh, &Query::Task(started.id.clone())).await);
    assert_eq!(polled.id, started.id);
}

#[tokio::test]
async fn a_dropped_connection_is_trouble_and_nothing_is_started() {
    let sandbox = sandbox_with(Endpoint::StartUpdate, FaultKind::Dropped);
    let server = serving(&sandbox).await;
    let refresh = with_token(&sandbox).await;
    let client = http_client(&server.url, secs(20), PathBuf::new());
    let failure = client.result_of(&refresh, &Query::Start).await.expect_err("dropped");
    assert_eq!(failure.class, FailureClass::MaybeDown);
    assert_eq!(sandbox.asked().tasks, 0);
    assert_eq!(
        sandbox.asked().calls[&Endpoint::StartUpdate],
        1,
        "the client does not send it again by itself"
    );
}

#[tokio::test]
async fn a_lost_answer_is_trouble_and_a_task_is_there() {
    let sandbox = sandbox_with(Endpoint::StartUpdate, FaultKind::ResponseLost);
    let server = serving(&sandbox).await;
    let refresh = with_token(&sandbox).await;
    let client = http_client(&server.url, secs(20), PathBuf::new());
    let failure = client.result_of(&refresh, &Query::Start).await.expect_err("lost");
    assert_eq!(failure.class, FailureClass::MaybeDown);
    assert_eq!(sandbox.asked().tasks, 1);
    assert_eq!(sandbox.asked().calls[&Endpoint::StartUpdate], 1);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let endless = || async {
        let begun = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{\"items\":")) });
        Body::from_stream(begun.chain(stream::pending()))
    };
    let url = serving_router(Router::new().fallback(endless)).await;
    let client = http_client(&url, Duration::from_millis(100), PathBuf::new());
    let refresh = refresh(RefreshConnection {
        access_token: "t".into(),
        ..command(1)
    });
    let failure = client.result_of(&refresh, &Query::FindTask).await.expect_err("no end");
    assert_eq!(failure.class, FailureClass::MaybeDown);
    assert!(failure.message.contains("no response in time"), "{}", failure.message);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_trouble() {
    let broken = || async {
        let begun = stream::once(async { Ok(Bytes::from_static(b"{\"items\":")) });
        let end = stream::once(async { Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)) });
        Body::from_stream(begun.chain(end))
    };
    let url = serving_router(Router::new().fallback(broken)).await;
    let client = http_client(&url, secs(20), PathBuf::new());
    let refresh = refresh(RefreshConnection {
        access_token: "t".into(),
        ..command(1)
    });
    let failure = client
        .result_of(&refresh, &Query::FindTask)
        .await
        .expect_err("broken off");
    assert_eq!(failure.class, FailureClass::MaybeDown);
    assert!(
        failure.message.contains("the connection was lost"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn a_refused_connection_is_trouble() {
    let (listener, url) = listener().await;
    drop(listener);
    let client = http_client(&url, secs(20), PathBuf::new());
    let refresh = refresh(RefreshConnection {
        access_token: "t".into(),
        ..command(1)
    });
    let failure = client.result_of(&refresh, &Query::FindTask).await.expect_err("refused");
    assert_eq!(failure.class, FailureClass::MaybeDown);
    assert!(failure.message.contains("could not connect"), "{}", failure.message);
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_a_token() {
    let elsewhere = || async { (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")], "") };
    let url = serving_router(Router::new().fallback(elsewhere)).await;
    let client = http_client(&url, secs(20), PathBuf::new());
    let refresh = refresh(RefreshConnection {
        access_token: "t".into(),
        ..command(1)
    });
    let failure = client
        .result_of(&refresh, &Query::FindTask)
        .await
        .expect_err("a redirect");
    assert_eq!(failure.class, FailureClass::Unexpected);
}
