//! Schedules in cron's form, read and followed as the library does that upstream uses.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned};
use machinery::field::quote;

/// The fields of a schedule: their bounds, and names for values from the lower bound on.
const FIELDS: [(i64, i64, &[&str]); 5] =
    [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, &MONTHS), (0, 6, &DAYS)];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Names of schedules, and what they stand for.
const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// A schedule that has no time in so many years never has one.
const YEARS: i16 = 5;

/// When something happens again and again.
#[derive(Clone, Debug)]
pub struct Schedule {
    zone: TimeZone,
    times: Times,
}

#[derive(Clone, Debug)]
enum Times {
    /// So long after the last time.
    Every(SignedDuration),
    /// Minutes, hours, days of the month, months and days of the week.
    At([Values; 5]),
}

/// Values of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Values {
    /// One bit for each.
    bits: u64,
    /// Whether the field names none of them.
    any: bool,
}

fn zone(name: &str) -> Option<TimeZone> {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    ZONES.get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// What is wrong with a schedule, if anything.
pub(super) fn problem(schedule: &str) -> Option<String> {
    Schedule::parse(schedule).err()
}

// === impl Schedule ===

impl Schedule {
    /// Reads a schedule. It is followed in UTC unless it names a time zone.
    ///
    /// # Errors
    /// What is wrong with it, as upstream says it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (mut rest, mut own) = (text, TimeZone::UTC);
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            let (name, fields) = text.split_once(' ').unwrap_or((text, ""));
            let name = name.split_once('=').map_or("", |(_, name)| name);
            if !name.is_empty() && name != "Local" {
                own = zone(name).ok_or_else(|| {
                    format!("provided bad location {name}: unknown time zone {name}")
                })?;
            }
            rest = fields.trim();
        }
        let times = match rest.strip_prefix("@every ") {
            Some(every) => Times::Every(period(rest, every)?),
            None if rest.starts_with('@') => {
                let found = DESCRIPTORS.iter().find(|(name, _)| *name == rest);
                let (_, fields) =
                    found.ok_or_else(|| format!("unrecognized descriptor: {rest}"))?;
                Times::At(values(fields)?)
            }
            None => Times::At(values(rest)?),
        };
        Ok(Self { zone: own, times })
    }

    /// Whether there is such a time zone. The names come with the program: what is right does not
    /// depend on the machine.
    #[must_use]
    pub fn knows_zone(name: &str) -> bool {
        zone(name).is_some()
    }

    /// The same in another time zone; none if there is no such zone.
    #[must_use]
    pub fn in_zone(self, name: &str) -> Option<Self> {
        Some(Self { zone: zone(name)?, ..self })
    }

    /// The time in the schedule's zone.
    #[must_use]
    pub fn local(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.clone())
    }

    /// The first time after another; none if that never comes.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let second = Timestamp::from_second(after.as_second()).ok()?;
        match &self.times {
            Times::Every(period) => second.checked_add(*period).ok(),
            Times::At(values) => self.next_of(values, second),
        }
    }

    fn next_of(&self, values: &[Values; 5], after: Timestamp) -> Option<Timestamp> {
        let [minutes, hours, days, months, weekdays] = values;
        let since = i64::from(self.local(after).second());
        let mut time = self.local(after.checked_add(SignedDuration::from_secs(60 - since)).ok()?);
        let last = time.year().checked_add(YEARS)?;
        while time.year() <= last {
            let day = days.has(time.day());
            let weekday = weekdays.has(time.weekday().to_sunday_zero_offset());
            // Both count unless only one of them says something.
            let is_day = if days.any || weekdays.any { day && weekday } else { day || weekday };
            time = if !months.has(time.month()) {
                self.start_of(time.date().first_of_month().checked_add(1.month()).ok()?)?
            } else if !is_day {
                self.start_of(time.date().tomorrow().ok()?)?
            } else if !hours.has(time.hour()) {
                let left = 60 - i64::from(time.minute());
                time.checked_add(SignedDuration::from_secs(left * 60)).ok()?
            } else if !minutes.has(time.minute()) {
                time.checked_add(SignedDuration::from_secs(60)).ok()?
            } else {
                return Some(time.timestamp());
            };
        }
        None
    }

    fn start_of(&self, date: jiff::civil::Date) -> Option<Zoned> {
        date.to_datetime(Time::midnight()).to_zoned(self.zone.clone()).ok()
    }
}

// === impl Values ===

impl Values {
    fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }
}

fn values(fields: &str) -> Result<[Values; 5], String> {
    let texts: Vec<&str> = fields.split_whitespace().collect();
    if texts.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            texts.len(),
            texts.join(" ")
        ));
    }
    let mut all = [Values::default(); 5];
    for ((field, bounds), values) in texts.iter().zip(FIELDS).zip(&mut all) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            let found = range(part, bounds)?;
            values.bits |= found.bits;
            values.any |= found.any;
        }
    }
    Ok(all)
}

