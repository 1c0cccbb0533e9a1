//! Where the lines of a batch are: a file, or what came by standard input, which is kept for later runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::check::sha256;
use super::with_ending;

/// The most bytes of standard input that are kept.
const BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// A file that can be read again.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) file: File,
    /// Where standard input is kept, until the batch is over.
    kept: Option<PathBuf>,
}

pub(super) fn is_standard_input(from: &Path) -> bool {
    from == Path::new("-")
}

impl Source {
    /// Opens the input. Where a run continues one that began with standard input, what that has now is to be nothing or the same.
    ///
    /// # Errors
    ///
    /// It can't be read again and again, or is another one.
    pub(super) fn open(from: &Path, results: &Path, begun_with: Option<&str>) -> Result<Self, String> {
        if !is_standard_input(from) {
            return Self::file(from);
        }
        let kept = kept_for(results);
        let wrong = |error: io::Error| format!("{}: {error}", kept.display());
        let file = match begun_with {
            None => keep(&kept).map_err(wrong)?,
            Some(sha256) => {
                is_same(sha256)?;
                File::open(&kept).map_err(wrong)?
            }
        };
        Ok(Self {
            name: "standard input".to_owned(),
            file,
            kept: Some(kept),
        })
    }

    fn file(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("{name}: can't be read: {error}"))?;
        match file.metadata() {
            Ok(data) if data.is_file() => Ok(Self { name, file, kept: None }),
            _ => Err(format!(
                "{name}: is no file; give its lines by standard input (--from -)"
            )),
        }
    }

    /// Whatever it has of users is not needed any more.
    pub(super) fn forget(&self) {
        if let Some(kept) = &self.kept {
            remove(kept);
        }
    }
}

/// As [`Source::forget`], of a batch that is over: a run may have been killed just before it did that.
pub(super) fn forget_kept(from: &Path, results: &Path) {
    if is_standard_input(from) {
        remove(&kept_for(results));
    }
}

fn kept_for(results: &Path) -> PathBuf {
    with_ending(results, ".input")
}

fn remove(kept: &Path) {
    match fs::remove_file(kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "{} is not needed any more and could not be removed", kept.display());
        }
        _ => {}
    }
}

/// Copies standard input to a file for its owner only.
fn keep(path: &Path) -> io::Result<File> {
    if io::stdin().is_terminal() {
        eprintln!("reading commands from standard input");
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    let read = copy(io::stdin().lock(), &mut file, BYTES_MAX).and_then(|()| file.sync_all());
    if read.is_err() {
        remove(path);
    }
    read.map(|()| file)
}

/// Copies all of it, or none that anybody would take for all.
fn copy(from: impl Read, to: &mut File, bytes_max: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.take(bytes_max.saturating_add(1)), to)?;
    match copied > bytes_max {
        true => Err(io::Error::other(format!(
            "standard input has more than {bytes_max} bytes; split it"
        ))),
        false => Ok(()),
    }
}

/// Whether standard input has nothing, or what the batch began with.
pub(super) fn is_same(begun_with: &str) -> Result<(), String> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    let mut given = io::stdin().lock();
    let given = sha256(&mut given).map_err(|error| format!("standard input: {error}"))?;
    match given == begun_with || given == sha256(&mut io::empty()).unwrap_or_default() {
        true => Ok(()),
        false => Err(super::CHANGED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_kept_whole_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let copied = |text: &str| {
            let path = folder.path().join("kept");
            let mut file = File::create(&path).expect("created");
            copy(text.as_bytes(), &mut file, 5).map(|()| fs::read_to_string(&path).expect("text"))
        };
        assert_eq!(copied("12345").expect("it fits"), "12345");
        assert!(copied("123456").is_err_and(|error| error.to_string().contains("more than 5 bytes")));
    }
}
