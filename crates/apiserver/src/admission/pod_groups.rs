//! PodGroupWorkloadExists: a group of Pods is made from a template that exists.

use machinery::Value;

use super::{Plugin, forbidden, is};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "scheduling.k8s.io";

/// Checks new PodGroups.
pub(super) struct PodGroups;

impl Plugin for PodGroups {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        if !is(attributes, Operation::Create, GROUP, "podgroups") {
            return Ok(());
        }
        let Some(group) = &attributes.object else { return Ok(()) };
        let reference = &group["spec"]["podGroupTemplateRef"]["workload"];
        let Some(name) = reference["workloadName"].as_str() else { return Ok(()) };
        let workload = attributes.registry.cached(GROUP, "workloads", attributes.namespace, name);
        let template = reference["podGroupTemplateName"].as_str().unwrap_or_default();
        check(name, template, workload.map(|workload| workload.value()).as_ref())
            .map_err(|why| forbidden(attributes, why))
    }
}

fn check(name: &str, template: &str, workload: Option<&Value>) -> Result<(), String> {
    let Some(workload) = workload else {
        return Err(format!("PodGroup rejected: Workload {name:?} not found"));
    };
    let mut templates = workload["spec"]["podGroupTemplates"].as_array().into_iter().flatten();
    if templates.any(|one| one["name"] == template) {
        return Ok(());
    }
    Err(format!("PodGroup rejected: PodGroupTemplate {template:?} not found in Workload {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_exist() {
        let workload = json!({"spec": {"podGroupTemplates": [{"name": "a"}]}});
        check("w", "a", Some(&workload)).unwrap();
        assert_eq!(
            check("w", "b", Some(&workload)).unwrap_err(),
            "PodGroup rejected: PodGroupTemplate \"b\" not found in Workload \"w\""
        );
        assert_eq!(
            check("w", "a", None).unwrap_err(),
            "PodGroup rejected: Workload \"w\" not found"
        );
    }
}
