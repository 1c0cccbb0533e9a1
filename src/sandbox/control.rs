//! The sandbox's own endpoints: to see what was asked, to script, and to play the user.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::config::{ApiVersion, ScriptedConnection, ScriptedUser};
use super::fault::{Fault, FaultKind};
use super::forms::ByHand;
use super::{Asked, Sandbox, page};

/// What the page shows at most of users and connections.
const PAGE_ROWS_MAX: usize = 200;

/// How many web forms it offers.
const PAGE_FORMS_MAX: usize = 20;

pub(super) fn routes() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/", get(overview))
        .route("/sandbox", get(asked))
        .route("/sandbox/script", post(script))
        .route("/sandbox/users", post(user))
        .route("/sandbox/credentials/{user_id}", get(password))
        .route("/sandbox/faults", post(fault).delete(no_faults))
        .route("/sandbox/apiVersion", post(switch))
        .route("/sandbox/down", post(down))
        .route("/sandbox/up", post(up))
        .route("/sandbox/batchUpdates", post(batch_update))
        .route("/sandbox/webForms/{id}/{action}", post(play))
        .route("/webForm/{secret}", get(visit))
}

async fn overview(State(sandbox): State<Arc<Sandbox>>) -> Html<String> {
    let (asked, forms) = sandbox.turn(|state| (state.asked_at_most(PAGE_ROWS_MAX), state.open_forms(PAGE_FORMS_MAX)));
    Html(page::overview(&asked, &forms).into_string())
}

async fn asked(State(sandbox): State<Arc<Sandbox>>) -> Json<Asked> {
    Json(sandbox.asked())
}

async fn script(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response {
    done(read::<ScriptedConnection>(&body).map(|connection| sandbox.script_connection(connection)))
}

async fn user(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response {
    done(read::<ScriptedUser>(&body).map(|user| sandbox.script_user(user)))
}

/// What a platform's own credential service would answer.
async fn password(State(sandbox): State<Arc<Sandbox>>, Path(user_id): Path<String>) -> Json<serde_json::Value> {
    let password = sandbox.turn(|state| state.password(&user_id));
    Json(serde_json::json!({ "password": password }))
}

async fn fault(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response {
    done(read::<Fault>(&body).map(|fault| sandbox.add_fault(fault)))
}

async fn no_faults(State(sandbox): State<Arc<Sandbox>>) -> StatusCode {
    sandbox.remove_faults();
    StatusCode::NO_CONTENT
}

/// As finAPI's own switch for mandators takes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Switch {
    api_version: ApiVersion,
}

async fn switch(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response {
    done(read::<Switch>(&body).map(|switch| sandbox.switch_api_version(switch.api_version)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchUpdate {
    connection_id: i64,
    #[serde(default, with = "humantime_serde")]
    takes: Duration,
}

async fn batch_update(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response {
    let started = read::<BatchUpdate>(&body).and_then(|update| {
        let started = sandbox.batch_update(update.connection_id, update.takes);
        started
            .then_some(())
            .ok_or_else(|| "there is no such connection yet, or it is being updated".to_owned())
    });
    done(started)
}

async fn down(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response {
    let kind = if body.is_empty() {
        Ok(FaultKind::status(503))
    } else {
        read(&body)
    };
    done(kind.map(|kind| sandbox.go_down(kind)))
}

async fn up(State(sandbox): State<Arc<Sandbox>>) -> StatusCode {
    sandbox.come_up();
    StatusCode::NO_CONTENT
}

async fn play(
    State(sandbox): State<Arc<Sandbox>>,
    Path((id, action)): Path<(Uuid, String)>,
) -> (StatusCode, Html<String>) {
    let by_hand = match action.as_str() {
        "open" => ByHand::Open,
        "complete" => ByHand::Complete,
        "abort" => ByHand::Abort,
        "expire" => ByHand::Expire,
        _ => {
            return (
                StatusCode::NOT_FOUND,
                Html(page::nothing("There is no such thing to do").into_string()),
            );
        }
    };
    if sandbox.play(id, by_hand) {
        (StatusCode::OK, Html(page::played(by_hand).into_string()))
    } else {
        (
            StatusCode::CONFLICT,
            Html(page::nothing("There is no such web form, or it is over").into_string()),
        )
    }
}

async fn visit(State(sandbox): State<Arc<Sandbox>>, Path(secret): Path<String>) -> (StatusCode, Html<String>) {
    match sandbox.turn(|state| state.visit(&secret)) {
        Some(id) => {
            sandbox.play(id, ByHand::Open);
            (StatusCode::OK, Html(page::web_form(id).into_string()))
        }
        None => (
            StatusCode::GONE,
            Html(page::nothing("This web form is over, or its link was used").into_string()),
        ),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())
}

fn done(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error + "\n").into_response(),
    }
}
