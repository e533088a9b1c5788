//! Rules about the text of source files.

use super::Finding;

/// Names that say nothing about what is inside.
const FORBIDDEN_NAMES: [&str; 8] =
    ["utils.rs", "util.rs", "helpers.rs", "helper.rs", "common.rs", "misc.rs", "v2.rs", "stuff.rs"];

/// Words in code, split so that this file does not hold them.
const FORBIDDEN_CODE: [(&str, &str); 4] = [
    (concat!("todo", "!("), "write it, or leave it out"),
    (concat!("unimplemented", "!("), "write it, or leave it out"),
    (concat!("allow(", "dead_code)"), "remove what is not used"),
    (concat!("dbg", "!("), "remove traces of debugging"),
];

/// Words in comments, split likewise.
const FORBIDDEN_NOTES: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

const MAX_LINES: usize = 800;
const MAX_INLINE_TESTS: usize = 100;
/// What the module doc of a longer file has to say.
const LENGTH_REASON: &str = "This file is long because";

/// Checks one file; `place` is its path within the workspace.
pub(super) fn check(place: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = place.rsplit('/').next().unwrap_or(place);
    if FORBIDDEN_NAMES.contains(&name) {
        findings.push(Finding::new(place, 0, "name the file after what it decides"));
    }

    let is_test = name == "tests.rs" || place.contains("/tests/");
    let doc: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let lines = text.lines().count();
    if lines > MAX_LINES && !is_test && !doc.iter().any(|line| line.contains(LENGTH_REASON)) {
        let problem = format!(
            "{lines} lines: split it by decision, or say in the module doc \"{LENGTH_REASON} ...\""
        );
        findings.push(Finding::new(place, 0, problem));
    }
    if doc.is_empty() && !is_test {
        findings.push(Finding::new(place, 1, "begin with a module doc that says what it is for"));
    }
    if let Some(start) = inline_tests(text) {
        let length = lines - start;
        if length > MAX_INLINE_TESTS {
            let problem = format!("{length} lines of tests: move them to tests.rs");
            findings.push(Finding::new(place, start, problem));
        }
    }

    for (at, line) in text.lines().enumerate() {
        for (word, advice) in FORBIDDEN_CODE {
            if line.contains(word) {
                findings.push(Finding::new(place, at + 1, format!("{word}: {advice}")));
            }
        }
        let Some(comment) = line.find("//").map(|start| &line[start..]) else {
            continue;
        };
        for word in FORBIDDEN_NOTES {
            let is_word = |part: &str| part == word;
            if comment.split(|c: char| !c.is_alphanumeric()).any(is_word) {
                let problem = format!("{word}: open an issue instead");
                findings.push(Finding::new(place, at + 1, problem));
            }
        }
    }
    findings
}

/// First line of a test module within the file.
fn inline_tests(text: &str) -> Option<usize> {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let next = lines.peek().map(|(_, next)| next.trim()).unwrap_or_default();
        if line.trim() == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
            return Some(at + 1);
        }
    }
    None
}
