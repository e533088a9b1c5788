//! Figures of a run, as a table and as JSON.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::processes::Usage;

/// What one scenario gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// What was done.
    pub scenario: String,
    /// How objects were written on the wire.
    pub format: String,
    /// On how many connections at once.
    pub connections: usize,
    /// How many answers, or events, came.
    pub answers: usize,
    /// How many requests failed.
    pub errors: usize,
    /// Answers per second.
    pub per_second: f64,
    /// What it should be, if that is laid down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_per_second: Option<f64>,
    /// Bytes of an answer's body, on average.
    pub answer_bytes: u64,
    /// Half of the answers came within this many milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 answers came within this many milliseconds.
    pub p99_ms: f64,
    /// The slowest answer, in milliseconds.
    pub max_ms: f64,
    /// Microseconds of processor time that an answer cost the server, if it can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_us: Option<f64>,
    /// Microseconds of processor time that an answer cost the load generator.
    pub generator_cpu_us: f64,
    /// The first error, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

/// What a process used at a point of the run, in megabytes of 2^20 bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// When.
    pub scenario: String,
    /// Which.
    pub process: String,
    /// Resident; absent when the process does not run where it can be seen.
    pub resident_mb: Option<f64>,
    /// Resident, its part of pages that are shared.
    pub proportional_mb: Option<f64>,
    /// What it should be, if that is laid down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_mb: Option<f64>,
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
    /// In the order in which it was looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<Memory>,
}

// === impl Figures ===

impl Figures {
    /// Sums up what the connections of a scenario saw in `elapsed`; `bytes` are those of all
    /// answers.
    #[must_use]
    pub fn new(samples: Vec<Sample>, elapsed: Duration, bytes: u64) -> Self {
        let connections = samples.len();
        let errors: usize = samples.iter().map(|sample| sample.errors.len()).sum();
        let first_error = samples.iter().find_map(|sample| sample.errors.first().cloned());
        let mut latencies: Vec<_> = samples.into_iter().flat_map(|s| s.latencies).collect();
        latencies.sort_unstable();
        let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |t| t.as_secs_f64() * 1e3);
        let quantile =
            |percent: usize| milliseconds(latencies.get(latencies.len() * percent / 100));
        Self {
            connections,
            answers: latencies.len(),
            errors,
            per_second: latencies.len() as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            answer_bytes: bytes.checked_div(latencies.len() as u64).unwrap_or(0),
            p50_ms: quantile(50),
            p99_ms: quantile(99),
            max_ms: milliseconds(latencies.last()),
            first_error,
            ..Self::default()
        }
    }

    /// The same under a name.
    #[must_use]
    pub fn named(mut self, scenario: &str) -> Self {
        scenario.clone_into(&mut self.scenario);
        self
    }
}

// === impl Memory ===

impl Memory {
    /// What a process used, if that could be seen.
    #[must_use]
    pub fn new(scenario: &str, process: &str, usage: Option<Usage>, target: Option<f64>) -> Self {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Self {
            scenario: scenario.to_owned(),
            process: process.to_owned(),
            resident_mb: usage.map(|usage| megabytes(usage.resident)),
            proportional_mb: usage.map(|usage| megabytes(usage.proportional)),
            target_mb: target,
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.scenarios.is_empty() {
            writeln!(
                f,
                "{:<42} {:<8} {:>5} {:>9} {:>6} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
                "SCENARIO",
                "FORMAT",
                "CONN",
                "ANSWERS",
                "ERRORS",
                "PER SECOND",
                "TARGET",
                "P50 ms",
                "P99 ms",
                "MAX ms",
                "SERVER us",
                "BENCH us"
            )?;
        }
        let figure =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        for row in &self.scenarios {
            writeln!(
                f,
                "{:<42} {:<8} {:>5} {:>9} {:>6} {:>11.1} {:>9} {:>9.3} {:>9.3} {:>9.3} {:>9} {:>9.1}",
                row.scenario,
                row.format,
                row.connections,
                row.answers,
                row.errors,
                row.per_second,
                row.target_per_second.map_or("-".to_owned(), |least| format!(">= {least}")),
                row.p50_ms,
                row.p99_ms,
                row.max_ms,
                figure(row.server_cpu_us),
                row.generator_cpu_us
            )?;
            if let Some(error) = &row.first_error {
                writeln!(f, "    first error: {error}")?;
            }
        }
        if !self.memory.is_empty() {
            writeln!(
                f,
                "{:<42} {:<24} {:>9} {:>9} {:>9}",
                "MEMORY", "PROCESS", "RSS MB", "PSS MB", "TARGET"
            )?;
        }
        for row in &self.memory {
            writeln!(
                f,
                "{:<42} {:<24} {:>9} {:>9} {:>9}",
                row.scenario,
                row.process,
                figure(row.resident_mb),
                figure(row.proportional_mb),
                row.target_mb.map_or("-".to_owned(), |most| format!("<= {most}")),
            )?;
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
        let figures = Figures::new(samples, Duration::from_secs(2), 1000);
        let seen = (figures.answers, figures.errors, figures.per_second, figures.connections);
        assert_eq!((seen, figures.answer_bytes), ((100, 1, 50.0, 2), 10));
        assert_eq!((figures.p50_ms, figures.p99_ms, figures.max_ms), (50.0, 99.0, 99.0));
        assert_eq!(figures.first_error.as_deref(), Some("no"));
    }
}
