//! Durations in Go's text form: `1h15m30.5s`.

use std::time::Duration;

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time: {what} {}", crate::field::quote(.text))]
pub struct ParseDurationError {
    what: &'static str,
    text: String,
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds from Go's text form, negative ones included.
///
/// # Errors
/// When the text is malformed or out of range, in Go's words.
pub fn parse_nanos(text: &str) -> Result<i64, ParseDurationError> {
    let invalid = |what| ParseDurationError { what, text: text.to_owned() };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid("invalid duration"));
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(rest);
        let mut end = whole;
        let mut fraction = "";
        if rest[end..].starts_with('.') {
            let length = digits(&rest[end + 1..]);
            fraction = &rest[end + 1..end + 1 + length];
            end += 1 + length;
        }
        if whole == 0 && fraction.is_empty() {
            return Err(invalid("invalid duration"));
        }
        let number = &rest[..whole];
        rest = &rest[end..];
        let unit_length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = &rest[..unit_length];
        if unit.is_empty() {
            return Err(invalid("missing unit in duration"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(ParseDurationError {
                what: "unknown unit",
                text: format!("{unit}\" in duration \"{text}"),
            });
        };
        rest = &rest[unit_length..];
        let scale = i128::from(*scale);
        let number: i128 = if number.is_empty() {
            0
        } else {
            number.parse().map_err(|_| invalid("invalid duration"))?
        };
        let mut divisor = 1;
        let mut part = 0;
        for digit in fraction.bytes().take(18) {
            part = part * 10 + i128::from(digit - b'0');
            divisor *= 10;
        }
        total = number
            .checked_mul(scale)
            .and_then(|n| n.checked_add(part * scale / divisor))
            .and_then(|n| n.checked_add(total))
            .ok_or_else(|| invalid("invalid duration"))?;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid("invalid duration"))
}

/// A duration that is not negative.
///
/// # Errors
/// As [`parse_nanos`], and for negative durations.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    let nanos = parse_nanos(text)?;
    let nanos = u64::try_from(nanos)
        .map_err(|_| ParseDurationError { what: "invalid duration", text: text.to_owned() })?;
    Ok(Duration::from_nanos(nanos))
}

/// Go's text form of a number of nanoseconds.
pub fn format_nanos(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    if n == 0 {
        return "0s".to_owned();
    }
    if n < 1_000_000_000 {
        let (unit, scale, places) = match n {
            0..1_000 => ("ns", 1, 0),
            1_000..1_000_000 => ("µs", 1_000, 3),
            _ => ("ms", 1_000_000, 6),
        };
        return format!("{sign}{}{unit}", decimal(n / scale, n % scale, places));
    }
    let seconds = n / 1_000_000_000;
    let tail = decimal(seconds % 60, n % 1_000_000_000, 9);
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{sign}{tail}s"),
        (0, minutes) => format!("{sign}{minutes}m{tail}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{tail}s"),
    }
}

/// Go's text form of a duration.
pub fn format(duration: Duration) -> String {
    format_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

fn decimal(whole: u64, fraction: u64, places: usize) -> String {
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = format!("{fraction:0places$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let check = |text: &str, nanos: i64, canonical: &str| {
            assert_eq!(parse_nanos(text), Ok(nanos), "{text}");
            assert_eq!(format_nanos(nanos), canonical);
        };
        check("0", 0, "0s");
        check("1h", 3_600_000_000_000, "1h0m0s");
        check("1h15m30.918s", 4_530_918_000_000, "1h15m30.918s");
        check("-1.5ms", -1_500_000, "-1.5ms");
        check("90s", 90_000_000_000, "1m30s");
        check("5us", 5_000, "5µs");
        check(".5s", 500_000_000, "500ms");
        check("24h", 86_400_000_000_000, "24h0m0s");
    }

    #[test]
    fn errors() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse_nanos(text).unwrap_err().to_string(), expected);
        };
        check("", r#"time: invalid duration """#);
        check("3", r#"time: missing unit in duration "3""#);
        check("x", r#"time: invalid duration "x""#);
        check("10000000h", r#"time: invalid duration "10000000h""#);
    }
}
