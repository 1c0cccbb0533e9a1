//! `bankrefresh doctor`: what can be checked from a shell, without a refresh. It changes nothing.

mod broker;
mod callbacks;
mod finapi;
mod policies;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Parser;

use super::Ended;
use crate::config::Config;
use crate::plain::plain;
use crate::setting::HttpUrl;

#[derive(Debug, Parser)]
#[command(
    after_help = "Give it the worker's own settings and environment. Exit codes: 0 nothing is wrong; 1 something is; 2 the command line is \
    wrong."
)]
pub(super) struct Args {
    /// RabbitMQ's management API, for example http://127.0.0.1:15672: its policies can only be seen there
    #[arg(long, value_name = "URL")]
    management: Option<HttpUrl>,
    /// A user with the tag `monitoring` [default: the user and password of amqp.url]
    #[arg(long, value_name = "NAME", requires_all = ["management", "management_password_file"])]
    management_user: Option<String>,
    /// A file with its password
    #[arg(long, value_name = "FILE", requires = "management_user")]
    management_password_file: Option<PathBuf>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It was not checked, or is right only in some places.
    Note,
    Wrong,
}

/// What one check found: its words say what to do where something is wrong.
#[derive(Clone, Debug)]
struct Finding {
    verdict: Verdict,
    about: &'static str,
    words: String,
}

impl Finding {
    fn new(verdict: Verdict, about: &'static str, words: impl fmt::Display) -> Self {
        Self {
            verdict,
            about,
            words: plain(&words.to_string()).into_owned(),
        }
    }

    fn ok(about: &'static str, words: impl fmt::Display) -> Self {
        Self::new(Verdict::Ok, about, words)
    }

    fn note(about: &'static str, words: impl fmt::Display) -> Self {
        Self::new(Verdict::Note, about, words)
    }

    fn wrong(about: &'static str, words: impl fmt::Display) -> Self {
        Self::new(Verdict::Wrong, about, words)
    }

    fn print(&self) {
        let (style, word): (Style, &str) = match self.verdict {
            Verdict::Ok => (AnsiColor::Green.on_default(), "ok   "),
            Verdict::Note => (AnsiColor::Yellow.on_default(), "note "),
            Verdict::Wrong => (AnsiColor::Red.on_default(), "wrong"),
        };
        anstream::println!("{style}{word}{style:#} {:<11} {}", self.about, self.words);
    }
}

pub(super) async fn run(args: Args, config: Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let mut findings = Findings::default();
    findings.add([Finding::ok(
        "settings",
        "each is allowed (`bankrefresh config check` prints them)",
    )]);
    findings.add(broker::check(&config.amqp).await);
    findings.add([policies::check(&args, &config.amqp).await]);
    findings.add(finapi::check(&config).await);
    findings.add(callbacks::check(&config.callbacks));
    let wrong = findings.wrong;
    match wrong {
        0 => println!("nothing is wrong"),
        count => println!("{count} wrong"),
    }
    Ok(ExitCode::from(u8::from(wrong > 0)))
}

#[derive(Default)]
struct Findings {
    wrong: usize,
}

impl Findings {
    /// Printed as they come: a check may take its time.
    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.wrong += usize::from(finding.verdict == Verdict::Wrong);
            finding.print();
        }
    }
}
