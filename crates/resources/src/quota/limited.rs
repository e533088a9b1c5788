//! What may be used only where a quota covers it,
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default>.

use std::collections::BTreeSet;

use machinery::Value;

use super::scope::Selector;
use super::{Amounts, Evaluator, Quota};

/// Uses of one resource that nobody makes without a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    group: String,
    resource: String,
    /// Parts of the names of what is limited.
    contains: Vec<String>,
    selectors: Vec<Selector>,
}

// === impl Limited ===

impl Limited {
    /// From an entry of `limitedResources` in a ResourceQuotaConfiguration.
    #[must_use]
    pub fn of(entry: &Value) -> Self {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let list = |field: &str| entry[field].as_array().into_iter().flatten();
        Self {
            group: text("apiGroup"),
            resource: text("resource"),
            contains: list("matchContains").filter_map(|v| v.as_str().map(str::to_owned)).collect(),
            selectors: list("matchScopes").map(Selector::of).collect(),
        }
    }

    /// Whether it limits the resource that is counted.
    #[must_use]
    pub fn concerns(&self, evaluator: &Evaluator) -> bool {
        evaluator.resource() == (self.group.as_str(), self.resource.as_str())
    }
}

/// Checks that quotas cover all limited uses of an object. `concerned` are those of them that limit
/// something that the object uses.
///
/// # Errors
/// What is not covered.
pub(super) fn check(
    limited: &[Limited],
    (evaluator, object): (&Evaluator, &Value),
    usage: &Amounts,
    quotas: &[Quota],
    concerned: &[usize],
) -> Result<(), String> {
    let limited: Vec<&Limited> = limited.iter().filter(|one| one.concerns(evaluator)).collect();
    let is_limited =
        |name: &str| limited.iter().any(|one| one.contains.iter().any(|part| name.contains(part)));
    let covered: BTreeSet<&str> = concerned
        .iter()
        .flat_map(|index| quotas[*index].hard.keys().map(String::as_str))
        .filter(|name| evaluator.counts(name))
        .collect();
    let open: Vec<&str> = usage
        .iter()
        .filter(|(_, amount)| !amount.is_zero() && !amount.is_negative())
        .map(|(name, _)| name.as_str())
        .filter(|name| is_limited(name) && !covered.contains(name))
        .collect();
    if !open.is_empty() {
        return Err(format!("insufficient quota to consume: {}", open.join(",")));
    }
    let matching = |selector: &&Selector| evaluator.is_in_scope(selector, object);
    let scopes: BTreeSet<&str> = quotas
        .iter()
        .flat_map(|quota| quota.selectors.iter().filter(matching))
        .map(|selector| selector.scope.as_str())
        .collect();
    let open: Vec<String> = limited
        .iter()
        .flat_map(|one| one.selectors.iter().filter(matching))
        .filter(|selector| !scopes.contains(selector.scope.as_str()))
        .map(ToString::to_string)
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(format!("insufficient quota to match these scopes: [{}]", open.join(" ")))
}
