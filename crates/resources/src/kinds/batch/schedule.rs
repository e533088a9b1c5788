//! Schedules in cron's form, read as the library does that upstream uses.

use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use machinery::field::quote;

/// The fields of a schedule: their bounds, and names for values from the lower bound on.
const FIELDS: [(i64, i64, &[&str]); 5] =
    [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, &MONTHS), (0, 6, &DAYS)];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether there is such a time zone. The names come with the program: what is right does not
/// depend on the machine.
pub(super) fn is_zone(name: &str) -> bool {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    name == "UTC" || ZONES.get(name).is_ok_and(|zone| zone.iana_name() == Some(name))
}

/// What is wrong with a schedule, if anything.
pub(super) fn problem(schedule: &str) -> Option<String> {
    check(schedule).err()
}

fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let mut rest = schedule;
    if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        let (zone, fields) = schedule.split_once(' ').unwrap_or((schedule, ""));
        let zone = zone.split_once('=').map_or("", |(_, zone)| zone);
        if !zone.is_empty() && zone != "Local" && !is_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        rest = fields.trim();
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    for (field, bounds) in fields.iter().zip(FIELDS) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            range(part, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    let Some(every) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    match machinery::duration::parse_nanos(every) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("failed to parse duration {text}: {why}")),
    }
}

/// Checks `*`, `n`, `n-m`, each with an optional `/step`.
fn range(part: &str, (low, high, names): (i64, i64, &[&str])) -> Result<(), String> {
    let value = |text: &str| -> Result<i64, String> {
        let lower = text.to_lowercase();
        match names.iter().zip(low..).find(|(name, _)| **name == lower) {
            Some((_, n)) => Ok(n),
            None => number(text),
        }
    };
    let steps: Vec<&str> = part.split('/').collect();
    let bounds: Vec<&str> = steps[0].split('-').collect();
    let (from, mut to) = match bounds[..] {
        ["*" | "?", ..] => (low, high),
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
        Ok(())
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
}
