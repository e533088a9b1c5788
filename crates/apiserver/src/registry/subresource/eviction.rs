//! `pods/NAME/eviction`: a deletion that PodDisruptionBudgets may refuse.

use machinery::selector::LabelSelector;
use machinery::status::{Cause, Details, Status};
use machinery::{Value, meta, time};
use serde_json::json;

use super::{check_name, set_true, success};
use crate::registry::delete::check_preconditions;
use crate::registry::update::Source;
use crate::registry::{Context, DeleteOptions, Failure, Outcome, Registry, Target, WriteOptions};

/// Budgets that remember more evicted Pods than this are being overrun.
const MAX_DISRUPTED: usize = 2000;

impl Registry {
    pub(super) async fn evict(
        &self,
        context: &Context,
        target: &Target,
        eviction: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        check_name(target, &eviction, "Eviction")?;
        let eviction =
            self.admit_post(context, target, &target.name, "eviction", eviction, options).await?;
        let mut delete = match eviction.get("deleteOptions") {
            Some(options) if options.is_object() => DeleteOptions::from_value(options)?,
            _ => DeleteOptions::default(),
        };
        delete.dry_run |= options.dry_run;

        let pod_target = Target { subresource: String::new(), ..target.clone() };
        let pod = self.current(&pod_target).await?.value();
        if needs_budget(&pod) && !self.take_from_budget(&pod, delete.dry_run).await? {
            // It may go because it is not ready, and so must not have become it.
            let version = meta::resource_version(&pod).to_owned();
            delete.resource_version.get_or_insert(version);
        }
        let now = time::format(self.now());
        let mark = |mut pod: Value| {
            check_preconditions(&pod_target.resource, &pod_target, &delete, &pod)?;
            let condition = json!({
                "type": "DisruptionTarget",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            });
            set_true(&mut pod, condition, &now);
            Ok(pod)
        };
        let marked = self.rewrite(&pod_target, &mark, delete.dry_run).await?;
        if let (Some(version), Some(marked)) = (&mut delete.resource_version, marked) {
            *version = marked.resource_version().to_string();
        }
        self.delete(context, &pod_target, &delete).await?;
        Ok(success())
    }

    /// Counts the disruption in the budget of the Pod, if it has one. False where the Pod is not
    /// ready and the budget does not protect such Pods.
    async fn take_from_budget(&self, pod: &Value, dry_run: bool) -> Result<bool, Failure> {
        let namespace = meta::namespace(pod);
        let none = serde_json::Map::new();
        let labels = meta::labels(pod).unwrap_or(&none);
        let budgets: Vec<_> = self
            .cached_list("policy", "poddisruptionbudgets", namespace)
            .into_iter()
            .filter(|budget| {
                let selector = LabelSelector::from_value(budget.value()["spec"].get("selector"));
                selector.is_ok_and(|selector| selector.matches(labels))
            })
            .collect();
        let [budget] = budgets.as_slice() else {
            if budgets.is_empty() {
                return Ok(true);
            }
            let text = "This pod has more than one PodDisruptionBudget, which the eviction \
                        subresource does not support.";
            return Err(Status::internal(text).into());
        };
        if !is_ready(pod) && !protects_unready(&budget.value()) {
            return Ok(false);
        }
        let resource = self
            .resource("policy", "v1", "poddisruptionbudgets")
            .ok_or_else(|| Status::internal("poddisruptionbudgets are not served"))?;
        let mut target = Target::object(&resource, namespace, budget.name());
        target.subresource = "status".to_owned();
        let now = time::format(self.now());
        let change = |budget: &Value| disrupt(budget.clone(), meta::name(pod), &now);
        let options = WriteOptions { dry_run, ..WriteOptions::default() };
        let change = Source::Change(&change);
        self.change(&Context::internal(), &target, change, &options).await?;
        Ok(true)
    }
}

/// Pods that do not run, or are already going, disrupt nothing.
fn needs_budget(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && meta::deletion_timestamp(pod).is_none()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Whether Pods that are not ready count as disrupted: not under `AlwaysAllow`, nor while enough
/// others are healthy.
fn protects_unready(budget: &Value) -> bool {
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let desired = number("desiredHealthy");
    let enough = desired > 0 && number("currentHealthy") >= desired;
    budget["spec"]["unhealthyPodEvictionPolicy"] != "AlwaysAllow" && !enough
}

fn disrupt(mut budget: Value, pod: &str, now: &str) -> Result<Value, Failure> {
    let number = |budget: &Value, field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let name = meta::name(&budget).to_owned();
    let refuse = |cause: String| -> Result<Value, Failure> {
        let mut status = Status::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            0,
        );
        status.details = Some(Box::new(Details {
            causes: vec![Cause {
                reason: "DisruptionBudget".to_owned(),
                message: cause,
                field: String::new(),
            }],
            ..Details::default()
        }));
        Err(status.into())
    };
    if number(&budget, "observedGeneration") < meta::generation(&budget) {
        return refuse(format!(
            "The disruption budget {name} is still being processed by the server."
        ));
    }
    let allowed = number(&budget, "disruptionsAllowed");
    let disrupted = budget["status"]["disruptedPods"].as_object().map_or(0, |pods| pods.len());
    if disrupted > MAX_DISRUPTED {
        return refuse(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
                .to_owned(),
        );
    }
    if allowed <= 0 {
        return refuse(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number(&budget, "desiredHealthy"),
            number(&budget, "currentHealthy"),
        ));
    }
    budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if !budget["status"]["disruptedPods"].is_object() {
        budget["status"]["disruptedPods"] = json!({});
    }
    budget["status"]["disruptedPods"][pod] = now.into();
    Ok(budget)
}
