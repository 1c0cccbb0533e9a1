//! The results file: what was published under which id, and what came of it. One JSON object a line; lines are only added.
//!
//! What has to survive a kill is synced before anything relies on it: the id of a command before it is published, an outcome before its
//! event is acknowledged. A line that was cut in the middle is cut off when the file is opened again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::progress::Counts;

/// The form of the file. A program that knows only older ones does not continue from it.
const VERSION: u32 = 1;

/// The longest line that this program writes, with room.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// A line of the file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    /// The first line.
    Begin(Begin),
    /// The command of an input line has this id and time from now on, whenever it is published.
    Command {
        line: u64,
        command_id: Uuid,
        requested_at: Timestamp,
    },
    /// The broker has confirmed it.
    Published { line: u64 },
    /// Its user was asked to act.
    UserNeeded { line: u64, at: Timestamp },
    /// It is over.
    Outcome(Outcome),
    /// Events may be lost: whatever has no outcome here is to be published again.
    Forgotten,
}

/// What a batch is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Begin {
    version: u32,
    /// Names the queue of its events.
    pub(super) run: Uuid,
    /// The SHA-256 of the input.
    pub(super) input_sha256: String,
    /// How many commands it has.
    pub(super) commands: usize,
    /// How many bad lines were skipped.
    pub(super) skipped: usize,
    /// The lane of lines that name none.
    pub(super) lane: String,
    /// The prefix of the broker's names.
    pub(super) prefix: String,
}

/// What came of a command.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Outcome {
    pub(super) line: u64,
    pub(super) command_id: Uuid,
    pub(super) user_id: String,
    pub(super) bank_connection_id: i64,
    pub(super) outcome: Ending,
    /// How the update came about, or why it failed, as `events.proto` names it.
    pub(super) reason: String,
    /// Whether another command may succeed, if it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) retryable: Option<bool>,
    /// For the connection's next `transactions_since`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) covered_until: Option<Timestamp>,
    pub(super) event_id: String,
    pub(super) at: Timestamp,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    Updated,
    Failed,
}

impl Begin {
    pub(super) fn new(input_sha256: &str, commands: usize, skipped: usize, lane: &str, prefix: &str) -> Self {
        Self {
            version: VERSION,
            run: Uuid::now_v7(),
            input_sha256: input_sha256.to_owned(),
            commands,
            skipped,
            lane: lane.to_owned(),
            prefix: prefix.to_owned(),
        }
    }
}

/// The file, locked for as long as it is open.
pub(super) struct Results {
    file: File,
    path: PathBuf,
    /// Written and not synced.
    unsynced: bool,
    /// Something was not written or synced. Nobody can know what the disk has of it, so nothing more is relied on.
    is_broken: bool,
}

impl Results {
    /// Opens or creates it, for its owner only, and says what it holds.
    ///
    /// # Errors
    ///
    /// It can't be read, another run has it, or it is no results file of a version that this program knows.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Record>), String> {
        let wrong = |what: &str| format!("{}: {what}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options
            .open(path)
            .map_err(|error| wrong(&format!("can't be opened: {error}")))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(wrong("another run uses it")),
            Err(TryLockError::Error(error)) => return Err(wrong(&format!("can't be locked: {error}"))),
        }
        let mut results = Self {
            file,
            path: path.to_owned(),
            unsynced: false,
            is_broken: false,
        };
        let records = results.read()?;
        results.sync_folder().map_err(|error| wrong(&error.to_string()))?;
        Ok((results, records))
    }

    /// All records, without a last one that was cut.
    fn read(&mut self) -> Result<Vec<Record>, String> {
        let wrong = |what: String| format!("{}: {what}", self.path.display());
        let unreadable = |error: io::Error| wrong(format!("can't be read: {error}"));
        let mut reader = BufReader::new(&self.file);
        let (mut records, mut whole) = (Vec::new(), 0_u64);
        loop {
            let mut line = Vec::new();
            let limited = &mut io::Read::take(&mut reader, RECORD_BYTES_MAX);
            let count = limited.read_until(b'\n', &mut line).map_err(unreadable)?;
            if !line.ends_with(b"\n") {
                // What is no file of ours is not cut.
                let is_ours =
                    !records.is_empty() || br#"{"record":"begin""#.starts_with(&line) || line.starts_with(BEGIN);
                match is_ours && u64::try_from(count).is_ok_and(|count| count < RECORD_BYTES_MAX) {
                    true => break,
                    false => return Err(wrong(NOT_OURS.to_owned())),
                }
            }
            let record = serde_json::from_slice(&line);
            let number = records.len() + 1;
            let record = record.map_err(|_| match number {
                1 => wrong(NOT_OURS.to_owned()),
                _ => wrong(format!("line {number} is none that this program writes")),
            })?;
            match (&record, records.is_empty()) {
                (Record::Begin(begin), true) if begin.version <= VERSION => {}
                (Record::Begin(_), true) => return Err(wrong("a newer program began it; use that".to_owned())),
                (_, true) => return Err(wrong(NOT_OURS.to_owned())),
                _ => {}
            }
            records.push(record);
            whole += u64::try_from(count).unwrap_or_default();
        }
        self.file.set_len(whole).map_err(unreadable)?;
        self.file.seek(io::SeekFrom::Start(whole)).map_err(unreadable)?;
        Ok(records)
    }

    /// Adds records, without syncing them.
    ///
    /// # Errors
    ///
    /// They can't be written, or something before them could not.
    pub(super) fn add<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> io::Result<()> {
        let mut text = Vec::new();
        for record in records {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        self.unsynced = true;
        self.trying(|file| file.write_all(&text))
    }

    /// Everything that was added survives the loss of power from now on.
    ///
    /// # Errors
    ///
    /// The disk does not confirm it, or did not confirm something before it: an operating system may say of a second try that all is
    /// well, and have dropped what the first one was about.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.trying(|file| file.sync_data())?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn trying(&mut self, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("an earlier record could not be written"));
        }
        let written = write(&mut self.file);
        self.is_broken = written.is_err();
        written
    }

    /// A file that was created survives, too.
    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// How many commands are over, by the records alone.
