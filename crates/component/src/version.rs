//! The release that this program is.
//!
//! It stands in the program as a marked text of fixed length, so that a test of upgrades gets
//! another release by changing a copy of the program, without building it again.

use std::hint::black_box;

/// What the text begins with in the program.
const MARK: &[u8] = b"ironclad-release:";
/// Bytes of mark, release and the zeros after it.
const LENGTH: usize = 48;

static RELEASE: [u8; LENGTH] = marked(b"ironclad-release:v1.36.0");

const fn marked(text: &[u8]) -> [u8; LENGTH] {
    let mut all = [0; LENGTH];
    let mut at = 0;
    while at < text.len() {
        all[at] = text[at];
        at += 1;
    }
    all
}

/// The release, as `v1.36.0`: of the Kubernetes API and behaviour that it follows.
#[must_use]
pub fn release() -> &'static str {
    // Not known to the compiler, which would put copies of it elsewhere.
    let all: &'static [u8] = black_box(&RELEASE);
    let text = all.get(MARK.len()..).unwrap_or_default();
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    str::from_utf8(&text[..end]).unwrap_or_default()
}

/// Major and minor version of a release, as texts.
#[must_use]
pub fn minor(release: &str) -> (&str, &str) {
    let mut parts = release.trim_start_matches('v').split('.');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_that_of_the_api() {
        assert!(RELEASE.starts_with(MARK));
        assert_eq!(minor(release()), ("1", "36"));
        assert_eq!(minor(""), ("", ""));
    }
}
