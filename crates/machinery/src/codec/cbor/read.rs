//! From bytes to whatever wants the data, in one pass and without a tree in between.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Error, MAX_DEPTH, MAX_ELEMENTS};
use crate::hex;
use crate::time::{self, Timestamp};

/// The initial byte of an item with its argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Head {
    Positive(u64),
    /// -1 minus this.
    Negative(u64),
    /// No length means chunks up to a break; so for all that follow.
    Bytes(Option<u64>),
    Text(Option<u64>),
    Array(Option<u64>),
    Map(Option<u64>),
    Tag(u64),
    Simple(u8),
    Float(f64),
    Break,
}

impl Head {
    fn name(self) -> &'static str {
        match self {
            Head::Positive(_) => "positive integer",
            Head::Negative(_) => "negative integer",
            Head::Bytes(_) => "byte string",
            Head::Text(_) => "UTF-8 text string",
            Head::Array(_) => "array",
            Head::Map(_) => "map",
            Head::Tag(_) => "tag",
            Head::Simple(_) | Head::Float(_) | Head::Break => "primitives",
        }
    }
}

/// How the bytes of a byte string become text, if a tag says so (RFC 8949, 3.4.5.2).
#[derive(Debug, Clone, Copy)]
enum Later {
    Base64Url,
    Base64,
    Base16,
}

/// Reads items one after the other.
pub(in crate::codec) struct Reader<'de> {
    input: &'de [u8],
    at: usize,
    depth: usize,
    later: Option<Later>,
}

impl<'de> Reader<'de> {
    pub(super) fn new(input: &'de [u8]) -> Self {
        Self { input, at: 0, depth: 0, later: None }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        match self.input.len() - self.at {
            0 => Ok(()),
            left => Err(Error::Extraneous(left, self.at)),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'de [u8], Error> {
        let len = usize::try_from(len).map_err(|_| Error::Truncated)?;
        let rest = &self.input[self.at..];
        let taken = rest.get(..len).ok_or(Error::Truncated)?;
        self.at += len;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<u64, Error> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(super) fn head(&mut self) -> Result<Head, Error> {
        let initial = *self.input.get(self.at).ok_or(Error::Truncated)?;
        self.at += 1;
        let (major, info) = (initial >> 5, initial & 31);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24 => Some(self.number::<1>()?),
            25 => Some(self.number::<2>()?),
            26 => Some(self.number::<4>()?),
            27 => Some(self.number::<8>()?),
            31 => None,
            _ => return Err(Error::Initial(info, TYPES[usize::from(major)])),
        };
        Ok(match (major, argument) {
            (0, Some(number)) => Head::Positive(number),
            (1, Some(number)) => Head::Negative(number),
            (2, len) => Head::Bytes(len),
            (3, len) => Head::Text(len),
            (4, len) => Head::Array(len),
            (5, len) => Head::Map(len),
            (6, Some(tag)) => Head::Tag(tag),
            (7, None) => Head::Break,
            (7, Some(bits)) => match info {
                25 => Head::Float(from_half(bits as u16)),
                26 => Head::Float(f64::from(f32::from_bits(bits as u32))),
                27 => Head::Float(f64::from_bits(bits)),
                24 if bits < 32 => return Err(Error::Initial(info, "primitives")),
                _ => Head::Simple(bits as u8),
            },
            (_, _) => return Err(Error::Initial(info, TYPES[usize::from(major)])),
        })
    }

    /// Passes over one item of bytes that were written here.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        let mut pending = 1_u64;
        while pending > 0 {
            pending -= 1;
            match self.head()? {
                Head::Bytes(Some(len)) | Head::Text(Some(len)) => {
                    self.take(len)?;
                }
                Head::Array(Some(len)) => pending = pending.saturating_add(len),
                Head::Map(Some(len)) => pending = pending.saturating_add(len.saturating_mul(2)),
                Head::Tag(_) => pending += 1,
                Head::Positive(_) | Head::Negative(_) | Head::Simple(_) | Head::Float(_) => {}
                Head::Bytes(None)
                | Head::Text(None)
                | Head::Array(None)
                | Head::Map(None)
                | Head::Break => return Err(Error::Break),
            }
        }
        Ok(())
    }

