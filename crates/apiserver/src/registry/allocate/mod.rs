//! Cluster IPs and node ports: given out with the write of a Service, taken back with its end.
//!
//! What is in use follows from the stored Services, so it is kept in memory only and worked out
//! anew at start.

mod pool;
mod service;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use machinery::Value;
use machinery::field::ErrorList;
use machinery::status::Status;

use self::pool::Pools;
pub use self::pool::{ParseRangeError, Ranges};
use super::{Failure, Registry, Resource};

/// Something that only one Service can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Unit {
    Ip(Ipv4Addr),
    Port(u16),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Allocators(Arc<Mutex<Pools>>);

impl Allocators {
    pub(super) fn new(ranges: Ranges) -> Self {
        Self(Arc::new(Mutex::new(Pools::new(ranges))))
    }

    /// Notes what stored Services use.
    pub(super) fn take_in(&self, services: impl Iterator<Item = Value>) {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for service in services {
            for unit in service::units(&service) {
                pools.used.insert(unit);
            }
        }
    }
}

/// What a write has been given. Taken back again unless the write is made.
#[derive(Debug, Default)]
pub(super) struct Allocation {
    pools: Option<Arc<Mutex<Pools>>>,
    taken: Vec<Unit>,
    /// Free once the write is made.
    no_longer: Vec<Unit>,
}

impl Allocation {
    /// The write was made.
    pub(super) fn keep(mut self) {
        self.taken = std::mem::take(&mut self.no_longer);
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if let Some(pools) = &self.pools {
            let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
            for unit in self.taken.drain(..) {
                pools.used.remove(&unit);
            }
        }
    }
}

impl Registry {
    /// Gives a new or changed Service what it needs, and notes what it needs no more.
    pub(super) fn allocate(
        &self,
        resource: &Resource,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Allocation, Failure> {
        if resource.storage.prefix != "services/specs" {
            return Ok(Allocation::default());
        }
        let mut errors = ErrorList::new();
        let pools = self.0.allocators.0.clone();
        let taken = {
            let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
            pools.log.clear();
            service::fill_in(new, old, &mut pools, &mut errors);
            std::mem::take(&mut pools.log)
        };
        let owned = old.map(service::units).into_iter().flatten();
        let needed: HashSet<Unit> = service::units(new).collect();
        let no_longer = owned.filter(|unit| !needed.contains(unit)).collect();
        let allocation = Allocation { pools: Some(pools), taken, no_longer };
        if !errors.is_empty() {
            let name = machinery::meta::name(new);
            return Err(Status::invalid(&resource.group_kind(), name, &errors).into());
        }
        Ok(allocation)
    }

    /// Takes back what a deleted Service had.
    pub(super) fn release(&self, resource: &Resource, object: &Value) {
        if resource.storage.prefix == "services/specs" {
            let mut pools = self.0.allocators.0.lock().unwrap_or_else(PoisonError::into_inner);
            for unit in service::units(object) {
                pools.used.remove(&unit);
            }
        }
    }
}

#[cfg(test)]
mod tests;
