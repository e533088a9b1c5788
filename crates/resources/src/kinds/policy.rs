//! PodDisruptionBudgets.

use machinery::Value;
use machinery::field::{Error, ErrorList};

use super::forms;
use super::pod::scheduling;
use super::workloads::status::counts;
use super::workloads::{at_most_all, int_or_percent};
use crate::cursor::At;
use crate::strategy::{Ctx, Generation, Strategy};

const EVICTION_POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

/// The rules of PodDisruptionBudgets.
pub(super) struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(object).get("spec");
        let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
        if min.is_set() && max.is_set() {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(Error::invalid(&spec.path, spec.value.clone(), detail));
        }
        for limit in [min, max] {
            int_or_percent(&limit, &mut errors);
            at_most_all(&limit, &mut errors);
        }
        scheduling::label_selector(&spec.get("selector"), &mut errors);
        spec.get("unhealthyPodEvictionPolicy").set_to_one_of(&mut errors, &EVICTION_POLICIES);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        forms::conditions(&At::root(new).get("status").get("conditions"), &mut errors);
        let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        counts(new, &fields, &mut errors);
        errors
    }
}
