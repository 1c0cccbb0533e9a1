//! Log lines on standard error: one plain line for each thing that happened, whatever finAPI, a bank or a sender has written into it.

use std::io::{self, Write};

use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, registry};

use super::settings::may_be_logged;
use super::{LogFormat, LogLevel, Settings};
use crate::plain::{plain, plain_json};

/// Starts logging. To be called once, before anything is logged.
pub fn start(settings: &Settings) {
    let lines = fmt::layer().with_ansi(false).with_target(false);
    let lines = match settings.log_format {
        LogFormat::Text => {
            let to = || Lines(io::stderr().lock(), |line| plain(line).into_owned());
            lines.with_writer(to).boxed()
        }
        LogFormat::Json => {
            let to = || Lines(io::stderr().lock(), |line| plain_json(line).into_owned());
            lines.json().flatten_event(true).with_writer(to).boxed()
        }
    };
    registry().with(lines.with_filter(filter(&settings.log_level))).init();
    std::panic::set_hook(Box::new(panicked));
}

/// What an operator asks for, as far as it may be logged.
fn filter(level: &LogLevel) -> impl Filter<Registry> + use<> {
    let allowed = filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE);
    level.filter().and(allowed)
}

/// Makes each line plain. The subscriber writes each with one call.
struct Lines<W>(W, fn(&str) -> String);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = self.1(text.strip_suffix('\n').unwrap_or(&text));
        self.0.write_all(format!("{line}\n").as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Only where: what a panic says may be made of anything, a token too.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "a panic");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::setting::Value as _;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("what is kept").clone()).expect("text")
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("what is kept").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_says_where_and_not_what() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(panicked));
        tracing::subscriber::with_default(lines, || {
            let panic = std::panic::catch_unwind(|| panic!("planted-token-8f3a"));
            assert!(panic.is_err());
        });
        std::panic::set_hook(before);
        let line = kept.text();
        assert!(line.contains("a panic") && line.contains("logs.rs"), "{line}");
        assert!(!line.contains("planted"), "{line}");
    }

    #[test]
    fn an_event_is_one_plain_line_whatever_is_in_it() {
        let forged = "a\u{1b}[2J\r\nFAKE line\u{85}\u{2028}\u{202e}b";
        let (texts, jsons) = (Kept::default(), Kept::default());
        let (text_writer, json_writer) = (texts.clone(), jsons.clone());
        let text = tracing_subscriber::fmt().with_ansi(false);
        let text = text.with_writer(move || Lines(text_writer.clone(), |line| plain(line).into_owned()));
        let json = tracing_subscriber::fmt().json().flatten_event(true);
        let json = json.with_writer(move || Lines(json_writer.clone(), |line| plain_json(line).into_owned()));
        let log = || tracing::info!(field = forged, shown = %forged, "message {forged}");
        tracing::subscriber::with_default(text.finish(), log);
        tracing::subscriber::with_default(json.finish(), log);
        for line in [texts.text(), jsons.text()] {
            let line = line.strip_suffix('\n').expect("a line");
            assert_eq!(plain(line), line);
        }
        let read: serde_json::Value = serde_json::from_str(&jsons.text()).expect("JSON");
        assert_eq!(read["field"], forged);
    }

    /// Which lines come through, of ours, of a library and of lapin.
    fn logged(log_level: &str) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let log_level: LogLevel = log_level.parse().expect("directives");
        let lines = fmt::layer()
            .with_writer(move || writer.clone())
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_filter(filter(&log_level));
        let lines = registry().with(lines);
        tracing::subscriber::with_default(lines, || {
            tracing::warn!(target: "bankrefresh::worker", "ours-warn");
            tracing::info!(target: "bankrefresh::worker", "ours-info");
            tracing::debug!(target: "bankrefresh", "ours-debug");
            tracing::error!(target: "opentelemetry_sdk", "theirs-error");
            tracing::warn!(target: "opentelemetry_sdk", "theirs-warn");
            tracing::info!(target: "opentelemetry_sdk", "theirs-info");
            tracing::debug!(target: "hyper::client", "theirs-debug");
            tracing::error!(target: "lapin::channel", "lapin-error");
            tracing::debug!(target: "lapin::channel", "lapin-debug");
            tracing::trace!(target: "lapin::io_loop", "lapin-trace");
            tracing::error!(target: "lapin::returned_messages", "lapin-body");
        });
        kept.text().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_level_is_ours_and_libraries_log_warnings_unless_directives_say_otherwise() {
        let default = logged(&LogLevel::default().show());
        assert_eq!(default, "ours-warn ours-info theirs-error theirs-warn");
        let debug = logged("debug");
        assert_eq!(debug, "ours-warn ours-info ours-debug theirs-error theirs-warn");
        assert_eq!(logged("error"), "theirs-error");
        assert_eq!(logged("off"), "");
        assert_eq!(logged("bankrefresh=info"), default);
        assert_eq!(logged("warn,bankrefresh=debug"), debug);
        assert_eq!(logged("off,bankrefresh=info"), "ours-warn ours-info");
        assert_eq!(
            logged("info,hyper=debug,lapin=error"),
            "ours-warn ours-info theirs-error theirs-warn theirs-info theirs-debug lapin-error"
        );
        // Frames hold the broker's password and what is in messages.
        assert_eq!(logged("off,lapin=trace,lapin::io_loop=trace"), "lapin-error");
    }
}
