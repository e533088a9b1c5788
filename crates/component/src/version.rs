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

/// A copy of a program, given as its bytes, that is another release; nothing unless the text that says
/// so is in it just once, and the release fits.
#[must_use]
pub fn relabelled(mut program: Vec<u8>, release: &str) -> Option<Vec<u8>> {
    // The mark alone stands in the program once more, where it is looked for.
    let is_release = |at: &usize| program[at + MARK.len()..].starts_with(b"v1.");
    let found: Vec<_> = memmem(&program, MARK).filter(is_release).collect();
    let &[at] = found.as_slice() else { return None };
    let text = at + MARK.len()..at + LENGTH;
    if release.len() >= text.len() {
        return None;
    }
    let place = program.get_mut(text)?;
    place.fill(0);
    place[..release.len()].copy_from_slice(release.as_bytes());
    Some(program)
}

/// Where `part` begins in `all`.
fn memmem<'a>(all: &'a [u8], part: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    all.windows(part.len()).enumerate().filter(move |(_, window)| *window == part).map(|(at, _)| at)
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

    #[test]
    fn a_program_gets_another_release() {
        let program = [b"ELF ironclad-release:, ".as_slice(), &RELEASE, b"more"].concat();
        let changed = relabelled(program.clone(), "v1.37.12").unwrap();
        assert_eq!(changed.len(), program.len());
        let text = String::from_utf8(changed).unwrap();
        assert!(text.contains(":v1.37.12\0") && !text.contains("v1.36"), "{text}");
        assert_eq!(relabelled([&program[..], &program].concat(), "v1.37.0"), None);
        assert_eq!(relabelled(program, &"v".repeat(LENGTH)), None);
        assert_eq!(relabelled(b"ELF".to_vec(), "v1.37.0"), None);
    }
}
