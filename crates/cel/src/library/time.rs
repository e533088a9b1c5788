//! Points and lengths of time and their parts.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::{Answer, Declared, no_overload, text};
use crate::eval::{EvalError, Scope};
use crate::value::Value;

pub(super) const DECLARED: &[Declared] = &[
    Declared("timestamp_to_year", "timestamp::getFullYear() -> int", year),
    Declared("timestamp_to_year_with_tz", "timestamp::getFullYear(string) -> int", year),
    Declared("timestamp_to_month", "timestamp::getMonth() -> int", month),
    Declared("timestamp_to_month_with_tz", "timestamp::getMonth(string) -> int", month),
    Declared("timestamp_to_day_of_year", "timestamp::getDayOfYear() -> int", day_of_year),
    Declared(
        "timestamp_to_day_of_year_with_tz",
        "timestamp::getDayOfYear(string) -> int",
        day_of_year,
    ),
    Declared("timestamp_to_day_of_month", "timestamp::getDayOfMonth() -> int", day_of_month),
    Declared(
        "timestamp_to_day_of_month_with_tz",
        "timestamp::getDayOfMonth(string) -> int",
        day_of_month,
    ),
    Declared("timestamp_to_day_of_month_1_based", "timestamp::getDate() -> int", date),
    Declared(
        "timestamp_to_day_of_month_1_based_with_tz",
        "timestamp::getDate(string) -> int",
        date,
    ),
    Declared("timestamp_to_day_of_week", "timestamp::getDayOfWeek() -> int", day_of_week),
    Declared(
        "timestamp_to_day_of_week_with_tz",
        "timestamp::getDayOfWeek(string) -> int",
        day_of_week,
    ),
    Declared("timestamp_to_hours", "timestamp::getHours() -> int", hours),
    Declared("timestamp_to_hours_with_tz", "timestamp::getHours(string) -> int", hours),
    Declared("timestamp_to_minutes", "timestamp::getMinutes() -> int", minutes),
    Declared("timestamp_to_minutes_with_tz", "timestamp::getMinutes(string) -> int", minutes),
    Declared("timestamp_to_seconds", "timestamp::getSeconds() -> int", seconds),
    Declared("timestamp_to_seconds_tz", "timestamp::getSeconds(string) -> int", seconds),
    Declared("timestamp_to_milliseconds", "timestamp::getMilliseconds() -> int", milliseconds),
    Declared(
        "timestamp_to_milliseconds_with_tz",
        "timestamp::getMilliseconds(string) -> int",
        milliseconds,
    ),
    Declared("duration_to_hours", "duration::getHours() -> int", |_, args| {
        whole(args, 3_600_000_000_000)
    }),
    Declared("duration_to_minutes", "duration::getMinutes() -> int", |_, args| {
        whole(args, 60_000_000_000)
    }),
    Declared("duration_to_seconds", "duration::getSeconds() -> int", |_, args| {
        whole(args, 1_000_000_000)
    }),
    Declared("duration_to_milliseconds", "duration::getMilliseconds() -> int", |_, args| {
        whole(args, 1_000_000)
    }),
];

/// The years 1 to 9999, which is what timestamps can be.
pub(super) fn in_range(time: &Timestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&time.as_second())
}

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let date = text.is_ascii() && bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T';
    if !date {
        return None;
    }
    text.parse().ok().filter(in_range)
}

/// A day of RFC 3339, from its first moment.
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    if text.len() != 10 || !text.is_ascii() {
        return None;
    }
    parse_timestamp(&format!("{text}T00:00:00Z"))
}

/// Seconds with a fraction.
pub(super) fn duration_text(nanos: i64) -> String {
    let (whole, rest) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).unsigned_abs());
    let sign = if nanos < 0 && whole == 0 { "-" } else { "" };
    let fraction = format!(".{rest:09}");
    format!("{sign}{whole}{}s", fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// RFC 3339 in UTC, with as many digits of a second as there are.
pub(super) fn timestamp_text(time: Timestamp) -> String {
    time.to_string()
}

fn whole(args: &[Value], unit: i64) -> Answer {
    match args[0] {
        Value::Duration(nanos) => Ok(Value::Int(nanos / unit)),
        _ => Err(no_overload()),
    }
}

fn zoned(args: &[Value]) -> Result<Zoned, EvalError> {
    let Value::Timestamp(time) = args[0] else {
        return Err(no_overload());
    };
    let zone = match args.len() {
        1 => TimeZone::UTC,
        _ => zone(text(args, 1)?)?,
    };
    Ok(time.to_zoned(zone))
}

/// A name of the time zone database, or an offset such as `+05:30`.
fn zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || {
        let shown: String = name.chars().take(100).collect();
        EvalError::message(format!("unknown time zone {shown}"))
    };
    if name.is_empty() || name == "UTC" || name == "Z" {
        return Ok(TimeZone::UTC);
    }
    if let Some((hours, minutes)) = name.split_once(':') {
        let negative = hours.starts_with('-');
        let hours: i32 = hours.parse().map_err(|_| unknown())?;
        let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
        if !(-23..=23).contains(&hours) || !(0..60).contains(&minutes) {
            return Err(unknown());
        }
        let minutes = hours * 60 + if negative { -minutes } else { minutes };
        let offset = Offset::from_seconds(minutes * 60).map_err(|_| unknown())?;
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|_| unknown())
}

fn part(args: &[Value], of: fn(&Zoned) -> i64) -> Answer {
    Ok(Value::Int(of(&zoned(args)?)))
}

fn year(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| time.year().into())
}

fn month(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| i64::from(time.month()) - 1)
}

fn day_of_year(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| i64::from(time.day_of_year()) - 1)
}

fn day_of_month(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| i64::from(time.day()) - 1)
}

fn date(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| time.day().into())
}

fn day_of_week(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| time.weekday().to_sunday_zero_offset().into())
}

fn hours(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| time.hour().into())
}

fn minutes(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| time.minute().into())
}

fn seconds(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| time.second().into())
}

fn milliseconds(_: &mut Scope, args: &[Value]) -> Answer {
    part(args, |time| time.millisecond().into())
}
