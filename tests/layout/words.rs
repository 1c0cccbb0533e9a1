//! One thing has one word: the words in bold in `docs/reference/words.md` are found nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/reference/words.md";

/// Where the words may not be.
const SEARCHED: [&str; 16] = [
    "src",
    "proto",
    "docs",
    "deploy",
    "examples",
    "tests",
    "benches",
    "scripts",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "asyncapi.yaml",
    "buf.yaml",
    "docker-compose.yml",
    "Cargo.toml",
];

/// What is not ours, or is made from what is searched.
const NOT_SEARCHED: [&str; 5] = ["node_modules", ".venv", "gen", "package-lock.json", PAGE];

/// Honest uses: the file, the word, how often at most, and why. One that is not there any more has to leave this list.
const EXCEPTIONS: [(&str, &str, usize, &str); 0] = [];

#[test]
fn one_thing_has_one_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let words = forbidden(&fs::read_to_string(root.join(PAGE)).expect("the page"));
    assert!(words.len() > 20, "the table of words was not found: {words:?}");
    let mut files = Vec::new();
    for place in SEARCHED {
        walk(&root.join(place), &mut files);
    }
    assert!(files.len() > 300, "the files were not found");
    let mut found: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for path in &files {
        // What is not text is made from what is.
        let Ok(text) = fs::read_to_string(path) else { continue };
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy();
        for (word, line) in find(&text, &words) {
            found.entry((name.to_string(), word)).or_default().push(line);
        }
    }
    for (file, word, most, why) in EXCEPTIONS {
        let lines = found.remove(&(file.to_owned(), word.to_owned()));
        let count = lines.map_or(0, |lines| lines.len());
        println!("{file} has {word:?} {count} times, at most {most}: {why}");
        assert!(
            (1..=most).contains(&count),
            "{file} has {word:?} {count} times: correct the exception ({why})"
        );
    }
    println!("{} words, {} files", words.len(), files.len());
    assert!(
        found.is_empty(),
        "{PAGE} has other words for these (file, word, lines): {found:#?}"
    );
}

/// The words in bold of the table's last column, each as a row of words in small letters.
fn forbidden(page: &str) -> Vec<Vec<String>> {
    let table = page.split("| thing | word | not |").nth(1).unwrap_or_default();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next());
    let bold = cells.flat_map(|cell| cell.split("**").skip(1).step_by(2));
    let mut words: Vec<Vec<String>> = bold.map(|words| split(words).map(|(word, _)| word).collect()).collect();
    words.sort();
    words.dedup();
    words
}

/// Where words are, with the line on which each begins.
fn find(text: &str, words: &[Vec<String>]) -> Vec<(String, usize)> {
    let tokens: Vec<(String, usize)> = split(text).collect();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        for sought in words {
            let here = tokens[at..].iter().map(|(word, _)| word);
            if here.take(sought.len()).eq(sought) {
                found.push((sought.join(" "), tokens[at].1));
            }
        }
    }
    found
}

/// Every word in small letters with its line, also those within names such as `next_poll` and `PollPlanner`.
fn split(text: &str) -> impl Iterator<Item = (String, usize)> {
    let numbered = (1..).zip(text.lines());
    numbered.flat_map(|(number, line)| split_line(line).into_iter().map(move |word| (word, number)))
}

fn split_line(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before_is_small = false;
    for c in line.chars() {
        let begins = !c.is_alphabetic() || (before_is_small && c.is_uppercase());
        if begins && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
        before_is_small = c.is_lowercase();
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if NOT_SEARCHED
        .iter()
        .any(|skipped| *skipped == name || path.ends_with(skipped))
    {
        return;
    }
    if path.is_file() {
        found.push(path.to_owned());
        return;
    }
    for entry in fs::read_dir(path).expect("a folder") {
        walk(&entry.expect("an entry").path(), found);
    }
}

#[test]
fn words_are_found_within_names_and_across_lines() {
    let words = forbidden("| thing | word | not |\n| --- | --- | --- |\n| a | b | **zot**, **in zot**, c |\n");
    let found = |text: &str| find(text, &words).len();
    assert_eq!(words.len(), 2);
    for text in ["Zot", "a_zot_b", "Some::Zot", "ZOT_MAX", "aZot"] {
        assert_eq!(found(text), 1, "{text}");
    }
    for text in ["in_zot", "what is in\n/// zot", "InZot"] {
        assert_eq!(found(text), 2, "{text}: the one word, and both");
    }
    for text in ["zots", "azotic", "zo_t", "c"] {
        assert_eq!(found(text), 0, "{text}");
    }
}
