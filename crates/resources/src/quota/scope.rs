//! Scopes: to which objects a quota is narrowed.

use std::fmt;

use machinery::Value;

/// One condition of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) scope: String,
    pub(super) operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// All conditions of a quota's spec.
pub(super) fn selectors(spec: &Value) -> Vec<Selector> {
    let scopes = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut all: Vec<Selector> = scopes
        .map(|scope| Selector {
            scope: scope.to_owned(),
            operator: Operator::Exists,
            values: Vec::new(),
        })
        .collect();
    let expressions = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    all.extend(expressions.map(Selector::of));
    all
}

impl Selector {
    /// From an expression of the API.
    pub(super) fn of(expression: &Value) -> Self {
        Self {
            scope: expression["scopeName"].as_str().unwrap_or_default().to_owned(),
            operator: match expression["operator"].as_str() {
                Some("In") => Operator::In,
                Some("NotIn") => Operator::NotIn,
                Some("DoesNotExist") => Operator::DoesNotExist,
                _ => Operator::Exists,
            },
            values: expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect(),
        }
    }

    /// Whether it selects what has this name, if it has one.
    pub(super) fn selects(&self, name: Option<&str>) -> bool {
        let is_listed = || name.is_some_and(|name| self.values.iter().any(|value| value == name));
        match self.operator {
            Operator::Exists => name.is_some(),
            Operator::DoesNotExist => name.is_none(),
            Operator::In => is_listed(),
            Operator::NotIn => !is_listed(),
        }
    }
}

/// `{PriorityClass In [high]}`
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{} {:?} [{}]}}", self.scope, self.operator, self.values.join(" "))
    }
}
