//! How fast Pods may be driven away, zone by zone. Pure.
//!
//! When most of a zone seems to be down, the fault is more likely in what observes than in the
//! nodes, so eviction slows down or stops.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;

use super::health::{Readiness, readiness};
use crate::Config;
use crate::object::Meta;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The zone of a node, unique among all regions.
pub(super) fn zone(node: &Node) -> String {
    let label = |key| node.label(key).unwrap_or_default();
    format!("{}/{}", label(REGION), label(ZONE))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Normal,
    Partial,
    Full,
}

/// Evictions a second that each zone may have now.
pub(super) fn rates<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    config: &Config,
) -> HashMap<String, f64> {
    let mut zones: HashMap<String, (usize, usize)> = HashMap::new();
    for node in nodes {
        let counts = zones.entry(zone(node)).or_default();
        if readiness(node) == Readiness::True {
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
    }
    let state = |(ready, not_ready): (usize, usize)| {
        #[allow(clippy::cast_precision_loss, reason = "counts of nodes are far below 2^52")]
        let part = not_ready as f64 / (ready + not_ready).max(1) as f64;
        if ready == 0 && not_ready > 0 {
            State::Full
        } else if not_ready > 2 && part >= config.unhealthy_zone_threshold {
            State::Partial
        } else {
            State::Normal
        }
    };
    let all_down = !zones.is_empty() && zones.values().all(|counts| state(*counts) == State::Full);
    zones
        .into_iter()
        .map(|(zone, counts)| {
            let rate = match state(counts) {
                _ if all_down => 0.0,
                State::Normal | State::Full => config.node_eviction_rate,
                State::Partial if counts.0 + counts.1 > config.large_cluster_size_threshold => {
                    config.secondary_node_eviction_rate
                }
                State::Partial => 0.0,
            };
            (zone, rate)
        })
        .collect()
}

/// When each zone last had an eviction.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    last: HashMap<String, Timestamp>,
}

impl Limiter {
    /// Takes the zone's next eviction if its time has come.
    pub(super) fn admit(&mut self, zone: &str, rate: f64, now: Timestamp) -> bool {
        if rate <= 0.0 {
            return false;
        }
        let due = self
            .last
            .get(zone)
            .is_none_or(|last| now.duration_since(*last).as_secs_f64() >= 1.0 / rate);
        if due {
            self.last.insert(zone.to_owned(), now);
        }
        due
    }
}
