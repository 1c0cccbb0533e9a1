//! `docs/sandbox.md`, the page for those who test against the sandbox, says what the sandbox does.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::super::control::BatchUpdate;
use super::super::table::{Pick, pick};
use super::*;

const PAGE: &str = include_str!("../../../docs/sandbox.md");

/// What stands between two marks, each time.
fn between<'a>(from: &'a str, to: &'a str) -> impl Iterator<Item = &'a str> {
    PAGE.split(from).skip(1).filter_map(move |rest| rest.split(to).next())
}

#[test]
fn each_file_on_the_page_is_read() {
    let files: Vec<&str> = between("```toml\n", "```").collect();
    assert_eq!(files.len(), 3, "the page has other files");
    for file in files {
        let read = SandboxConfig::from_toml(file);
        assert!(read.is_ok(), "{file}: {read:?}");
    }
}

#[test]
fn each_body_on_the_page_is_read() {
    fn is<T: DeserializeOwned>(body: &str) -> bool {
        serde_json::from_str::<T>(body).is_ok()
    }
    let bodies: Vec<&str> = between("-d '", "'").collect();
    assert_eq!(bodies.len(), 4, "the page has other bodies");
    for body in bodies {
        let is_read =
            is::<ScriptedConnection>(body) || is::<ScriptedUser>(body) || is::<Fault>(body) || is::<BatchUpdate>(body);
        assert!(is_read, "{body}");
    }
}

#[test]
fn the_page_has_each_id_that_picks_a_behaviour() {
    let rows = between("\n| ", " |").filter_map(|cell| cell.parse().ok());
    let documented: BTreeSet<i64> = rows.collect();
    let config = SandboxConfig::default();
    let picked = (1..20_000).filter(|id| pick(&config, *id) != Pick::Default);
    assert_eq!(documented, picked.collect());
}
