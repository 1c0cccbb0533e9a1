//! What the workers logged.

use std::fs;
use std::path::Path;

use crate::verdict::Invariant;

/// Words that must be in no log, or begin with these. The values of tokens and the ends of web forms' URLs are 64 digits.
const SECRETS: [&str; 4] = [
    "secret-user-",
    "sandbox-secret",
    "guest:guest",
    "DE89370400440532013000",
];
const TOKEN_LENGTH: usize = 64;

/// The levels of lines that say nothing bad. A panic is logged as an ERROR, or is no log line at all.
const HARMLESS: [&str; 4] = ["WARN", "INFO", "DEBUG", "TRACE"];

/// The logs of all workers.
pub struct Logs(Vec<(String, String)>);

impl Logs {
    pub fn read(directory: &Path) -> Self {
        let files = fs::read_dir(directory).expect("the logs").flatten();
        let read = |file: fs::DirEntry| {
            let text = fs::read(file.path()).expect("a log");
            let name = file.file_name().to_string_lossy().into_owned();
            (name, String::from_utf8_lossy(&text).into_owned())
        };
        let mut logs: Vec<_> = files.map(read).collect();
        logs.sort();
        Self(logs)
    }

    /// How many workers began to log.
    pub fn begun(&self) -> usize {
        self.0.iter().filter(|(_, text)| !text.is_empty()).count()
    }

    /// The lines that have this text.
    pub fn with<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines()
            .map(|(_, line)| line)
            .filter(move |line| line.contains(text))
    }

    pub fn secrets(&self) -> Invariant {
        self.every_line("no_secret_is_in_a_log", |line| !has_secret(line))
    }

    pub fn errors(&self) -> Invariant {
        self.every_line("no_worker_logs_an_error_or_a_panic", is_harmless)
    }

    fn every_line(&self, name: &'static str, is_good: impl Fn(&str) -> bool) -> Invariant {
        let mut invariant = Invariant::new(name);
        for (file, line) in self.lines() {
            invariant.check(is_good(line), || format!("{file}: {line}"));
        }
        invariant
    }

    fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|(file, text)| text.lines().map(move |line| (file.as_str(), line)))
    }
}

/// A log line is its time, its level and its text.
fn is_harmless(line: &str) -> bool {
    let level = line.split_whitespace().nth(1).unwrap_or_default();
    HARMLESS.contains(&level)
}

fn has_secret(line: &str) -> bool {
    let token = |word: &str| word.len() >= TOKEN_LENGTH && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    SECRETS.iter().any(|secret| line.contains(secret)) || line.split(|c: char| !c.is_ascii_alphanumeric()).any(token)
}
