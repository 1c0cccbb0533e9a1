//! The text of `src/`, without the tests in it, and what can be read from that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A file of `src/`, without the tests in it.
pub(crate) struct Source {
    /// Below `src/`.
    pub(crate) name: String,
    /// Its code. Comments are blanks.
    pub(crate) code: String,
    /// Also without what is in quotes.
    pub(crate) bare: String,
    /// How many lines it has, comments in.
    pub(crate) lines: usize,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file");
        let name = path
            .strip_prefix(root)
            .expect("below src")
            .to_string_lossy()
            .into_owned();
        let (code, bare) = blank(&text);
        let tests = tests_in(&bare);
        let without = |text: &str| -> String {
            let line = |(n, line): (usize, &str)| {
                if tests.contains(&n) {
                    String::new()
                } else {
                    line.to_owned()
                }
            };
            text.lines().enumerate().map(line).collect::<Vec<_>>().join("\n")
        };
        Self {
            name,
            code: without(&code),
            bare: without(&bare),
            lines: text.lines().count() - tests.len(),
        }
    }

    /// The top-level module it belongs to.
    pub(crate) fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The top-level modules that it names, by `crate::`, or from the top level by `super::`.
    pub(crate) fn imports(&self) -> BTreeSet<String> {
        assert!(
            !self.code.contains("super::super::"),
            "{}: name it by crate::",
            self.name
        );
        let mut names = names_after(&self.code, "crate::");
        let own = self.module();
        if self.name == format!("{own}.rs") || self.name == format!("{own}/mod.rs") {
            names.extend(names_after(&self.code, "super::"));
        }
        names
    }
}

/// Every file but the tests.
pub(crate) static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths.iter().map(|path| Source::read(&root, path)).collect()
});

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().unwrap_or_default();
        if stem == "tests" {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text with its comments as blanks; and also with what is in quotes as blanks. Every line stays where it is.
fn blank(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut bare) = (String::new(), String::new());
    let mut at = 0;
    while at < chars.len() {
        let (end, kind) = token(&chars, at);
        for c in &chars[at..end] {
            let empty = if *c == '\n' { '\n' } else { ' ' };
            code.push(if kind == Kind::Comment { empty } else { *c });
            bare.push(if kind == Kind::Code { *c } else { empty });
        }
        at = end;
    }
    (code, bare)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Quoted,
}

/// Where the comment, the quoted text or the one character of code that begins here ends.
fn token(chars: &[char], at: usize) -> (usize, Kind) {
    let rest = &chars[at..];
    if !['/', 'r', '"', '\''].contains(&rest[0]) {
        return (at + 1, Kind::Code);
    }
    let starts = |text: &str| text.chars().eq(rest.iter().copied().take(text.chars().count()));
    if starts("//") {
        let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
        return (at + length, Kind::Comment);
    }
    if starts("r\"") || starts("r#") && rest.iter().find(|c| **c != 'r' && **c != '#') == Some(&'"') {
        let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
        let close: String = std::iter::once('"').chain("#".repeat(hashes).chars()).collect();
        let body: String = rest[hashes + 2..].iter().collect();
        let end = body
            .find(&close)
            .map_or(body.len(), |end| body[..end].chars().count() + close.len());
        return (at + hashes + 2 + end, Kind::Quoted);
    }
    if starts("\"") {
        return (at + 1 + quoted(&rest[1..], '"'), Kind::Quoted);
    }
    // A lifetime has no second quote after its first letter.
    if starts("'") && (rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'')) {
        return (at + 1 + quoted(&rest[1..], '\''), Kind::Quoted);
    }
    (at + 1, Kind::Code)
}

/// How long it is to the closing quote, that included.
fn quoted(rest: &[char], close: char) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != close {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The lines of `#[cfg(test)]` and of what it is for.
fn tests_in(bare: &str) -> BTreeSet<usize> {
    let lines: Vec<&str> = bare.lines().collect();
    let mut tests = BTreeSet::new();
    for (start, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.trim() == "#[cfg(test)]")
    {
        tests.extend(start..=end_of_item(&lines, start + 1));
    }
    tests
}

/// The line on which an item ends: that of its closing brace, or of its semicolon.
fn end_of_item(lines: &[&str], start: usize) -> usize {
    let mut depth = 0;
    for (n, line) in lines.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' if depth == 1 => return n,
                '}' | ')' | ']' => depth -= 1,
                ';' if depth == 0 => return n,
                _ => {}
            }
        }
    }
    lines.len() - 1
}

/// Every name that stands right after a prefix such as `crate::`, also within braces.
pub(crate) fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        // Part of a longer path or name.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => names.extend(first_names(list)),
            None => names.extend([name(rest)]),
        }
    }
    names.remove("");
    names
}

/// The first name of each path in a list that ends with a brace.
fn first_names(list: &str) -> BTreeSet<String> {
    let (mut names, mut depth, mut fresh) = (BTreeSet::new(), 0, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if c.is_whitespace() => {}
            _ if fresh => {
                names.insert(name(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The functions with a body, and how many lines each has.
pub(crate) fn functions(source: &Source) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.bare.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else {
            continue;
        };
        let is_declared = before.split_whitespace().all(|word| {
            word.starts_with("pub")
                || ["async", "const", "unsafe", "in", "extern"].contains(&word)
                || word.ends_with(')')
        });
        let name = name(after);
        let end = end_of_item(&lines, start);
        let has_body = lines[end].contains('}');
        if is_declared && !name.is_empty() && has_body {
            found.push((end - start + 1, format!("{}: {name}", source.name)));
        }
    }
    found
}
