//! What a target begins with: the files of `corpus/<target>`, those of `corpus/odd`, and what is made.

use std::path::Path;

use bankrefresh::fuzzing::Target;

use crate::made;

/// Checkpoints that were once written.
const RECORDED: &str = include_str!("../../src/refresh/tests/recorded/v1.txt");

pub(crate) fn of(target: &Target) -> Vec<Vec<u8>> {
    let mut corpus = folder(target.name);
    corpus.extend(folder("odd"));
    corpus.extend(made::of(target));
    if ["checkpoint", "dead-letter"].contains(&target.name) {
        corpus.extend(RECORDED.lines().map(recorded));
    }
    corpus.retain(|bytes| bytes.len() <= target.bytes_max);
    corpus
}

fn folder(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// The second field of a line is what was written, in hexadecimal.
fn recorded(line: &str) -> Vec<u8> {
    let bytes = line.split(" | ").nth(1).expect("name | bytes | how it is read");
    hex::decode(bytes).expect("hexadecimal")
}
