//! `bankrefresh healthcheck`

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use super::{Ended, reachable};
use crate::config::Config;
use crate::plain::plain;

/// Whoever asks gives up after some seconds too.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Parser)]
#[command(
    after_help = "Exit codes: 0 the worker is alive, or with --ready takes commands; 1 it does not; 2 the command line is wrong."
)]
pub(super) struct Args {
    /// Ask whether it takes commands now (/readyz), and not whether it is alive (/livez)
    #[arg(long)]
    ready: bool,
}

pub(super) async fn run(args: Args, config: &Config) -> Ended {
    let listen = config
        .admin
        .listen
        .ok_or("admin.listen is not set, so the worker has no listener that could be asked")?;
    let path = if args.ready { "readyz" } else { "livez" };
    let url = format!("http://{}/{path}", reachable(listen));
    // A proxy of the environment's is for the way to finAPI.
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let answer = client.get(&url).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    let text = plain(text.trim());
    if !status.is_success() {
        return Err(format!("{url} answers {}: {text}", status.as_u16()).into());
    }
    println!("{url} answers {}: {text}", status.as_u16());
    Ok(ExitCode::SUCCESS)
}
