//! Quotas: what objects use, which quotas that concerns, and what is left,
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>. Pure; admission and the
//! controller both decide by it.

mod charge;
mod evaluator;
mod limited;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use machinery::Value;
use machinery::quantity::Quantity;
use serde_json::Map;

pub use charge::{Change, Charge, charge};
pub use evaluator::Evaluator;
pub use limited::Limited;
use scope::Selector;

/// Amounts by name of resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// A ResourceQuota as far as it is used here.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// What it allows, as the controller has last seen it.
    pub hard: Amounts,
    /// What is used.
    pub used: Amounts,
    /// What it should allow.
    pub wanted: Amounts,
    selectors: Vec<Selector>,
}

// === impl Quota ===

impl Quota {
    /// From the API object.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let status = &object["status"];
        Self {
            name: machinery::meta::name(object).to_owned(),
            hard: amounts(&status["hard"]),
            used: amounts(&status["used"]),
            wanted: amounts(&spec["hard"]),
            selectors: scope::selectors(spec),
        }
    }

    /// Whether it concerns an object: it limits something that the object uses, and the object is
    /// within its scopes.
    fn concerns(&self, evaluator: &Evaluator, object: &Value, hard: &Amounts) -> bool {
        hard.keys().any(|name| evaluator.counts(name))
            && self.selectors.iter().all(|selector| evaluator.is_in_scope(selector, object))
    }

    /// What is used of what it should allow, given all objects of the resources that
    /// [`Quota::evaluators`] names. What nobody counts is left out.
    #[must_use]
    pub fn usage<'o>(
        &self,
        evaluators: &[Evaluator],
        mut objects: impl FnMut(&Evaluator) -> Vec<&'o Value>,
        now: machinery::time::Timestamp,
    ) -> Amounts {
        let mut used = Amounts::new();
        for evaluator in evaluators {
            let names: Vec<&String> =
                self.wanted.keys().filter(|name| evaluator.counts(name)).collect();
            if names.is_empty() {
                continue;
            }
            for name in &names {
                used.entry((*name).clone()).or_default();
            }
            for object in objects(evaluator) {
                if !self.concerns(evaluator, object, &self.wanted) {
                    continue;
                }
                let usage = evaluator.usage(object, now);
                for name in &names {
                    if let Some(amount) = usage.get(*name) {
                        *used.entry((*name).clone()).or_default() += *amount;
                    }
                }
            }
        }
        used
    }

    /// The evaluators of everything that it limits.
    #[must_use]
    pub fn evaluators(&self) -> Vec<Evaluator> {
        let mut found: Vec<Evaluator> = Vec::new();
        for name in self.wanted.keys() {
            if let Some(evaluator) = Evaluator::that_counts(name)
                && !found.contains(&evaluator)
            {
                found.push(evaluator);
            }
        }
        found
    }
}

/// The amounts in a list of the API.
#[must_use]
pub fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_value(amount)?)))
        .collect()
}

/// A list of the API.
#[must_use]
pub fn to_value(amounts: &Amounts) -> Value {
    let entries = amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
    Value::Object(entries.collect::<Map<String, Value>>())
}

/// `cpu=1,memory=1Gi`
fn shown(amounts: &Amounts, names: &[&String]) -> String {
    let amounts = amounts.iter().filter(|(name, _)| names.contains(name));
    amounts.map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}
