//! Times as the API writes them, and ages as `kubectl` shows them.

use std::time::Duration;

pub use jiff::Timestamp;

/// RFC 3339 in UTC with whole seconds: `meta/v1` Time.
pub fn format(time: Timestamp) -> String {
    let time = Timestamp::from_second(whole_seconds(time)).unwrap_or(time);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 in UTC with six decimals: `meta/v1` MicroTime.
pub fn format_micro(time: Timestamp) -> String {
    let micros = time.as_microsecond().rem_euclid(1_000_000);
    format!("{}.{micros:06}Z", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// A time in RFC 3339, with any offset and any number of decimals.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Seconds since the epoch, rounded down.
fn whole_seconds(time: Timestamp) -> i64 {
    time.as_microsecond().div_euclid(1_000_000)
}

/// How long ago `time` was, as `kubectl` shows ages: `5m30s`, `3h`, `12d`.
pub fn age(time: Timestamp, now: Timestamp) -> String {
    let millis = now.as_millisecond() - time.as_millisecond();
    human_millis(millis)
}

/// The age of a time in text form; `<unknown>` when there is none.
pub fn age_of(time: Option<&str>, now: Timestamp) -> String {
    match time.and_then(parse) {
        None => "<unknown>".to_owned(),
        Some(time) => age(time, now),
    }
}

/// A duration in the short form that ages have.
pub fn human(duration: Duration) -> String {
    human_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

fn human_millis(millis: i64) -> String {
    // Clocks of clients may be ahead by a little; upstream forgives up to a second.
    let seconds = millis / 1000;
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    let minutes = seconds / 60;
    let hours = seconds / 3600;
    let days = hours / 24;
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 8 * 365 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let time = parse("2024-05-06T07:08:09.123456789+02:00").unwrap();
        assert_eq!(format(time), "2024-05-06T05:08:09Z");
        assert_eq!(format_micro(time), "2024-05-06T05:08:09.123456Z");
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn ages() {
        let check = |seconds: i64, expected: &str| {
            let start = Timestamp::from_second(1_000_000_000).unwrap();
            let now = Timestamp::from_second(1_000_000_000 + seconds).unwrap();
            assert_eq!(age(start, now), expected, "{seconds}");
        };
        check(-2, "<invalid>");
        check(-1, "0s");
        check(119, "119s");
        check(120, "2m");
        check(150, "2m30s");
        check(600, "10m");
        check(3 * 3600 - 1, "179m");
        check(3 * 3600 + 60, "3h1m");
        check(8 * 3600 + 60, "8h");
        check(49 * 3600, "2d1h");
        check(8 * 86400 + 3600, "8d");
        check(3 * 365 * 86400 + 86400, "3y1d");
        check(9 * 365 * 86400 + 86400, "9y");
        assert_eq!(age_of(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
