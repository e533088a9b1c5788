//! Sets of indexes of a Job as text: `1,3-5,7`.

use machinery::field::quote;

/// How many indexes a text has, all of them below `completions`.
///
/// # Errors
/// What is wrong with the text, in upstream's words.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first index that two texts share. What cannot be read of either is passed over: it is
/// reported elsewhere.
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let readable = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let other = readable(other);
    readable(one).into_iter().find_map(|(first, end)| {
        let shared = other.iter().find(|(from, to)| first <= *to && *from <= end)?;
        Some(first.max(shared.0))
    })
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| -> Result<i64, String> {
        let n: i64 = text
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if n >= completions {
            return Err(format!("too large index: {}", quote(text)));
        }
        Ok(n)
    };
    let parts: Vec<&str> = part.split('-').collect();
    match parts[..] {
        [one] => number(one).map(|n| (n, n)),
        [first, end] => {
            let (first, end) = (number(first)?, number(end)?);
            if first >= end {
                return Err(format!("non-increasing order, previous: {first}, current: {end}"));
            }
            Ok((first, end))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(part)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(count(text, 10), expected.map_err(str::to_owned), "{text}");
        };
        check("", Ok(0));
        check("0", Ok(1));
        check("1,3-5,9", Ok(5));
        check("1,1", Err("non-increasing order, previous: 1, current: 1"));
        check("3-5,4", Err("non-increasing order, previous: 5, current: 4"));
        check("5-5", Err("non-increasing order, previous: 5, current: 5"));
        check("10", Err(r#"too large index: "10""#));
        check("1-", Err(r#"cannot convert string to integer for index: """#));
        check(",1", Err(r#"cannot convert string to integer for index: """#));
        check(
            "1-2-3",
            Err(
                r#"the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'"#,
            ),
        );
    }

    #[test]
    fn overlaps() {
        assert_eq!(overlap("1,3-5", "0,2,6-7", 10), None);
        assert_eq!(overlap("1,3-5", "4", 10), Some(4));
        assert_eq!(overlap("x,3-5", "0-3", 10), Some(3));
        assert_eq!(overlap("", "0", 10), None);
    }
}
