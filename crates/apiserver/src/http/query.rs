//! URL queries, decoded only where needed.

use std::borrow::Cow;

/// The parameters of a request in their order. Repeated names are kept.
#[derive(Clone, Debug, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Splits a raw query.
    #[must_use]
    pub fn parse(raw: &'a str) -> Self {
        if raw.is_empty() {
            return Self::default();
        }
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| Cow::Borrowed(&**v))
    }

    /// The first value of `name` when it is not empty.
    #[must_use]
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| &**v).filter(|v| !v.is_empty())
    }

    /// All values of `name`.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| &**v)
    }

    /// Whether `name` is set and true by upstream's rule: present and neither `0` nor `false`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    /// As [`flag`](Self::flag), `None` when absent.
    #[must_use]
    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        Some(value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// All pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Percent-decodes `text`; in a query `+` means a blank. Malformed escapes stay as they are.
#[must_use]
pub fn decode(text: &str, plus: bool) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|b| *b == b'%' || (plus && *b == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits"));
                at += 3;
            }
            (b'+', ..) if plus => {
                out.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Percent-encodes everything but unreserved characters, for building query strings.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(digit), 16).expect("four bits");
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("a=b%20c+d&flag&no=false&a=2&bad=%zz");
        assert_eq!(query.get("a").unwrap(), "b c d");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["b c d", "2"]);
        assert!(query.flag("flag"));
        assert!(!query.flag("no"));
        assert_eq!(query.optional_flag("none"), None);
        assert_eq!(query.get("bad").unwrap(), "%zz");
        assert_eq!(decode("/a%3Ab+c", false), "/a:b+c");
        assert_eq!(encode("a b/ü"), "a%20b%2F%C3%BC");
    }
}
