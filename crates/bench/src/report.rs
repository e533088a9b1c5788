//! Figures of a run, as a table and as JSON.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

/// What one scenario gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// What was done.
    pub scenario: String,
    /// On how many connections at once.
    pub connections: usize,
    /// How many answers came.
    pub answers: usize,
    /// How many requests failed.
    pub errors: usize,
    /// Answers per second.
    pub per_second: f64,
    /// Half of the answers came within this many milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 answers came within this many milliseconds.
    pub p99_ms: f64,
    /// The slowest answer, in milliseconds.
    pub max_ms: f64,
    /// The first error, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

/// What one connection saw.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The time of every answer.
    pub latencies: Vec<Duration>,
    /// The requests that failed.
    pub errors: Vec<String>,
}

/// All scenarios of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which they ran.
    pub scenarios: Vec<Figures>,
}

// === impl Figures ===

impl Figures {
    /// Sums up what the connections of a scenario saw in `elapsed`.
    #[must_use]
    pub fn new(scenario: &str, samples: Vec<Sample>, elapsed: Duration) -> Self {
        let connections = samples.len();
        let errors: usize = samples.iter().map(|sample| sample.errors.len()).sum();
        let first_error = samples.iter().find_map(|sample| sample.errors.first().cloned());
        let mut latencies: Vec<_> = samples.into_iter().flat_map(|s| s.latencies).collect();
        latencies.sort_unstable();
        let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |t| t.as_secs_f64() * 1e3);
        let quantile =
            |percent: usize| milliseconds(latencies.get(latencies.len() * percent / 100));
        Self {
            scenario: scenario.to_owned(),
            connections,
            answers: latencies.len(),
            errors,
            per_second: latencies.len() as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_ms: quantile(50),
            p99_ms: quantile(99),
            max_ms: milliseconds(latencies.last()),
            first_error,
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<44} {:>5} {:>9} {:>7} {:>11} {:>9} {:>9} {:>9}",
            "SCENARIO", "CONN", "ANSWERS", "ERRORS", "PER SECOND", "P50 ms", "P99 ms", "MAX ms"
        )?;
        for row in &self.scenarios {
            writeln!(
                f,
                "{:<44} {:>5} {:>9} {:>7} {:>11.1} {:>9.3} {:>9.3} {:>9.3}",
                row.scenario,
                row.connections,
                row.answers,
                row.errors,
                row.per_second,
                row.p50_ms,
                row.p99_ms,
                row.max_ms
            )?;
            if let Some(error) = &row.first_error {
                writeln!(f, "    first error: {error}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_taken_over_all_connections_and_errors_are_counted() {
        let sample = |range: std::ops::Range<u64>| Sample {
            latencies: range.map(Duration::from_millis).collect(),
            errors: Vec::new(),
        };
        let mut samples = vec![sample(0..50), sample(50..100)];
        samples[1].errors.push("no".to_owned());
        let figures = Figures::new("x", samples, Duration::from_secs(2));
        let seen = (figures.answers, figures.errors, figures.per_second, figures.connections);
        assert_eq!(seen, (100, 1, 50.0, 2));
        assert_eq!((figures.p50_ms, figures.p99_ms, figures.max_ms), (50.0, 99.0, 99.0));
        assert_eq!(figures.first_error.as_deref(), Some("no"));
    }
}
