//! The sandbox's routes, and a call's way through them.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use tokio::net::TcpListener;

use super::Sandbox;
use super::body::BodyFault;
use super::call::{Call, Reply};
use super::config::ApiVersion;
use super::control;
use super::endpoint::Endpoint;
use super::fault::{Met, Then, dropped};
use super::refusal::Refusal;
use super::state::State;

/// Serves a sandbox until `shutdown` is done, then finishes the calls under way.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    sandbox: Arc<Sandbox>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(sandbox))
        .with_graceful_shutdown(shutdown)
        .await
}

pub(super) fn router(sandbox: Arc<Sandbox>) -> Router {
    let mut router = Router::new();
    for (endpoint, version) in paths() {
        let handler = move |Extract(sandbox): Extract<Arc<Sandbox>>, request: Request| async move {
            answer(&sandbox, endpoint, version, request).await
        };
        // All methods of endpoints have a filter.
        let method = MethodFilter::try_from(endpoint.method()).unwrap_or(MethodFilter::GET);
        router = router.route(endpoint.path(version), on(method, handler));
    }
    router.merge(control::routes()).fallback(unknown).with_state(sandbox)
}

/// Web Form 2.0 has one path, whatever the client's version.
fn paths() -> impl Iterator<Item = (Endpoint, ApiVersion)> {
    let all = Endpoint::ALL.into_iter().chain(Endpoint::OF_OPERATORS);
    all.flat_map(|endpoint| {
        let versions = ApiVersion::ALL.into_iter();
        let own = versions.take(if endpoint.has_versions() { 2 } else { 1 });
        own.map(move |version| (endpoint, version))
    })
}

async fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "finAPI's sandbox has nothing here\n").into_response()
}

async fn answer(sandbox: &Sandbox, endpoint: Endpoint, version: ApiVersion, request: Request) -> Response {
    let Some(mut call) = Call::read(endpoint, version, request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let reply = sandbox.turn(|state| decide(state, &mut call));
    if endpoint == Endpoint::StartUpdate {
        sandbox.sooner.notify_one();
    }
    let mut response = match reply {
        Some(reply) => send(reply, &call).await,
        None => dropped(),
    };
    if let Some(fault) = call.met {
        response.extensions_mut().insert(Met(fault));
    }
    response
}

/// Does the whole call, under the lock. None: nothing is to be said.
fn decide(state: &mut State, call: &mut Call) -> Option<Reply> {
    // Where the answer is an old one, the state's time goes back.
    let now = state.now;
    let reply = match state.answer(call) {
        Ok(reply) => Some(written(reply, call)),
        Err(Refusal::Gateway(gateway)) => Some(gateway.reply(&call.path(), now)),
        Err(refusal) => refusal.reply(call, now).map(|reply| written(reply, call)),
    };
    let mut reply = match &call.then {
        Some(Then::Replace(gateway)) => Some(gateway.reply(&call.path(), now)),
        _ => reply,
    };
    if let Some(reply) = &mut reply {
        reply.dated(now);
    }
    state.count_answer(call, reply.as_ref());
    reply
}

fn written(reply: Reply, call: &Call) -> Reply {
    let leaves_out = call.endpoint.has_versions() && call.version == ApiVersion::V2;
    let reply = if leaves_out { reply.without_nulls() } else { reply };
    reply.echoing(call)
}

async fn send(mut reply: Reply, call: &Call) -> Response {
    match &call.then {
        None | Some(Then::Replace(_)) => {}
        Some(Then::Slow(time)) => tokio::time::sleep(*time).await,
        Some(Then::Cut) => reply.body.truncate(reply.body.len() / 2),
        Some(Then::Drop) => return dropped(),
        Some(Then::Body(fault)) => return faulty(reply, fault),
        Some(Then::Odd(odd)) => reply.body = odd.iter().fold(reply.body, |body, odd| odd.apply_to(body)),
    }
    let body = std::mem::take(&mut reply.body);
    response(reply, Body::from(body))
}

fn faulty(mut reply: Reply, fault: &BodyFault) -> Response {
    let content_type = fault.content_type().and_then(|text| HeaderValue::from_str(text).ok());
    if let Some(content_type) = content_type {
        reply.headers.insert(CONTENT_TYPE, content_type);
    }
    let body = std::mem::take(&mut reply.body);
    response(reply, fault.apply(body))
}

fn response(reply: Reply, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}
