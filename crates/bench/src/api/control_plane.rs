//! The control plane's processes, where they run on this machine.

use std::time::Duration;

use super::scenario::Scenario;
use super::targets;
use crate::processes::{self, Usage};
use crate::report::Memory;

/// Other components and the ports on which they tell how they are.
const NEIGHBOURS: [(&str, u16); 2] =
    [("kube-controller-manager", 10257), ("kube-scheduler", 10259)];

/// Those that can be seen.
#[derive(Debug, Default)]
pub(super) struct ControlPlane {
    server: Option<u32>,
    /// In the order of [`NEIGHBOURS`], if they run beside the server.
    neighbours: Vec<(&'static str, u32)>,
}

impl ControlPlane {
    /// The server of this process id, and what runs beside it.
    pub(super) fn of(server: Option<u32>) -> Self {
        let beside = |(name, port)| Some((name, processes::listener(server?, port)?));
        Self { server, neighbours: NEIGHBOURS.into_iter().filter_map(beside).collect() }
    }

    /// The processor time that the server has used. None if the generator runs in the same process.
    pub(super) fn processor(&self) -> Option<Duration> {
        self.server.filter(|pid| *pid != std::process::id()).and_then(processes::processor)
    }

    /// What they use now.
    pub(super) fn memory(&self, scenario: Scenario, title: &str) -> Vec<Memory> {
        let server = self.server.and_then(processes::memory);
        let target = targets::server_megabytes(scenario);
        let mut rows = vec![Memory::new(title, "kube-apiserver", server, target)];
        let mut sum = server.unwrap_or_default();
        for (name, pid) in &self.neighbours {
            let usage = processes::memory(*pid);
            rows.push(Memory::new(title, name, usage, None));
            let Usage { resident, proportional } = usage.unwrap_or_default();
            sum.resident += resident;
            sum.proportional += proportional;
        }
        if self.neighbours.len() == NEIGHBOURS.len() {
            rows.push(Memory::new(title, "all", Some(sum), targets::megabytes(scenario)));
        }
        rows
    }
}
