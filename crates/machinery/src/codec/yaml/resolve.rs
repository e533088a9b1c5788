//! What a scalar without quotes means in YAML 1.1, as go-yaml reads it.

use serde_json::{Number, Value};

/// The meaning of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A text, which is the scalar itself.
    Text,
}

// === impl Scalar ===

impl Scalar {
    /// What an untagged scalar without quotes means.
    pub(super) fn of(text: &str) -> Self {
        match text.as_bytes().first() {
            None => Self::Null,
            Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => {
                word(text)
            }
            Some(b'.') => match special_float(text) {
                Some(float) => Self::Float(float),
                None => go_float(text).map_or(Self::Text, Self::Float),
            },
            Some(b'+' | b'-' | b'0'..=b'9') => match special_float(text) {
                Some(float) => Self::Float(float),
                None => number(&text.replace('_', "")),
            },
            Some(_) => Self::Text,
        }
    }

    /// The short tag of the meaning.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Text => "!!str",
        }
    }

    /// The value in JSON, or the number that JSON has no form of.
    pub(super) fn to_json(self, text: &str) -> Result<Value, f64> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(on) => on.into(),
            Self::Int(n) => n.into(),
            Self::Uint(n) => n.into(),
            // JSON text has no mark of whole floats.
            Self::Float(float) if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                (float as i64).into()
            }
            Self::Float(float) => Value::Number(Number::from_f64(float).ok_or(float)?),
            Self::Text => text.into(),
        })
    }
}

fn word(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => Scalar::Text,
    }
}

fn special_float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn number(plain: &str) -> Scalar {
    let (negative, digits) = match plain.as_bytes().first() {
        Some(b'-') => (true, &plain[1..]),
        Some(b'+') => (false, &plain[1..]),
        _ => (false, plain),
    };
    let (radix, magnitude) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // A second sign is none of Rust's business to take.
    if magnitude.starts_with(|c: char| c.is_ascii_alphanumeric())
        && let Ok(size) = u64::from_str_radix(magnitude, radix)
    {
        match (negative, i64::try_from(size)) {
            (false, Ok(n)) => return Scalar::Int(n),
            (true, Ok(n)) => return Scalar::Int(-n),
            (true, Err(_)) if size == i64::MIN.unsigned_abs() => return Scalar::Int(i64::MIN),
            // Go's parser of unsigned numbers knows no sign.
            (false, Err(_)) if !plain.starts_with('+') => return Scalar::Uint(size),
            _ => {}
        }
    }
    if is_float(digits)
        && let Some(float) = go_float(plain)
    {
        return Scalar::Float(float);
    }
    Scalar::Text
}

/// Digits with a point, an exponent, both or neither.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let good_mantissa = match mantissa.split_once('.') {
        Some(("", after)) => !after.is_empty() && all_digits(after),
        Some((before, after)) => all_digits(before) && all_digits(after),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let good_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    good_mantissa && good_exponent
}

/// A decimal float that is not out of range.
fn go_float(text: &str) -> Option<f64> {
    is_float(text.strip_prefix(['+', '-']).unwrap_or(text))
        .then(|| text.parse::<f64>().ok())
        .flatten()
        .filter(|float| float.is_finite())
}

/// Whether a text without quotes would be read as something else, here or by other readers of
/// YAML 1.1.
pub(super) fn needs_quotes(text: &str) -> bool {
    Scalar::of(text) != Scalar::Text || text == "<<" || is_time(text) || is_base_60(text)
}

/// `2001-12-14`, alone or with a time of day.
fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
    };
    let day = rest.split(['T', 't', ' ']).next().unwrap_or_default();
    year.len() == 4 && digits(year, 4) && digits(month, 2) && digits(day, 2)
}

/// `1:30`, a number in some readers of YAML 1.1.
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let mut parts = parts.peekable();
    if parts.peek().is_none()
        || !first.starts_with(|c: char| c.is_ascii_digit())
        || !first.bytes().all(|c| c.is_ascii_digit() || c == b'_')
    {
        return false;
    }
    while let Some(part) = parts.next() {
        let whole = match (part.split_once('.'), parts.peek()) {
            (Some((whole, fraction)), None)
                if fraction.bytes().all(|c| c.is_ascii_digit() || c == b'_') =>
            {
                whole
            }
            _ => part,
        };
        let good = match whole.as_bytes() {
            [one] => one.is_ascii_digit(),
            [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
            _ => false,
        };
        if !good {
            return false;
        }
    }
    true
}