fn period(text: &str, every: &str) -> Result<SignedDuration, String> {
    let nanos = machinery::duration::parse_nanos(every)
        .map_err(|why| format!("failed to parse duration {text}: {why}"))?;
    // Whole seconds, and no less than one.
    let nanos = u64::try_from(nanos).unwrap_or(0);
    let seconds = Duration::from_nanos(nanos).as_secs().max(1);
    Ok(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// Reads `*`, `n`, `n-m`, each with an optional `/step`.
fn range(part: &str, (low, high, names): (i64, i64, &[&str])) -> Result<Values, String> {
    let value = |text: &str| -> Result<i64, String> {
        let lower = text.to_lowercase();
        match names.iter().zip(low..).find(|(name, _)| **name == lower) {
            Some((_, n)) => Ok(n),
            None => number(text),
        }
    };
    let steps: Vec<&str> = part.split('/').collect();
    let bounds: Vec<&str> = steps[0].split('-').collect();
    let mut any = false;
    let (from, mut to) = match bounds[..] {
        ["*" | "?", ..] => {
            any = true;
            (low, high)
        }
        [one] => (value(one)?, value(one)?),
        [from, to] => (value(from)?, value(to)?),
        _ => return Err(format!("too many hyphens: {part}")),
    };
    let step = match steps[..] {
        [_] => 1,
        [_, step] => {
            // `n/step` means from n on.
            if bounds.len() == 1 {
                to = high;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {part}")),
    };
    if from < low {
        Err(format!("beginning of range ({from}) below minimum ({low}): {part}"))
    } else if to > high {
        Err(format!("end of range ({to}) above maximum ({high}): {part}"))
    } else if from > to {
        Err(format!("beginning of range ({from}) beyond end of range ({to}): {part}"))
    } else if step == 0 {
        Err(format!("step of range should be a positive number: {part}"))
    } else {
        let named = (from..=to).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let bits = named.fold(0, |bits, value| bits | 1_u64 << value);
        Ok(Values { bits, any: any && step == 1 })
    }
}

fn number(text: &str) -> Result<i64, String> {
    let n: i64 = text.parse().map_err(|_| {
        let quoted = quote(text);
        format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax")
    })?;
    if n < 0 {
        return Err(format!("negative number ({n}) not allowed: {text}"));
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let good = [
            "*/5 * * * *",
            "0 0 1 jan mon-fri",
            "5/15 1,2 ? * 0",
            "@hourly",
            "@every 1h30m",
            "TZ=Europe/Berlin 0 0 * * *",
            "CRON_TZ=UTC @daily",
            "1,,2 * * * *",
        ];
        for schedule in good {
            assert_eq!(problem(schedule), None, "{schedule}");
        }
        let check = |schedule: &str, expected: &str| {
            assert_eq!(problem(schedule).as_deref(), Some(expected), "{schedule}");
        };
        check("* *", "expected exactly 5 fields, found 2: [* *]");
        check("61 * * * *", "end of range (61) above maximum (59): 61");
        check("* * 0 * *", "beginning of range (0) below minimum (1): 0");
        check("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3");
        check("*/0 * * * *", "step of range should be a positive number: */0");
        check("1-2-3 * * * *", "too many hyphens: 1-2-3");
        check("1/2/3 * * * *", "too many slashes: 1/2/3");
        check(
            "x * * * *",
            r#"failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax"#,
        );
        check("@never", "unrecognized descriptor: @never");
        check("@every x", r#"failed to parse duration @every x: time: invalid duration "x""#);
        check("TZ=Nowhere 0 0 * * *", "provided bad location Nowhere: unknown time zone Nowhere");
    }

    #[test]
    fn times_follow_each_other() {
        let check = |schedule: &str, after: &str, expected: &[&str]| {
            let schedule = Schedule::parse(schedule).unwrap();
            let mut time: Timestamp = after.parse().unwrap();
            for expected in expected {
                time = schedule.next(time).unwrap();
                assert_eq!(time.to_string(), *expected);
            }
        };
        let start = "2026-01-30T10:07:30.5Z";
        check("*/1 * * * ?", start, &["2026-01-30T10:08:00Z", "2026-01-30T10:09:00Z"]);
        check("*/20 11 * * *", start, &["2026-01-30T11:00:00Z", "2026-01-30T11:20:00Z"]);
        check("5 4 31 * *", start, &["2026-01-31T04:05:00Z", "2026-03-31T04:05:00Z"]);
        // Friday the 30th is neither the 1st nor a Sunday; both days count.
        check("0 0 1 * sun", start, &["2026-02-01T00:00:00Z", "2026-02-08T00:00:00Z"]);
        check("0 0 1 feb *", start, &["2026-02-01T00:00:00Z", "2027-02-01T00:00:00Z"]);
        check("@hourly", start, &["2026-01-30T11:00:00Z"]);
        check("@every 90s", start, &["2026-01-30T10:09:00Z", "2026-01-30T10:10:30Z"]);
        check("TZ=Europe/Berlin 0 9 * * *", start, &["2026-01-31T08:00:00Z"]);
        // An hour that is left out has no times, one that comes twice has them twice.
        let spring = ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"];
        check("TZ=Europe/Berlin 30 2 * * *", "2026-03-28T00:00:00Z", &spring);
        let autumn = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"];
        check("TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:00:00Z", &autumn);
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        assert_eq!(never.next(Timestamp::UNIX_EPOCH), None);
        let daily = Schedule::parse("@daily").unwrap().in_zone("Asia/Tokyo").unwrap();
        let next = daily.next(start.parse().unwrap()).unwrap();
        assert_eq!(next.to_string(), "2026-01-30T15:00:00Z");
        assert!(daily.in_zone("Nowhere").is_none());
    }
}
