//! Which of the mutants in this build is on: see scripts/mutants.

#![allow(missing_docs, reason = "it is never part of the program")]

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::sync::LazyLock;

/// 0 is none.
static ON: LazyLock<u32> = LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0));

/// Where the mutants that each thread reaches are written down. The test runner names a test's thread by the test.
static REACHED: LazyLock<Option<File>> =
    LazyLock::new(|| Some(File::options().append(true).create(true).open(std::env::var_os("MUTANTS_REACHED")?).expect("a file")));

thread_local! {
    /// By number, whether this thread has reached it.
    static SEEN: RefCell<Vec<bool>> = RefCell::default();
}

/// Which one of `count` mutants is on, from the one called `first`. `count` or more: none of them.
pub fn at(first: u32, count: u32) -> u32 {
    if let Some(mut file) = REACHED.as_ref()
        && SEEN.try_with(|seen| is_new(&mut seen.borrow_mut(), first)).unwrap_or(true)
    {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let lines: String = (first..first + count).map(|number| format!("{name}\t{number}\n")).collect();
        file.write_all(lines.as_bytes()).expect("written");
    }
    ON.wrapping_sub(first)
}

fn is_new(seen: &mut Vec<bool>, number: u32) -> bool {
    let at = number as usize;
    if seen.len() <= at {
        seen.resize(at + 1, false);
    }
    !std::mem::replace(&mut seen[at], true)
}

pub fn is(number: u32) -> bool {
    at(number, 1) == 0
}
