//! The layout holds: who may import whom, what pure code may name, how long files and functions may be, and which words are not used.
//!
//! Most of it goes by the text of `src/`, without the tests in it. `cargo test --test layout -- --nocapture` prints the figures.

mod pages;
mod source;
mod versions;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use source::{SOURCES, Source, functions, names_after};

/// The top-level modules from the ground up. Each may import those before it, and none after it.
const FLOORS: [&str; 26] = [
    // The ground: nothing of ours is imported here.
    "proto",
    "clock",
    "limits",
    "plain",
    "id",
    "lease",
    "random",
    "rate_limit",
    "secret",
    "setting",
    "http_server",
    "sandbox",
    "broker",
    // The workflow, and what it is on the wire.
    "refresh",
    "message",
    "dead_letters",
    "orders",
    // Names what the floors below are about, so it stands above them and below whoever reports.
    "telemetry",
    "finapi",
    "callbacks",
    "worker",
    // The program around it.
    "admin",
    "console",
    "config",
    "cli",
    // Names the readers of all floors, for tests/fuzz.
    "fuzzing",
];

/// Imports that still go up, each with the reason. One that is not there any more has to leave this list.
const GOES_UP: [(&str, &str, &str); 0] = [];

/// The most lines of a file, comments in and tests out.
const LINES_MAX: usize = 400;

/// Files that are still longer, each with the reason. One that is not any more has to leave this list.
const LONGER: [(&str, &str); 0] = [];

/// Items that files of `broker/rabbit` take from its `mod.rs`. One that is not taken any more has to leave this list.
const OF_RABBIT: [(&str, &str); 0] = [];

/// Where nothing is done but decided: time, jitter and ids are arguments there.
const PURE: [&str; 2] = ["refresh/", "worker/scheduler"];

/// What no pure file names: a runtime, a clock, a random source, the world outside, a log, and memory that outlives a call.
/// Also `::now` and `static`.
const IMPURE: [&str; 26] = [
    "tokio",
    "async",
    "await",
    "spawn",
    "thread",
    "Clock",
    "SystemTime",
    "elapsed",
    "sleep",
    "fastrand",
    "rand",
    "new_v4",
    "now_v7",
    "new_v7",
    "net",
    "fs",
    "env",
    "process",
    "axum",
    "reqwest",
    "lapin",
    "tracing",
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
];

/// The median and the 90th percentile of all functions' lines may not be above these.
const MEDIAN_MAX: usize = 8;
const P90_MAX: usize = 23;

#[test]
fn no_floor_imports_a_higher_one() {
    let modules: BTreeSet<&str> = SOURCES
        .iter()
        .map(Source::module)
        .filter(|name| !["lib", "main"].contains(name))
        .collect();
    let floors = BTreeSet::from(FLOORS);
    assert_eq!(
        modules, floors,
        "every top-level module has its floor, and every floor its module"
    );
    let height = |name: &str| FLOORS.iter().position(|floor| *floor == name);
    let mut ups = BTreeMap::new();
    for source in SOURCES.iter() {
        let Some(own) = height(source.module()) else { continue };
        for name in source.imports() {
            let other = height(&name).unwrap_or_else(|| panic!("{}: what is crate::{name}?", source.name));
            if other > own {
                ups.insert((source.module().to_owned(), name), source.name.clone());
            }
        }
    }
    for (from, to, why) in GOES_UP {
        let known = ups.remove(&(from.to_owned(), to.to_owned()));
        assert!(
            known.is_some(),
            "{from} imports {to} no more, so that is no exception any more ({why})"
        );
    }
    assert!(ups.is_empty(), "imports that go up, with a file that has one: {ups:#?}");
}

#[test]
fn no_circle_in_rabbit() {
    let imports = imports_in_rabbit();
    assert!(imports.len() > 10, "broker/rabbit has moved");
    for (name, why) in OF_RABBIT {
        let taken = imports.values().any(|names| names.contains(name));
        assert!(
            taken,
            "nothing takes {name} from mod.rs any more, so that is no exception any more ({why})"
        );
    }
    for file in imports.keys() {
        let mut way = vec![file.clone()];
        assert!(
            !leads_back(&imports, &mut way),
            "files of broker/rabbit that import each other: {way:?}"
        );
    }
}

