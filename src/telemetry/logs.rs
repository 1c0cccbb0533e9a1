//! Log lines on standard error: one for each thing that happened.

use std::io::IsTerminal as _;

use super::{LogFormat, Settings};

/// Starts logging. To be called once, before anything is logged.
pub fn start(settings: &Settings) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(settings.log_level.filter())
        .with_writer(std::io::stderr)
        .with_target(false);
    match settings.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(panicked));
}

/// Only where: what a panic says may be made of anything, a token too.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "a panic");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

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
        let line = String::from_utf8(kept.0.lock().expect("what is kept").clone()).expect("text");
        assert!(line.contains("a panic") && line.contains("logs.rs"), "{line}");
        assert!(!line.contains("planted"), "{line}");
    }
}
