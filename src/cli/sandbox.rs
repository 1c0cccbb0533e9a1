//! `bankrefresh sandbox`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::TcpListener;

use super::{Ended, reachable};
use crate::sandbox::{Sandbox, SandboxConfig, serve};
use crate::telemetry;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Where to listen. Anybody who reaches the sandbox controls it: keep it on loopback, or in a network of its own.
    #[arg(long, default_value = "127.0.0.1:8531", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// What users and connections do (TOML, see docs/sandbox.md). Without it the connection's id decides.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> Ended {
    telemetry::logs::start(&telemetry::Settings::default());
    let config = match &args.script {
        Some(file) => SandboxConfig::from_toml(&std::fs::read_to_string(file)?)?,
        None => SandboxConfig::default(),
    };
    let listener = TcpListener::bind(args.listen).await?;
    let url = format!("http://{}", reachable(listener.local_addr()?));
    let (id, secret) = (config.client_id.clone(), config.client_secret.clone());
    let sandbox = Sandbox::new(config);
    sandbox.set_web_form_url(&url);
    let callbacks = tokio::spawn(std::sync::Arc::clone(&sandbox).run_callbacks(reqwest::Client::new()));
    println!("The finAPI simulator is at {url} ({url}/sandbox shows what it was asked).");
    println!();
    println!("A worker needs these settings:");
    println!("  BANKREFRESH__FINAPI__ACCESS_URL={url}");
    println!("  BANKREFRESH__FINAPI__WEB_FORM_URL={url}");
    println!("  BANKREFRESH__FINAPI__CLIENT_ID={id}");
    println!("  BANKREFRESH__FINAPI__CLIENT_SECRET={secret}");
    println!("  BANKREFRESH__CREDENTIALS__SOURCE=http");
    println!("  BANKREFRESH__CREDENTIALS__URL={url}/sandbox/credentials");
    let stop = async {
        // Without a signal handler the process ends at the first signal all the same.
        drop(tokio::signal::ctrl_c().await);
    };
    serve(sandbox, listener, stop).await?;
    callbacks.abort();
    Ok(ExitCode::SUCCESS)
}