    /// The content of a string whose head has been read.
    pub(super) fn string(&mut self, head: Head) -> Result<Cow<'de, [u8]>, Error> {
        let (Head::Bytes(len) | Head::Text(len)) = head else {
            return Err(Error::Key(head.name()));
        };
        if let Some(len) = len {
            return self.take(len).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        loop {
            match (self.head()?, head) {
                (Head::Break, _) => return Ok(Cow::Owned(whole)),
                (Head::Bytes(Some(len)), Head::Bytes(_))
                | (Head::Text(Some(len)), Head::Text(_)) => {
                    whole.extend_from_slice(self.take(len)?);
                }
                (other, _) => return Err(Error::Chunk(other.name(), head.name())),
            }
        }
    }

    /// A text string, or a byte string as text.
    fn text(&mut self, head: Head) -> Result<Cow<'de, str>, Error> {
        let bytes = self.string(head)?;
        if matches!(head, Head::Text(_)) {
            return match bytes {
                Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
                Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
            }
            .ok_or(Error::Utf8);
        }
        Ok(match (self.later, bytes) {
            (Some(Later::Base64), bytes) => STANDARD.encode(bytes).into(),
            (Some(Later::Base64Url), bytes) => URL_SAFE_NO_PAD.encode(bytes).into(),
            (Some(Later::Base16), bytes) => hex::digits(bytes).into(),
            // As in JSON, what is not UTF-8 is replaced.
            (None, Cow::Borrowed(bytes)) => String::from_utf8_lossy(bytes),
            (None, Cow::Owned(bytes)) => String::from_utf8_lossy(&bytes).into_owned().into(),
        })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::Depth);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// What stands inside a tag.
    fn tagged<V: Visitor<'de>>(&mut self, tag: u64, visitor: V) -> Result<V::Value, Error> {
        let before = self.later;
        match tag {
            0 => {
                let head = self.head()?;
                let text = match head {
                    Head::Text(_) | Head::Bytes(_) => self.text(head)?,
                    other => return Err(Error::Time(other.name().to_owned())),
                };
                let at = time::parse(&text).ok_or_else(|| Error::Time(text.into_owned()))?;
                return visitor.visit_string(at.to_string());
            }
            1 => {
                let at = match self.head()? {
                    Head::Positive(n) => i64::try_from(n).ok().and_then(seconds),
                    Head::Negative(n) => i64::try_from(n).ok().and_then(|n| seconds(-1 - n)),
                    Head::Float(float) => nanoseconds(float),
                    other => return Err(Error::Time(other.name().to_owned())),
                };
                let at = at.ok_or_else(|| Error::Time("out of range".to_owned()))?;
                return visitor.visit_string(at.to_string());
            }
            2 | 3 => return Err(Error::Unacceptable("tag", "bignum".to_owned())),
            21 => self.later = Some(Later::Base64Url),
            22 => self.later = Some(Later::Base64),
            23 => self.later = Some(Later::Base16),
            _ => {}
        }
        let value = self.deeper(|reader| reader.value(visitor));
        self.later = before;
        value
    }

    fn value<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let head = self.head()?;
        match head {
            Head::Positive(number) => match i64::try_from(number) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => Err(Error::Overflow(head.name(), i128::from(number))),
            },
            Head::Negative(number) => match i64::try_from(number) {
                Ok(number) => visitor.visit_i64(-1 - number),
                Err(_) => Err(Error::Overflow(head.name(), -1 - i128::from(number))),
            },
            Head::Float(float) if !float.is_finite() => {
                let what =
                    if float.is_nan() { "floating-point NaN" } else { "floating-point infinity" };
                Err(Error::Unacceptable("primitives", what.to_owned()))
            }
            Head::Float(float) => visitor.visit_f64(float),
            Head::Bytes(_) | Head::Text(_) => match self.text(head)? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Head::Array(len) => self.deeper(|reader| {
                let mut items = Items { reader, left: len, count: 0 };
                if len.is_some_and(|len| len > MAX_ELEMENTS) {
                    return Err(Error::Elements);
                }
                let value = visitor.visit_seq(&mut items)?;
                items.finish()?;
                Ok(value)
            }),
            Head::Map(len) => self.deeper(|reader| {
                if len.is_some_and(|len| len > MAX_ELEMENTS) {
                    return Err(Error::Pairs);
                }
                let mut pairs = Pairs { reader, left: len, count: 0, seen: Seen::default() };
                let value = visitor.visit_map(&mut pairs)?;
                pairs.finish()?;
                Ok(value)
            }),
            Head::Tag(tag) => self.tagged(tag, visitor),
            Head::Simple(20) => visitor.visit_bool(false),
            Head::Simple(21) => visitor.visit_bool(true),
            Head::Simple(22) => visitor.visit_unit(),
            Head::Simple(value) => {
                let what = format!("simple value {value} is not recognized");
                Err(Error::Unacceptable("primitives", what))
            }
            Head::Break => Err(Error::Break),
        }
    }
}

