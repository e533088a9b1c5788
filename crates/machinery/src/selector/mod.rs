//! Label and field selectors: their text forms, their object form and matching.

mod fields;
mod parse;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::{Map, Value};

pub use self::fields::{FieldRequirement, FieldSelector, ParseFieldSelectorError};
pub use self::parse::ParseError;
use crate::{field, names};

/// A parsed label selector: all requirements must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    /// `None` selects nothing, an empty list everything.
    requirements: Option<Vec<Requirement>>,
}

/// What one requirement compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `key=value`
    Equals,
    /// `key==value`
    DoubleEquals,
    /// `key!=value`
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

/// An expression of the object form (`matchExpressions`), as the API spells it.
#[derive(Clone, Copy, Debug)]
pub struct Expression<'a> {
    /// The label's key.
    pub key: &'a str,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: &'a str,
    /// Values of `In` and `NotIn`.
    pub values: &'a [String],
}

/// Something that has labels.
pub trait Labels {
    /// The value of one label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for HashMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for [(&str, &str)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }
}

impl<L: Labels + ?Sized> Labels for Option<&L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.and_then(|labels| labels.label(key))
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Selects every object.
    pub const fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects no object; what a missing selector object means.
    pub const fn nothing() -> Self {
        Self { requirements: None }
    }

    /// A selector of the given requirements.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut requirements: Vec<_> = requirements.into_iter().collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Parses `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// With upstream's text for whatever does not fit the grammar or the form of labels.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text)
    }

    /// Every label of the set must be there with its value; no validation.
    pub fn from_set<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::new(labels.into_iter().map(|(key, value)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: vec![value.to_owned()],
        }))
    }

    /// From `matchLabels` and `matchExpressions`.
    ///
    /// # Errors
    /// When an operator is unknown or a requirement is malformed.
    pub fn from_parts<'a>(
        match_labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        expressions: impl IntoIterator<Item = Expression<'a>>,
    ) -> Result<Self, ParseError> {
        let mut requirements = Vec::new();
        for (key, value) in match_labels {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.to_owned()])?);
        }
        for expression in expressions {
            let operator = match expression.operator {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let text =
                        format!("{} is not a valid label selector operator", field::quote(other));
                    return Err(ParseError::new(text));
                }
            };
            requirements.push(Requirement::new(
                expression.key,
                operator,
                expression.values.to_vec(),
            )?);
        }
        Ok(Self::new(requirements))
    }

    /// From a `meta/v1` LabelSelector: absent or null selects nothing, `{}` everything.
    ///
    /// # Errors
    /// As [`LabelSelector::from_parts`].
    pub fn from_value(selector: Option<&Value>) -> Result<Self, ParseError> {
        let Some(selector) = selector.and_then(Value::as_object) else {
            return Ok(Self::nothing());
        };
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        let labels =
            labels.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        let items = selector.get("matchExpressions").and_then(Value::as_array);
        let values: Vec<(&str, &str, Vec<String>)> = items
            .into_iter()
            .flatten()
            .map(|item| {
                let text = |name| item.get(name).and_then(Value::as_str).unwrap_or_default();
                let values = item.get("values").and_then(Value::as_array);
                let values = values.into_iter().flatten().filter_map(Value::as_str);
                (text("key"), text("operator"), values.map(str::to_owned).collect())
            })
            .collect();
        let expressions =
            values.iter().map(|(key, operator, values)| Expression { key, operator, values });
        Self::from_parts(labels, expressions)
    }

    /// From a map of labels as ReplicationControllers and Services have it: null or empty selects
    /// nothing.
    pub fn from_map(selector: Option<&Value>) -> Self {
        match selector.and_then(Value::as_object).filter(|map| !map.is_empty()) {
            None => Self::nothing(),
            Some(map) => Self::from_set(
                map.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())),
            ),
        }
    }

    /// Whether labels satisfy every requirement.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|r| r.matches(labels)))
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether no object is selected whatever its labels.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

impl Default for LabelSelector {
    fn default() -> Self {
        Self::everything()
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements().iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

// === impl Requirement ===

impl Requirement {
    /// A requirement, checked.
    ///
    /// # Errors
    /// When key, number of values or a value does not fit.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, ParseError> {
        let mut errors = field::ErrorList::new();
        let path = field::Path::new("values");
        let messages = names::qualified_name(key);
        if !messages.is_empty() {
            errors.push(field::Error::invalid(&field::Path::new("key"), key, messages.join("; ")));
        }
        let list = || Value::from(values.clone());
        let mut wrong = |detail: &str| errors.push(field::Error::invalid(&path, list(), detail));
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                wrong("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::In | Operator::NotIn => {}
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals => {
                if values.len() != 1 {
                    wrong("exact-match compatibility requires one single value");
                }
            }
            Operator::Exists | Operator::DoesNotExist => {
                if !values.is_empty() {
                    wrong("values set must be empty for exists and does not exist");
                }
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    wrong("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (i, value) in values.iter().enumerate() {
                    if value.parse::<i64>().is_err() {
                        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                        let error = field::Error::invalid(&path.index(i), value.as_str(), detail);
                        errors.push(error);
                    }
                }
            }
        }
        for (i, value) in values.iter().enumerate() {
            let messages = names::label_value(value);
            if !messages.is_empty() {
                let path = path.index(i).key(key);
                let error = field::Error::invalid(&path, value.as_str(), messages.join("; "));
                errors.push(error);
            }
        }
        if !errors.is_empty() {
            return Err(ParseError::new(errors.aggregate()));
        }
        values.sort();
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The operator.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values, sorted.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        let label = labels.label(&self.key);
        let listed = |label: &str| self.values.iter().any(|v| v == label);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let left = label.and_then(|l| l.parse::<i64>().ok());
                let right = self.values.first().and_then(|v| v.parse::<i64>().ok());
                match (left, right) {
                    (Some(l), Some(r)) if self.operator == Operator::GreaterThan => l > r,
                    (Some(l), Some(r)) => l < r,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let joined = || self.values.join(",");
        match self.operator {
            Operator::Equals => write!(f, "{key}={}", joined()),
            Operator::DoubleEquals => write!(f, "{key}=={}", joined()),
            Operator::NotEquals => write!(f, "{key}!={}", joined()),
            Operator::In => write!(f, "{key} in ({})", joined()),
            Operator::NotIn => write!(f, "{key} notin ({})", joined()),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{}", joined()),
            Operator::LessThan => write!(f, "{key}<{}", joined()),
        }
    }
}

#[cfg(test)]
mod tests;
