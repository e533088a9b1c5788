//! Scalars with a text of their own: canonical form, and errors in Go's words.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, alphabet};

use crate::quantity::Quantity;
use crate::{duration, time};

/// As Go's standard encoding: padded, and lenient about the unused bits at the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

pub(super) fn bytes(text: &str) -> Result<String, String> {
    let cleaned;
    let mut source = text;
    if text.contains(['\r', '\n']) {
        cleaned = text.replace(['\r', '\n'], "");
        source = &cleaned;
    }
    match BASE64.decode(source) {
        Ok(bytes) => Ok(BASE64.encode(bytes)),
        Err(error) => {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
                    source.len() - source.len() % 4
                }
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}

pub(super) fn quantity(text: &str) -> Result<String, String> {
    match Quantity::parse(text.trim()) {
        Ok(quantity) => Ok(quantity.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn duration(text: &str) -> Result<String, String> {
    match duration::parse_nanos(text) {
        Ok(nanos) => Ok(duration::format_nanos(nanos)),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn time(text: &str) -> Result<String, String> {
    // Nearly every time is already canonical.
    let layout = Layout { text, name: "2006-01-02T15:04:05Z07:00", micros: false };
    layout.check()?;
    let instant = time::parse(text).ok_or_else(|| layout.out_of_range("day"))?;
    Ok(time::format(instant))
}

pub(super) fn micro_time(text: &str) -> Result<String, String> {
    let layout = Layout { text, name: "2006-01-02T15:04:05.000000Z07:00", micros: true };
    layout.check()?;
    let instant = time::parse(text).ok_or_else(|| layout.out_of_range("day"))?;
    Ok(time::format_micro(instant))
}

/// A time layout of Go's, to say where a text departs from it.
struct Layout<'t> {
    text: &'t str,
    name: &'static str,
    micros: bool,
}

impl Layout<'_> {
    fn check(&self) -> Result<(), String> {
        let mut rest = self.text;
        self.number(&mut rest, 4, "2006", 0..=9999, "year")?;
        self.literal(&mut rest, "-")?;
        self.number(&mut rest, 2, "01", 1..=12, "month")?;
        self.literal(&mut rest, "-")?;
        self.number(&mut rest, 2, "02", 1..=31, "day")?;
        self.literal(&mut rest, "T")?;
        self.number(&mut rest, 2, "15", 0..=23, "hour")?;
        self.literal(&mut rest, ":")?;
        self.number(&mut rest, 2, "04", 0..=59, "minute")?;
        self.literal(&mut rest, ":")?;
        self.number(&mut rest, 2, "05", 0..=59, "second")?;
        self.fraction(&mut rest)?;
        self.zone(rest)
    }

    fn fraction(&self, rest: &mut &str) -> Result<(), String> {
        let digits = rest
            .strip_prefix(['.', ','])
            .map_or(0, |r| r.len() - r.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        if self.micros && digits != 6 {
            return Err(self.cannot_parse(rest, ".000000"));
        }
        if digits > 0 {
            *rest = &rest[digits + 1..];
        }
        Ok(())
    }

    fn zone(&self, rest: &str) -> Result<(), String> {
        let extra = match rest.as_bytes() {
            [b'Z', ..] => &rest[1..],
            [b'+' | b'-', h1, h2, b':', m1, m2, ..]
                if [h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit()) =>
            {
                &rest[6..]
            }
            _ => return Err(self.cannot_parse(rest, "Z07:00")),
        };
        if extra.is_empty() {
            return Ok(());
        }
        Err(format!("parsing time {:?}: extra text: {extra:?}", self.text))
    }

    fn number(
        &self,
        rest: &mut &str,
        digits: usize,
        element: &str,
        range: std::ops::RangeInclusive<u32>,
        what: &str,
    ) -> Result<(), String> {
        let part = rest
            .get(..digits)
            .filter(|part| part.bytes().all(|c| c.is_ascii_digit()))
            .ok_or_else(|| self.cannot_parse(rest, element))?;
        let value: u32 = part.parse().map_err(|_| self.cannot_parse(rest, element))?;
        if !range.contains(&value) {
            return Err(self.out_of_range(what));
        }
        *rest = &rest[digits..];
        Ok(())
    }

    fn literal(&self, rest: &mut &str, literal: &str) -> Result<(), String> {
        match rest.strip_prefix(literal) {
            Some(after) => {
                *rest = after;
                Ok(())
            }
            None => Err(self.cannot_parse(rest, literal)),
        }
    }

    fn cannot_parse(&self, rest: &str, element: &str) -> String {
        let Self { text, name, .. } = self;
        format!("parsing time {text:?} as {name:?}: cannot parse {rest:?} as {element:?}")
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {:?}: {what} out of range", self.text)
    }
}