const TYPES: [&str; 8] = [
    "positive integer",
    "negative integer",
    "byte string",
    "UTF-8 text string",
    "array",
    "map",
    "tag",
    "primitives",
];

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.input.is_empty() {
            return Err(Error::Empty);
        }
        self.value(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.input.get(self.at) == Some(&0xf6) {
            self.at += 1;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// Counts an element of an array or map; whether there is one more.
fn advance(
    reader: &mut Reader<'_>,
    left: &mut Option<u64>,
    count: &mut u64,
    too_many: Error,
) -> Result<bool, Error> {
    match left {
        Some(0) => return Ok(false),
        Some(left) => *left -= 1,
        None if reader.input.get(reader.at) == Some(&0xff) => {
            reader.at += 1;
            *left = Some(0);
            return Ok(false);
        }
        None if *count == MAX_ELEMENTS => return Err(too_many),
        None => {}
    }
    *count += 1;
    Ok(true)
}

struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: Option<u64>,
    count: u64,
}

impl Items<'_, '_> {
    /// A reader that has had enough leaves the rest behind.
    fn finish(&mut self) -> Result<(), Error> {
        while self.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !advance(self.reader, &mut self.left, &mut self.count, Error::Elements)? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left.and_then(|left| usize::try_from(left).ok())
    }
}

struct Pairs<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: Option<u64>,
    count: u64,
    seen: Seen<'de>,
}

impl Pairs<'_, '_> {
    fn finish(&mut self) -> Result<(), Error> {
        while self.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> MapAccess<'de> for Pairs<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !advance(self.reader, &mut self.left, &mut self.count, Error::Pairs)? {
            return Ok(None);
        }
        let mut head = self.reader.head()?;
        while let Head::Tag(_) = head {
            head = self.reader.head()?;
        }
        let key = self.reader.text(head)?;
        if !self.seen.insert(key.clone()) {
            let index = usize::try_from(self.count - 1).unwrap_or(usize::MAX);
            return Err(Error::Duplicate(key.into_owned(), index));
        }
        seed.deserialize(CowStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }
}

/// The keys of a map so far. Deterministic encoders write them in order, so that usually a look at
/// the last one will do.
#[derive(Default)]
struct Seen<'de> {
    ordered: Vec<Cow<'de, str>>,
    others: Option<HashSet<Cow<'de, str>>>,
}

impl<'de> Seen<'de> {
    /// Whether the key is new.
    fn insert(&mut self, key: Cow<'de, str>) -> bool {
        if let Some(others) = &mut self.others {
            return others.insert(key);
        }
        let last = self.ordered.last();
        if last.is_none_or(|last| (last.len(), &**last) < (key.len(), &*key)) {
            self.ordered.push(key);
            return true;
        }
        let mut others: HashSet<_> = self.ordered.drain(..).collect();
        let is_new = others.insert(key);
        self.others = Some(others);
        is_new
    }
}

fn seconds(seconds: i64) -> Option<Timestamp> {
    Timestamp::new(seconds, 0).ok()
}

fn nanoseconds(float: f64) -> Option<Timestamp> {
    if !float.is_finite() || float.abs() > 1e12 {
        return None;
    }
    Timestamp::from_nanosecond((float * 1e9) as i128).ok()
}

/// A float of 16 bits.
fn from_half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2_f64.powi(exponent - 25),
    }
}
