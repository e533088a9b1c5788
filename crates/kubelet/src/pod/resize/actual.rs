//! What a container has, for its status: what it was allocated, with what the runtime says that it
//! enforces in place of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::Quantity as Amount;

use crate::cgroup::resources::{MIN_MILLI_LIMIT, MIN_SHARES, milli_value};
use crate::runtime::records::{ContainerRecord, State};

type List = BTreeMap<String, Quantity>;

/// The resources of `container` with what it was allocated; `before` is its status as last told,
/// if it is about the same instance.
pub fn resources(
    container: &Container,
    record: &ContainerRecord,
    actuated: Option<&ResourceRequirements>,
    before: Option<&ContainerStatus>,
) -> ResourceRequirements {
    let mut shown = container.resources.clone().unwrap_or_default();
    if record.state != State::Running {
        return shown;
    }
    let applied = record.applied.clone().unwrap_or_default();
    let before = before
        .filter(|before| before.state.as_ref().is_some_and(|state| state.running.is_some()))
        .and_then(|before| before.resources.as_ref());
    if let Some(limits) = &mut shown.limits {
        let old = before.and_then(|before| before.limits.as_ref());
        let cpu = applied.cpu_limit.map(|millis| (millis, Amount::from_millis(millis)));
        put(limits, "cpu", cpu, MIN_MILLI_LIMIT, old);
        let memory = applied.memory_limit.map(|bytes| (i64::MAX, Amount::from_bytes(bytes)));
        put(limits, "memory", memory, 0, old);
    }
    if let Some(requests) = &mut shown.requests {
        let old = before.and_then(|before| before.requests.as_ref());
        let cpu = applied.cpu_request.map(|millis| (millis, Amount::from_millis(millis)));
        put(requests, "cpu", cpu, MIN_SHARES, old);
        // No runtime knows it: it is what it was started with, or told since.
        let told = actuated.and_then(|actuated| actuated.requests.as_ref()?.get("memory"));
        if let (Some(memory), Some(told)) = (requests.get_mut("memory"), told) {
            memory.clone_from(told);
        }
    }
    shown
}

/// Puts what is enforced in place of what was allocated. What the kernel has a minimum for is shown
/// as it was allocated while both are below; what the runtime does not tell stays as it was told.
fn put(
    list: &mut List,
    resource: &str,
    enforced: Option<(i64, Amount)>,
    minimum: i64,
    old: Option<&List>,
) {
    match enforced {
        Some((millis, amount)) => {
            let allocated = list.get(resource).map_or(0, milli_value);
            if millis > minimum || allocated > minimum {
                list.insert(resource.to_owned(), Quantity(amount.to_string()));
            }
        }
        None => {
            let old = old.and_then(|old| old.get(resource));
            if let (Some(old), Some(here)) = (old, list.get_mut(resource)) {
                here.clone_from(old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::records::Applied;
    use serde_json::{Value, json};

    fn requirements(value: Value) -> ResourceRequirements {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_the_runtime_enforces_is_shown() {
        let check = |allocated: Value, state, applied: Option<Applied>, expected: Value| {
            let resources = Some(requirements(allocated));
            let container = Container { name: "c".into(), resources, ..Default::default() };
            let record = ContainerRecord { state, applied, ..Default::default() };
            let told = requirements(json!({"requests": {"memory": "32Mi"}}));
            let before = ContainerStatus {
                state: Some(serde_json::from_value(json!({"running": {}})).unwrap()),
                resources: Some(requirements(json!({"limits": {"cpu": "7"}}))),
                ..Default::default()
            };
            let shown = super::resources(&container, &record, Some(&told), Some(&before));
            assert_eq!(serde_json::to_value(shown).unwrap(), expected);
        };
        let both = json!({"requests": {"cpu": "200m", "memory": "64Mi"},
            "limits": {"cpu": "200m", "memory": "64Mi"}});
        let applied = |cpu_request, cpu_limit, memory_limit| {
            Some(Applied { cpu_request, cpu_limit, memory_limit })
        };
        check(both.clone(), State::Exited, None, both.clone());
        check(
            both.clone(),
            State::Running,
            applied(Some(100), Some(150), Some(32 << 20)),
            json!({"requests": {"cpu": "100m", "memory": "32Mi"},
                "limits": {"cpu": "150m", "memory": "32Mi"}}),
        );
        check(
            json!({"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}}),
            State::Running,
            applied(Some(2), Some(10), None),
            json!({"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}}),
        );
        // The limit of the Pod stands in for that of a container which has none of its own.
        check(
            json!({"limits": {"cpu": "1"}}),
            State::Running,
            applied(None, None, Some(1 << 20)),
            json!({"limits": {"cpu": "7", "memory": "1Mi"}}),
        );
        check(json!({}), State::Running, applied(Some(2), None, None), json!({}));
    }
}
