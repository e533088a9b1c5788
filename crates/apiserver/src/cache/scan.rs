//! One pass over an object's JSON that finds the few places that matter.
//!
//! The input is JSON that this server wrote: compact, well-formed, no duplicate members. Anything
//! else gives `None`, never a wrong answer.

use std::ops::Range;

/// Places to look for, as a tree of member names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Paths {
    children: Vec<(String, Paths)>,
    leaf: Option<usize>,
    count: usize,
}

impl Paths {
    /// Adds a dotted path; results for it are at the index that is returned.
    pub(super) fn add(&mut self, path: &str) -> usize {
        let next = self.count;
        let mut node = &mut *self;
        for step in path.split('.') {
            let at = match node.children.iter().position(|(name, _)| name == step) {
                Some(at) => at,
                None => {
                    node.children.push((step.to_owned(), Paths::default()));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[at].1;
        }
        // Two fields may be read from one place.
        let index = *node.leaf.get_or_insert(next);
        self.count = self.count.max(index + 1);
        index
    }

    fn child(&self, name: &[u8]) -> Option<&Paths> {
        self.children.iter().find(|(child, _)| child.as_bytes() == name).map(|(_, node)| node)
    }
}

/// A label's key and value, by their places in the text, quotes excluded.
pub(super) type LabelSpan = (Range<u32>, Range<u32>);

/// What was found. All ranges are byte offsets.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Just behind the first brace, `kind` and `apiVersion`, if these come first.
    pub(super) after_type: usize,
    /// Where a `resourceVersion` member belongs in `metadata`, and whether a member follows it
    /// and one precedes it.
    pub(super) version_at: usize,
    pub(super) member_follows: bool,
    pub(super) member_precedes: bool,
    /// Labels without escapes in them, which is all that are valid.
    pub(super) labels: Vec<LabelSpan>,
    /// The raw values of the wanted paths.
    pub(super) values: Vec<Option<Range<usize>>>,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Looks through an object; `None` when it is not JSON as described above.
pub(super) fn scan(json: &[u8], paths: &Paths) -> Option<Found> {
    let mut found = Found { values: vec![None; paths.count], ..Found::default() };
    let mut scanner = Scanner { bytes: json, at: 0 };
    let mut metadata = None;
    let mut only_type_so_far = true;
    scanner.members(|scanner, key| {
        let start = scanner.at;
        if key == b"metadata" {
            metadata = Some(start);
        }
        match paths.child(key) {
            Some(node) => scanner.collect(node, &mut found.values)?,
            None => scanner.skip()?,
        }
        only_type_so_far &= key == b"kind" || key == b"apiVersion";
        if only_type_so_far && scanner.peek() == Some(b',') {
            found.after_type = scanner.at + 1;
        }
        Some(())
    })?;
    if scanner.at != json.len() {
        return None;
    }
    scanner.at = metadata?;
    scanner.metadata(&mut found)?;
    Some(found)
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The inside of a string, escapes untouched.
    fn string(&mut self) -> Option<Range<usize>> {
        self.eat(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(start..self.at - 1);
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    /// Calls `each` at the value of every member of an object; it must move behind the value.
    fn members(&mut self, mut each: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.eat(b':')?;
            each(self, &self.bytes[key])?;
            if self.eat(b'}').is_some() {
                return Some(());
            }
            self.eat(b',')?;
        }
    }

    /// Moves behind the value here. Brackets are only counted, strings are respected.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => {
                    if depth == 0 {
                        return None;
                    }
                    self.at += 1;
                    continue;
                }
                _ => {
                    while self.peek().is_some_and(|b| !matches!(b, b',' | b'}' | b']')) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn collect(&mut self, node: &Paths, values: &mut [Option<Range<usize>>]) -> Option<()> {
        let start = self.at;
        if node.children.is_empty() || self.peek()? != b'{' {
            self.skip()?;
        } else {
            self.members(|scanner, key| match node.child(key) {
                Some(child) => scanner.collect(child, values),
                None => scanner.skip(),
            })?;
        }
        if let Some(leaf) = node.leaf {
            values[leaf] = Some(start..self.at);
        }
        Some(())
    }

    fn metadata(&mut self, found: &mut Found) -> Option<()> {
        const BEFORE: [&[u8]; 5] = [b"name", b"generateName", b"namespace", b"selfLink", b"uid"];
        found.version_at = self.at + 1;
        let mut placed = false;
        self.members(|scanner, key| {
            if !placed && !BEFORE.contains(&key) {
                placed = true;
                // Back to the quote in front of the key.
                found.version_at = scanner.at - key.len() - 3;
                found.member_follows = true;
            } else if !placed {
                found.member_precedes = true;
            }
            if key == b"labels" && scanner.peek()? == b'{' {
                scanner.labels(&mut found.labels)?;
            } else {
                scanner.skip()?;
            }
            if !placed {
                found.version_at = scanner.at;
            }
            Some(())
        })
    }

    fn labels(&mut self, labels: &mut Vec<LabelSpan>) -> Option<()> {
        let base = self.bytes.as_ptr() as usize;
        self.members(|scanner, key| {
            let key_start = key.as_ptr() as usize - base;
            let value = scanner.string()?;
            let span = |range: Range<usize>| {
                Some(u32::try_from(range.start).ok()?..u32::try_from(range.end).ok()?)
            };
            let plain = !scanner.bytes[value.clone()].contains(&b'\\') && !key.contains(&b'\\');
            if plain {
                labels.push((span(key_start..key_start + key.len())?, span(value)?));
            }
            Some(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(json: &'a str, range: &Option<Range<usize>>) -> Option<&'a str> {
        range.clone().map(|range| &json[range])
    }

    #[test]
    fn finds_values_labels_and_places() {
        let json = concat!(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","labels":"#,
            r#"{"x":"1","y/z":"2"},"annotations":{"q":"\"}{,"}},"spec":{"nodeName":"n","c":[{"#,
            r#""nodeName":"no"},-1.5e3,true]},"status":{}}"#
        );
        let mut paths = Paths::default();
        for path in ["spec.nodeName", "status.phase", "spec.c"] {
            paths.add(path);
        }
        assert_eq!(paths.add("spec.nodeName"), 0, "asked for a second time");
        let found = scan(json.as_bytes(), &paths).unwrap();
        assert_eq!(text(json, &found.values[0]), Some(r#""n""#));
        assert_eq!(text(json, &found.values[1]), None);
        assert_eq!(text(json, &found.values[2]), Some(r#"[{"nodeName":"no"},-1.5e3,true]"#));
        let labels: Vec<_> = found
            .labels
            .iter()
            .map(|(k, v)| {
                let cut = |r: &Range<u32>| &json[r.start as usize..r.end as usize];
                (cut(k), cut(v))
            })
            .collect();
        assert_eq!(labels, [("x", "1"), ("y/z", "2")]);
        assert!(json[found.after_type..].starts_with(r#""metadata""#));
        assert!(json[found.version_at..].starts_with(r#""labels""#));
        assert!(found.member_precedes && found.member_follows);
    }

    #[test]
    fn places_the_version_at_the_edges() {
        let check = |json: &str, rest: &str, precedes, follows| {
            let found = scan(json.as_bytes(), &Paths::default()).unwrap();
            assert!(json[found.version_at..].starts_with(rest), "{json}");
            assert_eq!((found.member_precedes, found.member_follows), (precedes, follows));
        };
        check(r#"{"metadata":{}}"#, "}}", false, false);
        check(r#"{"metadata":{"name":"a"}}"#, "}}", true, false);
        check(r#"{"metadata":{"generation":1}}"#, r#""generation""#, false, true);
    }

    #[test]
    fn refuses_what_is_not_an_object() {
        for json in ["", "{", "[]", r#"{"metadata":1}"#, r#"{"metadata":{}} "#, r#"{"a":"#, "{}"] {
            assert_eq!(scan(json.as_bytes(), &Paths::default()), None, "{json}");
        }
    }
}
