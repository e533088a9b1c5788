//! What Ironclad is meant to reach, to stand beside what was measured. The figures are those of a
//! two-core machine that runs the load generator too.

use super::scenario::Scenario;

/// At least so many per second, in JSON and protobuf alike.
const PER_SECOND: [(Scenario, f64); 5] = [
    (Scenario::CreateOne, 2_000.0),
    (Scenario::CreateMany, 10_000.0),
    (Scenario::Get, 40_000.0),
    (Scenario::ListShort, 1_500.0),
    (Scenario::ListAll, 80.0),
];

/// At most so many megabytes (of 2^20 bytes): of the API server and of the whole control plane.
const MEGABYTES: [(Scenario, f64, Option<f64>); 2] =
    [(Scenario::MemoryIdle, 30.0, Some(60.0)), (Scenario::MemoryLoaded, 90.0, None)];

/// How many per second a scenario should reach.
pub(super) fn per_second(scenario: Scenario) -> Option<f64> {
    PER_SECOND.iter().find(|(known, _)| *known == scenario).map(|(_, least)| *least)
}

/// The most that the API server should use.
pub(super) fn server_megabytes(scenario: Scenario) -> Option<f64> {
    MEGABYTES.iter().find(|(known, ..)| *known == scenario).map(|(_, most, _)| *most)
}

/// The most that all of the control plane should use.
pub(super) fn megabytes(scenario: Scenario) -> Option<f64> {
    MEGABYTES.iter().find(|(known, ..)| *known == scenario).and_then(|(.., most)| *most)
}
