//! The pages for people: every link leads somewhere, and a line is as wide as a terminal shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the pages are.
const PAGES: [&str; 6] = [
    "docs",
    "examples",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

/// The most columns of a line that is prose. Rows of tables, code and lines that are one link may be wider.
const COLUMNS_MAX: usize = 110;

/// Others' pages, which an installation brings.
const NOT_OURS: [&str; 2] = ["node_modules", ".venv"];

struct Page {
    /// Below the root.
    name: String,
    /// Its lines outside of blocks of code, with their numbers.
    prose: Vec<(usize, String)>,
}

impl Page {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a page");
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy();
        Self {
            name: name.into_owned(),
            prose: prose(&text),
        }
    }

    /// What can follow `#` in a link to this page.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose.iter().filter(|(_, line)| line.starts_with('#'));
        let mut anchors = BTreeSet::new();
        for (_, line) in headings {
            let anchor = anchor(line.trim_start_matches('#').trim());
            // A second heading with the same words gets a number.
            let numbered = (1..).map(|n| format!("{anchor}-{n}"));
            let mut free = std::iter::once(anchor.clone()).chain(numbered);
            anchors.extend(free.find(|anchor| !anchors.contains(anchor)));
        }
        anchors
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = pages(root);
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.name.as_str(), page.anchors())).collect();
    let (mut faults, mut count) = (Vec::new(), 0);
    for page in &pages {
        let folder = Path::new(&page.name).parent().unwrap_or(Path::new(""));
        for (line, link) in page
            .prose
            .iter()
            .flat_map(|(n, line)| links(line).map(move |link| (n, link)))
        {
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.name.clone(),
                path => below(folder, path),
            };
            let is_there = root.join(&target).exists();
            let has_anchor = anchor.is_empty() || anchors.get(target.as_str()).is_some_and(|all| all.contains(anchor));
            if !is_there || !has_anchor {
                faults.push(format!("{}:{line}: {link}", page.name));
            }
        }
    }
    println!("{count} links on {} pages", pages.len());
    assert!(count > 50, "the links were not found");
    assert!(faults.is_empty(), "links that lead nowhere: {faults:#?}");
}

#[test]
fn lines_of_prose_are_not_too_wide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wide: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for page in pages(root) {
        let lines = page.prose.iter().filter(|(_, line)| is_too_wide(line)).map(|(n, _)| *n);
        let lines: Vec<usize> = lines.collect();
        if !lines.is_empty() {
            wide.insert(page.name, lines);
        }
    }
    assert!(
        wide.is_empty(),
        "lines of more than {COLUMNS_MAX} columns (page, lines): {wide:#?}"
    );
}

fn is_too_wide(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches("- ");
    let is_link = text.starts_with('[') && text.ends_with(')') && !text.contains(' ');
    line.chars().count() > COLUMNS_MAX && !text.starts_with('|') && !is_link
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut prose = Vec::new();
    for (n, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.push((n, line.to_owned()));
        }
    }
    prose
}

/// Where the links of a line go, without those to other sites.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let rests = line.match_indices("](").map(|(at, mark)| &line[at + mark.len()..]);
    let links = rests.filter_map(|rest| rest.split(')').next());
    links.filter(|link| !link.contains(':'))
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let shown = heading.to_lowercase();
    shown
        .chars()
        .filter(kept)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// A path that begins in a folder, without `..`.
fn below(folder: &Path, path: &str) -> String {
    let mut parts: Vec<&str> = folder.iter().filter_map(|part| part.to_str()).collect();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn pages(root: &Path) -> Vec<Page> {
    let mut paths = Vec::new();
    for place in PAGES {
        walk(&root.join(place), &mut paths);
    }
    paths.sort();
    assert!(paths.len() > 20, "the pages were not found");
    paths.iter().map(|path| Page::read(root, path)).collect()
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    if NOT_OURS.iter().any(|name| path.ends_with(name)) {
        return;
    }
    if path.is_file() {
        found.extend(
            path.extension()
                .is_some_and(|kind| kind == "md")
                .then(|| path.to_owned()),
        );
        return;
    }
    for entry in fs::read_dir(path).expect("a folder") {
        walk(&entry.expect("an entry").path(), found);
    }
}

#[test]
fn links_headings_and_widths_are_read_as_they_are_shown() {
    assert_eq!(anchor("What to do when …"), "what-to-do-when-");
    assert_eq!(anchor("`finapi.dialect`, and V2"), "finapidialect-and-v2");
    assert_eq!(below(Path::new("docs/operating"), "../finapi.md"), "docs/finapi.md");
    let line = "see [a](b.md#c), [d](https://e) and [f](../g.md)";
    assert_eq!(links(line).collect::<Vec<_>>(), ["b.md#c", "../g.md"]);
    assert_eq!(prose("a\n```sh\nb\n```\nc"), [(1, "a".to_owned()), (5, "c".to_owned())]);
    let wide = "x".repeat(COLUMNS_MAX + 1);
    assert!(is_too_wide(&wide) && !is_too_wide(&wide[1..]));
    assert!(!is_too_wide(&format!("| {wide} |")) && !is_too_wide(&format!("- [{wide}](a.md)")));
    let page = Page {
        name: String::new(),
        prose: prose("# A b\n## A b\n"),
    };
    assert_eq!(page.anchors(), BTreeSet::from(["a-b".to_owned(), "a-b-1".to_owned()]));
}
