//! A control group with a limit of memory and no swap, as a container has. Version 2 where that has the memory, else version 1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::guard::Guard;

/// What to do where none can be made.
const HELP: &str = "this test limits a worker's memory by a control group below /sys/fs/cgroup, which needs root on Linux; \
                    BANKREFRESH_TEST_CGROUP=none leaves it out";

/// A group is only removed once no process is in it.
const REMOVE: &str = "for attempt in 1 2 3 4 5 6 7 8 9 10; do rmdir \"$1\" && break; sleep 0.5; done";

/// The names of the files of a version.
struct Files {
    limit: &'static str,
    swap: &'static str,
    peak: &'static str,
    events: &'static str,
}

const V2: Files = Files {
    limit: "memory.max",
    swap: "memory.swap.max",
    peak: "memory.peak",
    events: "memory.events",
};

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    swap: "memory.memsw.limit_in_bytes",
    peak: "memory.max_usage_in_bytes",
    events: "memory.oom_control",
};

/// A group, removed with this process at the latest.
pub struct Cgroup {
    path: PathBuf,
    files: Files,
    _guard: Guard,
}

impl Cgroup {
    /// A group whose processes may have so many bytes together. None: the environment says that there is to be none.
    pub fn with_memory(bytes: u64) -> Option<Self> {
        if std::env::var("BANKREFRESH_TEST_CGROUP").is_ok_and(|choice| choice == "none") {
            eprintln!("NOT TESTED: BANKREFRESH_TEST_CGROUP leaves out what a limit of memory does");
            return None;
        }
        Some(Self::make(bytes).unwrap_or_else(|error| panic!("{HELP}: {error}")))
    }

    fn make(bytes: u64) -> io::Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let is_v2 = controllers.split_whitespace().any(|name| name == "memory");
        let (parent, files) = match is_v2 {
            true => (root.to_owned(), V2),
            false => (root.join("memory"), V1),
        };
        if is_v2 {
            fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
        }
        let path = parent.join(format!("bankrefresh-test-{}", Uuid::new_v4().simple()));
        fs::create_dir(&path)?;
        let guard = Guard::new(REMOVE, &[path.to_str().expect("a path that is text")]);
        fs::write(path.join(files.limit), bytes.to_string())?;
        // Version 1 counts memory and swap together. A kernel without swap has no such file.
        let swap = if is_v2 { 0 } else { bytes };
        match fs::write(path.join(files.swap), swap.to_string()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            path,
            files,
            _guard: guard,
        })
    }

    /// What a process writes its id to, to be in the group.
    pub fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// The most bytes that its processes had at once, what they have of files included.
    pub fn peak(&self) -> u64 {
        self.read(self.files.peak).trim().parse().expect("a number")
    }

    /// How many of its processes were killed because it had no memory left.
    pub fn kills(&self) -> u64 {
        let events = self.read(self.files.events);
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.expect("the kills").trim().parse().expect("a number")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).expect("a file of the group")
    }
}
