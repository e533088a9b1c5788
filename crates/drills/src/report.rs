//! What came of the drills: for people, and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::timeline::Step;

/// One run of one drill.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The drill.
    pub drill: &'static str,
    /// Whether all was seen that had to be.
    pub passed: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds from the first step to the last.
    pub seconds: f64,
    /// Seconds from a deed to what was seen of it, by name.
    pub figures: BTreeMap<&'static str, f64>,
    /// All steps.
    pub steps: Vec<Step>,
}

// === impl Report ===

impl Report {
    pub(crate) fn new(
        drill: &'static str,
        reason: Option<String>,
        seconds: f64,
        steps: Vec<Step>,
    ) -> Self {
        let figures = steps.iter().filter_map(|step| Some((step.figure?, step.after))).collect();
        Self { drill, passed: reason.is_none(), reason, seconds, figures, steps }
    }

    /// The last line of its timeline.
    pub(crate) fn verdict(&self) -> String {
        match &self.reason {
            None => format!("PASS  {} after {:.1} s", self.drill, self.seconds),
            Some(reason) => format!("FAIL  {} after {:.1} s: {reason}", self.drill, self.seconds),
        }
    }
}

/// A table of all drills with their figures.
pub(crate) fn summary(reports: &[Report]) -> String {
    let mut drills: Vec<&'static str> = Vec::new();
    for report in reports {
        if !drills.contains(&report.drill) {
            drills.push(report.drill);
        }
    }
    let width = drills.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for drill in drills {
        let runs: Vec<_> = reports.iter().filter(|report| report.drill == drill).collect();
        let passed = runs.iter().filter(|report| report.passed).count();
        let word = if passed == runs.len() { "PASS" } else { "FAIL" };
        let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, seconds) in runs.iter().flat_map(|report| &report.figures) {
            figures.entry(name).or_default().push(*seconds);
        }
        let figures: Vec<_> =
            figures.iter().map(|(name, all)| format!("{name} {}", span(all))).collect();
        let took: Vec<_> = runs.iter().map(|report| report.seconds).collect();
        text.push_str(&format!(
            "{word}  {drill:width$}  {passed}/{}  {:>14}  {}\n",
            runs.len(),
            span(&took),
            figures.join(", ")
        ));
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The least and the greatest.
fn span(all: &[f64]) -> String {
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    let most = all.iter().copied().fold(0.0, f64::max);
    match all.len() {
        1 => format!("{most:.1} s"),
        _ => format!("{least:.1} - {most:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Kind;

    fn report(reason: Option<&str>, after: f64) -> Report {
        let step = Step {
            at: after,
            after,
            kind: Kind::See,
            text: String::new(),
            shown: Vec::new(),
            figure: Some("detection"),
        };
        Report::new("a-drill", reason.map(str::to_owned), 2.0 * after, vec![step])
    }

    #[test]
    fn the_summary_has_a_line_a_drill() {
        let all = [report(None, 1.0), report(Some("no"), 2.0)];
        assert_eq!(summary(&all[..1]), "PASS  a-drill  1/1           2.0 s  detection 1.0 s");
        assert_eq!(summary(&all), "FAIL  a-drill  1/2     2.0 - 4.0 s  detection 1.0 - 2.0 s");
        assert_eq!(all[1].verdict(), "FAIL  a-drill after 4.0 s: no");
    }
}
