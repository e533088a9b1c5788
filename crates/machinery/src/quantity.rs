//! Amounts with units: `100m`, `1.5Gi`, `12e6`.
//!
//! Kept in billionths, the finest that the API knows; finer amounts are rounded up and amounts
//! beyond 63 bits are cut, as upstream does.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

const NANOS: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANOS;

/// An amount with the family of units in which it was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A family of units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`
    BinarySi,
    /// `e3`, `E-3`
    DecimalExponent,
}

/// A text that is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// The text does not look like a quantity.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number does not parse.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The unit is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

// === impl Quantity ===

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// A whole amount.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANOS, format }
    }

    /// A number of thousandths, such as CPU time is counted in.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANOS / 1000), format: Format::DecimalSi }
    }

    /// A number of bytes, shown in binary units.
    pub fn from_bytes(bytes: i64) -> Self {
        Self::new(bytes, Format::BinarySi)
    }

    /// Parses the text of a quantity.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn parse(text: &str) -> Result<Self, ParseQuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() || !is_suffix_like(suffix) {
            return Err(ParseQuantityError::Format);
        }
        if fraction.contains('.') || whole.is_empty() && fraction.is_empty() {
            return Err(ParseQuantityError::Number);
        }
        let (scale, format) = unit(suffix)?;
        let mut nanos = scaled(whole, fraction, scale);
        nanos = nanos.min(MAX);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// From a field's JSON value, a text or a number.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text.trim()).ok(),
            Value::Number(number) => Self::parse(&number.to_string()).ok(),
            _ => None,
        }
    }

    /// The whole amount, rounded up.
    pub fn value(&self) -> i64 {
        clamp(div_up(self.nanos, NANOS))
    }

    /// The amount in thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        clamp(div_up(self.nanos, NANOS / 1000))
    }

    /// The amount as a floating point number, for ratios.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number.
    pub fn is_integer(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Whether it is a whole number of thousandths.
    pub fn is_milli_precise(&self) -> bool {
        self.nanos % (NANOS / 1000) == 0
    }

    /// The family of units it is shown in.
    pub fn format(&self) -> Format {
        self.format
    }

    fn combine(self, other: Self, nanos: i128) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: nanos.clamp(-MAX, MAX), format }
    }
}

fn clamp(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

/// Away from zero, as upstream rounds.
fn div_up(n: i128, by: i128) -> i128 {
    let (quotient, rest) = (n / by, n % by);
    quotient + if rest == 0 { 0 } else { n.signum() }
}

/// Letters, then a signed number.
fn is_suffix_like(suffix: &str) -> bool {
    let letters = suffix.find(|c: char| !"eEinumkKMGTP".contains(c)).unwrap_or(suffix.len());
    let rest = &suffix[letters..];
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    digits.bytes().all(|b| b.is_ascii_digit())
}

/// A factor as two exponents.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn unit(suffix: &str) -> Result<(Scale, Format), ParseQuantityError> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Scale::Ten(*exponent), Format::DecimalSi));
    }
    if let Some(power) = BINARY.iter().position(|name| *name == suffix) {
        return Ok((Scale::Two(power as u32 * 10), Format::BinarySi));
    }
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .and_then(|digits| digits.parse::<i32>().ok())
        .ok_or(ParseQuantityError::Suffix)?;
    Ok((Scale::Ten(exponent), Format::DecimalExponent))
}

/// `whole.fraction` times the scale, in billionths, rounded up, cut at what fits.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    match scale {
        Scale::Ten(exponent) => {
            // Move the point, then read as many digits as count.
            let digits = format!("{whole}{fraction}");
            let point = whole.len() as i64 + i64::from(exponent) + 9;
            decimal(&digits, point)
        }
        Scale::Two(shift) => {
            let nanos = decimal(&format!("{whole}{fraction}"), whole.len() as i64 + 9);
            nanos
                .checked_mul(1 << shift)
                .map_or(MAX, |n| exact_binary(whole, fraction, shift).unwrap_or(n))
        }
    }
}

