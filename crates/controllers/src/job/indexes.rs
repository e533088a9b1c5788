//! Completion indexes of Indexed Jobs, written as `0-3,5`. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use crate::object::Meta;

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The index of a Pod.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    pod.annotation(INDEX)?.parse().ok()
}

/// Reads a list of indexes and ranges; what is malformed is left out.
pub(super) fn parse(text: &str) -> BTreeSet<i32> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?)
        })
        .flatten()
        .collect()
}

/// Writes indexes; three or more in a row become a range, as upstream's.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let texts: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    texts.join(",")
}

/// How many indexes a list names.
pub(super) fn count(text: &str) -> i32 {
    i32::try_from(parse(text).len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for text in ["", "3", "0,1", "0-2", "0,2-4,7,8"] {
            assert_eq!(format(&parse(text)), text);
        }
        assert_eq!(count("0-3,5"), 5);
    }
}