pub(super) fn over(records: &[Record]) -> Counts {
    let outcome = |record: &Record| match record {
        Record::Outcome(outcome) => Some((outcome.line, outcome.outcome)),
        _ => None,
    };
    let outcomes: BTreeMap<u64, Ending> = records.iter().filter_map(outcome).collect();
    let done = outcomes.values().filter(|ending| **ending == Ending::Updated).count();
    Counts {
        commands: outcomes.len(),
        published: outcomes.len(),
        done,
        waiting: 0,
        failed: outcomes.len() - done,
    }
}

/// What a file of ours begins with.
const BEGIN: &[u8] = br#"{"record":"begin""#;

const NOT_OURS: &str = "is no results file; name one that does not exist";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn begin() -> Record {
        Record::Begin(Begin::new("00ff", 2, 0, "background", "bankrefresh"))
    }

    fn command(line: u64) -> Record {
        Record::Command {
            line,
            command_id: Uuid::nil(),
            requested_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_record_that_was_cut_anywhere_is_cut_off_and_the_file_continues() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results");
        let all = [begin(), command(2), command(3)];
        let (mut results, records) = Results::open(&path).expect("created");
        assert_eq!(records, []);
        results.add(&all).expect("added");
        results.sync().expect("synced");
        drop(results);
        let text = fs::read(&path).expect("text");
        let ends: Vec<usize> = text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1)
            .collect();
        for cut in 0..text.len() {
            fs::write(&path, &text[..cut]).expect("cut");
            let (mut results, records) = Results::open(&path).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(records, all[..whole], "cut at {cut}");
            results.add(&all[whole..]).expect("added");
            drop(results);
            assert!(fs::read(&path).expect("text") == text || whole == 0, "cut at {cut}");
            assert_eq!(Results::open(&path).expect("opened").1.len(), all.len(), "cut at {cut}");
        }
    }

    #[test]
    fn after_a_write_that_failed_nothing_is_confirmed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results");
        let (mut results, _) = Results::open(&path).expect("created");
        let first = begin();
        results.add([&first]).expect("added");
        let good = std::mem::replace(
            &mut results.file,
            File::open(&path).expect("a file that can't be written"),
        );
        assert!(results.add(&[command(2)]).is_err());
        // Were it tried again, it would succeed now.
        results.file = good;
        assert!(
            results.sync().is_err() && results.sync().is_err(),
            "what is not there is confirmed"
        );
        assert!(
            results.add(&[command(3)]).is_err(),
            "it would come behind a record that is cut"
        );
        drop(results);
        let (_, records) = Results::open(&path).expect("opened");
        assert_eq!(records, [first]);
    }

    #[test]
    fn one_run_has_it_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results");
        let first = Results::open(&path).expect("created");
        let second = Results::open(&path).err().expect("it is locked");
        assert!(second.ends_with("another run uses it"), "{second}");
        drop(first);
        assert!(Results::open(&path).is_ok());
    }

    #[test]
    fn what_is_no_results_file_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results");
        let newer = serde_json::to_string(&begin())
            .expect("JSON")
            .replace(r#""version":1"#, r#""version":99"#);
        let damaged = format!("{}\nwhat?\n{}\n", serde_json::to_string(&begin()).expect("JSON"), "{}");
        for (text, why) in [
            ("user_id,bank_connection_id\nanna,1\n", "is no results file"),
            ("user_id", "is no results file"),
            ("{\"user_id\":\"anna\"}\n", "is no results file"),
            (&"x".repeat(100_000), "is no results file"),
            (&format!("{newer}\n"), "a newer program began it"),
            (&damaged, "line 2 is none"),
        ] {
            fs::write(&path, text).expect("written");
            let error = Results::open(&path).err().unwrap_or_default();
            assert!(error.contains(why), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("text"), text);
        }
    }
}
