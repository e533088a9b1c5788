//! The resources of a Pod that can be resized, apart from the rest of its spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::Quantity as Amount;
use serde::{Deserialize, Serialize};

use crate::pod::spec;

/// The resources of a Pod, with the names that upstream's checkpoints use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodResources {
    /// Those of its containers, by name. Ephemeral containers have none.
    #[serde(rename = "ContainerResources", default)]
    pub containers: BTreeMap<String, ResourceRequirements>,
    /// Those of the Pod as a whole.
    #[serde(
        rename = "PodLevelResources",
        alias = "podLevelResources",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub pod: Option<ResourceRequirements>,
}

// === impl PodResources ===

impl PodResources {
    /// What the spec of `pod` says.
    pub fn of(pod: &Pod) -> Self {
        let containers = resizable(pod)
            .map(|c| (c.name.clone(), c.resources.clone().unwrap_or_default()))
            .collect();
        Self { containers, pod: spec::spec(pod).resources.clone() }
    }

    /// Whether the spec of `pod` says the same, however its amounts are written.
    pub fn matches(&self, pod: &Pod) -> bool {
        let none = ResourceRequirements::default();
        let own = |resources: &Option<ResourceRequirements>| resources.clone().unwrap_or_default();
        same(&own(&self.pod), &own(&spec::spec(pod).resources))
            && resizable(pod).all(|container| {
                let here = self.containers.get(&container.name);
                here.is_none_or(|here| same(here, container.resources.as_ref().unwrap_or(&none)))
            })
    }

    /// `pod` with these resources in place of its own.
    pub fn applied(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if self.matches(pod) {
            return pod.clone();
        }
        let mut changed = Pod::clone(pod);
        if let Some(spec) = &mut changed.spec {
            spec.resources.clone_from(&self.pod);
            for container in
                spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten())
            {
                if let Some(resources) = self.containers.get(&container.name) {
                    container.resources = Some(resources.clone());
                }
            }
        }
        Arc::new(changed)
    }
}

/// Containers whose resources can be changed while the Pod is there.
pub fn resizable(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = spec::spec(pod);
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Whether two descriptions mean the same amounts.
pub fn same(one: &ResourceRequirements, other: &ResourceRequirements) -> bool {
    same_list(one.requests.as_ref(), other.requests.as_ref())
        && same_list(one.limits.as_ref(), other.limits.as_ref())
}

type List<'a> = Option<&'a BTreeMap<String, Quantity>>;

fn same_list(one: List<'_>, other: List<'_>) -> bool {
    let length = |list: List<'_>| list.map_or(0, BTreeMap::len);
    let amount = |quantity: &Quantity| Amount::parse(&quantity.0).unwrap_or_default();
    length(one) == length(other)
        && one.into_iter().flatten().all(|(name, quantity)| {
            let there = other.and_then(|other| other.get(name));
            there.is_some_and(|there| amount(there) == amount(quantity))
        })
}

/// `from` with the amounts that `to` has of one resource.
pub fn merged(
    from: &ResourceRequirements,
    to: &ResourceRequirements,
    resource: &str,
) -> ResourceRequirements {
    let mut merged = from.clone();
    let lists = [(&mut merged.requests, &to.requests), (&mut merged.limits, &to.limits)];
    for (list, to) in lists {
        match to.as_ref().and_then(|to| to.get(resource)) {
            Some(amount) => {
                list.get_or_insert_default().insert(resource.to_owned(), amount.clone());
            }
            None => {
                if let Some(list) = list {
                    list.remove(resource);
                }
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resources_are_taken_out_compared_and_put_back() {
        let pod = |cpu: &str, whole: &str| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(json!({"spec": {
                    "resources": {"limits": {"memory": whole}},
                    "initContainers": [{"name": "i"}],
                    "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
                }}))
                .unwrap(),
            )
        };
        let old = pod("1", "1Gi");
        let resources = PodResources::of(&old);
        assert!(resources.matches(&pod("1000m", "1024Mi")));
        for new in [pod("2", "1Gi"), pod("1", "2Gi")] {
            assert!(!resources.matches(&new));
            assert_eq!(PodResources::of(&resources.applied(&new)), resources);
        }
    }

    #[test]
    fn one_resource_moves_at_a_time() {
        let resources = |value| -> ResourceRequirements { serde_json::from_value(value).unwrap() };
        let from = resources(json!({"requests": {"cpu": "1", "memory": "1Gi"}}));
        let to = resources(json!({"requests": {"cpu": "2"}, "limits": {"memory": "3Gi"}}));
        let step = merged(&from, &to, "memory");
        let expected = json!({"requests": {"cpu": "1"}, "limits": {"memory": "3Gi"}});
        assert!(same(&step, &resources(expected)));
        assert!(same(&merged(&step, &to, "cpu"), &to));
    }
}
