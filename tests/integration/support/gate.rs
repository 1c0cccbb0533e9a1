//! finAPI as one worker sees it: at an address of its own, so that a test knows which worker sent a request, and can kill the worker
//! that sent it.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::platform::Platform;

/// Decides whether the worker that sent a request dies of it.
pub type Deadly = fn(&Request) -> bool;

/// The address, and what was sent to it.
#[derive(Clone)]
pub struct Gate {
    pub url: String,
    watched: Arc<Mutex<Watched>>,
}

#[derive(Default)]
struct Watched {
    /// The process that is killed.
    worker: Option<u32>,
    requests: Vec<(Instant, Method, String)>,
}

impl Gate {
    /// Serves the platform's finAPI at another address.
    pub async fn start(platform: &Platform, deadly: Deadly) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let watched: Arc<Mutex<Watched>> = Arc::default();
        let watching = Arc::clone(&watched);
        let layer = middleware::from_fn(move |request: Request, next: Next| {
            let watched = Arc::clone(&watching);
            async move {
                let worker = watch(&watched, &request);
                if deadly(&request) {
                    kill(worker.expect("a worker")).await;
                    // Nobody is left to answer.
                    return std::future::pending::<Response>().await;
                }
                next.run(request).await
            }
        });
        let router = platform.sandbox.router().layer(layer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, watched }
    }

    /// The process that a deadly request kills from now on.
    pub fn serves(&self, worker: Option<u32>) {
        self.watched.lock().expect("what is watched").worker = worker;
    }

    /// The paths of all requests of a method.
    pub fn paths(&self, method: &Method) -> Vec<String> {
        let watched = self.watched.lock().expect("what is watched");
        let of_method = watched.requests.iter().filter(|(_, sent, _)| sent == method);
        of_method.map(|(.., path)| path.clone()).collect()
    }

    /// How many requests of a method and a path arrived after a moment.
    pub fn requests_since(&self, since: Instant, method: &Method, path: &str) -> usize {
        let watched = self.watched.lock().expect("what is watched");
        let is_meant = |(at, sent, to): &&(Instant, Method, String)| *at >= since && sent == method && to == path;
        watched.requests.iter().filter(is_meant).count()
    }
}

fn watch(watched: &Mutex<Watched>, request: &Request) -> Option<u32> {
    let mut watched = watched.lock().expect("what is watched");
    let path = request.uri().path().to_owned();
    watched.requests.push((Instant::now(), request.method().clone(), path));
    watched.worker
}

async fn kill(worker: u32) {
    // It fails when the worker has died of an earlier request.
    let _ = Command::new("kill").args(["-KILL", &worker.to_string()]).output().await;
}
