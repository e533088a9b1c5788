//! What Ironclad is meant to reach, to stand beside what was measured. The figures are those of a
//! two-core machine that runs the load generator too.

use super::Scenario;

/// How much of the wanted figure is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    /// At least so many per second.
    PerSecond(f64),
    /// At most so many megabytes (of 2^20 bytes).
    Megabytes(f64),
}

/// The targets, in JSON and protobuf alike.
const TARGETS: [(Scenario, Aim); 7] = [
    (Scenario::MemoryIdle, Aim::Megabytes(30.0)),
    (Scenario::MemoryLoaded, Aim::Megabytes(90.0)),
    (Scenario::CreateOne, Aim::PerSecond(2_000.0)),
    (Scenario::CreateMany, Aim::PerSecond(10_000.0)),
    (Scenario::Get, Aim::PerSecond(40_000.0)),
    (Scenario::ListShort, Aim::PerSecond(1_500.0)),
    (Scenario::ListAll, Aim::PerSecond(80.0)),
];

/// The target of a scenario, if it has one.
pub(super) fn of(scenario: Scenario) -> Option<Aim> {
    TARGETS.iter().find(|(known, _)| *known == scenario).map(|(_, aim)| *aim)
}
