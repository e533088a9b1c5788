//! Fields that hold a number or a text: ports and percentages.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text, such as a port's name or a percentage.
    String(String),
}

/// Which way a part of a whole is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// To the next larger number.
    Up,
    /// To the next smaller number.
    Down,
}

/// A text that is not a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: invalid type: string is not a percentage")]
pub struct NotAPercentage;

// === impl IntOrString ===

impl IntOrString {
    /// From a field's JSON value.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(n) => n.as_i64().and_then(|n| i32::try_from(n).ok()).map(Self::Int),
            Value::String(s) => Some(Self::String(s.clone())),
            _ => None,
        }
    }

    /// The number itself, or the percentage of `total`.
    ///
    /// # Errors
    /// When the text is no percentage.
    pub fn scaled(&self, total: i32, round: Round) -> Result<i32, NotAPercentage> {
        match self {
            Self::Int(n) => Ok(*n),
            Self::String(text) => {
                let percent: i64 = text
                    .strip_suffix('%')
                    .and_then(|digits| digits.parse().ok())
                    .ok_or(NotAPercentage)?;
                let product = percent.saturating_mul(i64::from(total));
                let scaled = match round {
                    Round::Up => product.saturating_add(99).div_euclid(100),
                    Round::Down => product.div_euclid(100),
                };
                Ok(i32::try_from(scaled).unwrap_or(i32::MAX))
            }
        }
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::String(s) => f.write_str(s),
        }
    }
}

impl From<i32> for IntOrString {
    fn from(n: i32) -> Self {
        Self::Int(n)
    }
}

impl From<&str> for IntOrString {
    fn from(s: &str) -> Self {
        Self::String(s.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling() {
        let check = |value: IntOrString, total, up, down| {
            assert_eq!(value.scaled(total, Round::Up), Ok(up), "{value}");
            assert_eq!(value.scaled(total, Round::Down), Ok(down), "{value}");
        };
        check(3.into(), 10, 3, 3);
        check("25%".into(), 10, 3, 2);
        check("100%".into(), 7, 7, 7);
        check("0%".into(), 7, 0, 0);
        assert_eq!(IntOrString::from("x").scaled(1, Round::Up), Err(NotAPercentage));
    }
}