/// A binary fraction times its unit without the rounding of billionths in between.
fn exact_binary(whole: &str, fraction: &str, shift: u32) -> Option<i128> {
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 15 || whole.len() > 12 {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128.pow(fraction.len() as u32);
    let scaled = digits.checked_mul(1 << shift)?.checked_mul(NANOS)?;
    Some(div_up(scaled, divisor))
}

/// The digits before position `point` as a number; more digits after it round up.
fn decimal(digits: &str, point: i64) -> i128 {
    if point < 0 {
        return i128::from(digits.bytes().any(|b| b != b'0'));
    }
    let point = usize::try_from(point).unwrap_or(usize::MAX);
    let mut n: i128 = 0;
    let kept = digits.len().min(point);
    for digit in digits[..kept].bytes() {
        n = match n.checked_mul(10) {
            Some(n) => n + i128::from(digit - b'0'),
            None => return MAX,
        };
    }
    if n != 0 {
        for _ in kept..point {
            n = n.saturating_mul(10);
            if n > MAX {
                return MAX;
            }
        }
    }
    n + i128::from(digits[kept..].bytes().any(|b| b != b'0'))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // What binary units cannot say exactly is said in decimal ones, as upstream.
        let whole = self.is_integer() && self.nanos.abs() >= 1024 * NANOS;
        if self.format == Format::BinarySi && whole {
            let mut n = self.nanos / NANOS;
            let mut power = 0;
            while n % 1024 == 0 && power < 6 {
                n /= 1024;
                power += 1;
            }
            return write!(f, "{n}{}", BINARY[power]);
        }
        let mut n = self.nanos;
        let mut exponent = -9;
        while n % 1000 == 0 && exponent < 18 {
            n /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{n}"),
            Format::DecimalExponent => write!(f, "{n}e{exponent}"),
            Format::DecimalSi | Format::BinarySi => {
                let unit =
                    DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(name, _)| name);
                write!(f, "{n}{unit}")
            }
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.combine(other, self.nanos + other.nanos)
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.combine(other, self.nanos - other.nanos)
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: -self.nanos, ..self }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::ZERO, |a, b| a + b)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).ok_or_else(|| serde::de::Error::custom(ParseQuantityError::Format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts() {
        let check = |text: &str, canonical: &str| {
            let quantity = Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(quantity.to_string(), canonical, "{text}");
            assert_eq!(Quantity::parse(canonical), Ok(quantity), "{text}");
        };
        check("0", "0");
        check("0Ki", "0");
        check("1", "1");
        check("+5", "5");
        check("-5m", "-5m");
        check("0.5", "500m");
        check(".5", "500m");
        check("5.", "5");
        check("1000", "1k");
        check("1500m", "1500m");
        check("1.5", "1500m");
        check("2000m", "2");
        check("1024", "1024");
        check("1024Ki", "1Mi");
        check("1.5Gi", "1536Mi");
        check("0.1Ki", "102400m");
        check("100Mi", "100Mi");
        check("1e3", "1e3");
        check("12E6", "12e6");
        check("1500e3", "1500e3");
        check("100e-3", "100e-3");
        check("1E", "1E");
        check("0.0000000001", "1n");
        check("123456789012345678901234567890", "9223372036854775807");
        check("8Ei", "9223372036854775807");
        check("1000000Ki", "1000000Ki");
        check("500Mi", "500Mi");
        check("52.96Gi", "56865366999040m");
    }

    #[test]
    fn errors() {
        let check =
            |text: &str, expected| assert_eq!(Quantity::parse(text), Err(expected), "{text}");
        check("", ParseQuantityError::Format);
        check("abc", ParseQuantityError::Format);
        check("1 Gi", ParseQuantityError::Format);
        check("1.2.3", ParseQuantityError::Number);
        check("1Kii", ParseQuantityError::Suffix);
        check("1K", ParseQuantityError::Suffix);
        check("1mm", ParseQuantityError::Suffix);
    }

    #[test]
    fn values() {
        let q = |text: &str| Quantity::parse(text).unwrap();
        assert_eq!(q("1500m").value(), 2);
        assert_eq!(q("-1500m").value(), -2);
        assert_eq!(q("1").milli_value(), 1000);
        assert_eq!(q("1u").milli_value(), 1);
        assert_eq!(q("1Gi").value(), 1 << 30);
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("1000m"), q("1"));
        assert_eq!((q("0") + q("1Gi") + q("1Mi")).to_string(), "1025Mi");
        assert_eq!((q("1") - q("250m")).to_string(), "750m");
        assert_eq!(Quantity::from_value(&1.5.into()).map(|q| q.milli_value()), Some(1500));
    }
}
