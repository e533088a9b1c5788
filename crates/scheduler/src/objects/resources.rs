//! Amounts of resources in integer units.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use machinery::quantity::Quantity;

/// CPU request assumed for containers without one when nodes are compared, as upstream.
pub(super) const DEFAULT_MILLI_CPU: i64 = 100;
/// Memory likewise.
pub(super) const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// An amount of each resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Millicores.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Number of Pods (allocatable only).
    pub pods: i64,
    /// Extended resources and huge pages, by name.
    pub scalar: Vec<(String, i64)>,
}

// === impl Resources ===

impl Resources {
    /// From a resource list of the API; quantities that do not parse count as zero, as the API server
    /// lets none through.
    pub fn from_list(list: &BTreeMap<String, Text>) -> Self {
        let mut resources = Resources::default();
        for (name, text) in list {
            let Ok(quantity) = Quantity::parse(&text.0) else {
                continue;
            };
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => resources.pods = quantity.value(),
                _ => resources.scalar.push((name.clone(), quantity.value())),
            }
        }
        resources
    }

    /// The amount of an extended resource.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalar.iter().find(|(n, _)| n == name).map_or(0, |(_, amount)| *amount)
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Resources) {
        self.combine(other, |a, b| a.saturating_add(b));
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Resources) {
        self.combine(other, |a, b| a.saturating_sub(b));
    }

    /// Raises each amount to that of `other`.
    pub fn raise(&mut self, other: &Resources) {
        self.combine(other, i64::max);
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalar.is_empty()
    }

    fn combine(&mut self, other: &Resources, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = with(self.pods, other.pods);
        for (name, amount) in &other.scalar {
            match self.scalar.iter_mut().find(|(n, _)| n == name) {
                Some((_, present)) => *present = with(*present, *amount),
                None => self.scalar.push((name.clone(), with(0, *amount))),
            }
        }
    }
}