/// What each file of `broker/rabbit` imports of the others, by their names; what is an item of `mod.rs` counts as `mod`.
fn imports_in_rabbit() -> BTreeMap<String, BTreeSet<String>> {
    let file =
        |source: &'static Source| Some((source.name.strip_prefix("broker/rabbit/")?.strip_suffix(".rs")?, source));
    let files: BTreeMap<&str, &Source> = SOURCES.iter().filter_map(file).collect();
    let imports = |(file, source): (&&str, &&Source)| {
        let own = if *file == "mod" { "self::" } else { "super::" };
        let mut names = names_after(&source.code, own);
        names.extend(names_after(&source.code, "crate::broker::rabbit::"));
        let known = |name: &String| files.contains_key(name.as_str()) || OF_RABBIT.iter().any(|(item, _)| item == name);
        let (known, of_mod): (BTreeSet<String>, BTreeSet<String>) = names.into_iter().partition(known);
        let of_mod = of_mod.first().filter(|_| *file != "mod").map(|_| "mod".to_owned());
        ((*file).to_owned(), known.into_iter().chain(of_mod).collect())
    };
    files.iter().map(imports).collect()
}

/// Whether a way of imports comes to where it began; then it is that way.
fn leads_back(imports: &BTreeMap<String, BTreeSet<String>>, way: &mut Vec<String>) -> bool {
    let next = way.last().and_then(|last| imports.get(last));
    for name in next.into_iter().flatten() {
        if *name == way[0] {
            return true;
        }
        // A circle that does not come by the start is found from its own start.
        if !way.contains(name) {
            way.push(name.clone());
            if leads_back(imports, way) {
                return true;
            }
            way.pop();
        }
    }
    false
}

#[test]
fn pure_files_name_nothing_impure() {
    let is_pure = |source: &&Source| PURE.iter().any(|prefix| source.name.starts_with(prefix));
    let pure: Vec<&Source> = SOURCES.iter().filter(is_pure).collect();
    assert!(pure.len() > 10, "the workflow has moved");
    let mut faults = Vec::new();
    for source in pure {
        for (n, line) in source.bare.lines().enumerate() {
            for word in impure_words(line) {
                faults.push(format!("src/{}:{}: {word}", source.name, n + 1));
            }
        }
    }
    assert!(faults.is_empty(), "pure code names: {faults:#?}");
}

fn impure_words(line: &str) -> impl Iterator<Item = &str> {
    let starts = line
        .match_indices(|c: char| c.is_alphanumeric() || c == '_')
        .map(|(at, _)| at);
    let starts = starts.filter(|at| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    let word = |at: usize| {
        let rest = &line[at..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        (&line[..at], &rest[..end])
    };
    // `now` as a value is handed in, `::now` reads a clock; `'static` is a lifetime, `static` a memory.
    let is_meant = |(before, word): &(&str, &str)| match *word {
        "now" => before.ends_with("::"),
        "static" => !before.ends_with('\''),
        word => IMPURE.contains(&word),
    };
    starts.map(word).filter(is_meant).map(|(_, word)| word)
}

#[test]
fn files_are_short() {
    let long = SOURCES.iter().filter(|source| source.lines > LINES_MAX);
    let long: BTreeMap<&str, usize> = long.map(|source| (source.name.as_str(), source.lines)).collect();
    let known: BTreeSet<&str> = LONGER.iter().map(|(name, _)| *name).collect();
    let names: BTreeSet<&str> = long.keys().copied().collect();
    assert_eq!(names, known, "files of more than {LINES_MAX} lines: {long:#?}");
}

#[test]
fn functions_are_short() {
    let mut lengths: Vec<(usize, String)> = SOURCES.iter().flat_map(functions).collect();
    lengths.sort();
    assert!(lengths.len() > 500, "the functions were not found");
    let at = |percent: usize| lengths[(lengths.len() * percent / 100).min(lengths.len() - 1)].0;
    let (median, p90) = (at(50), at(90));
    let longest: Vec<_> = lengths.iter().rev().take(5).collect();
    println!(
        "{} functions, median {median}, 90th percentile {p90}; the longest: {longest:?}",
        lengths.len()
    );
    assert!(
        median <= MEDIAN_MAX && p90 <= P90_MAX,
        "median {median}, 90th percentile {p90}"
    );
}
