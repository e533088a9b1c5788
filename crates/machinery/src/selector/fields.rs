//! Field selectors: `metadata.name=a,status.phase!=Running`.

use std::fmt;

use crate::field;

/// A parsed field selector: all requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// The field's name as the API calls it, such as `spec.nodeName`.
    pub field: String,
    /// The wanted, or unwanted, value.
    pub value: String,
    /// Whether the value must differ.
    pub negated: bool,
}

/// A selector text that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseFieldSelectorError(String);

// === impl FieldSelector ===

impl FieldSelector {
    /// Selects every object.
    pub const fn everything() -> Self {
        Self { requirements: Vec::new() }
    }

    /// Selects one object by name.
    pub fn name(name: &str) -> Self {
        let requirement = FieldRequirement {
            field: "metadata.name".to_owned(),
            value: name.to_owned(),
            negated: false,
        };
        Self { requirements: vec![requirement] }
    }

    /// Parses comma-joined terms; `\\`, `\,` and `\=` stand for the character itself in values.
    ///
    /// # Errors
    /// When a term has no operator or an escape is unknown.
    pub fn parse(text: &str) -> Result<Self, ParseFieldSelectorError> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let Some((name, value, negated)) = split_term(term) else {
                let text = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(ParseFieldSelectorError(text));
            };
            let value = unescape(value)?;
            requirements.push(FieldRequirement { field: name.to_owned(), value, negated });
        }
        requirements.sort_by(|a, b| a.field.cmp(&b.field));
        Ok(Self { requirements })
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements, sorted by field.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The requirements on fields of which `is_first` holds, and those on the others.
    #[must_use]
    pub fn split(self, mut is_first: impl FnMut(&str) -> bool) -> (Self, Self) {
        let (first, others) = self.requirements.into_iter().partition(|r| is_first(&r.field));
        (Self { requirements: first }, Self { requirements: others })
    }

    /// The one value that `field` must have, if the selector says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.field == field && !r.negated).map(|r| r.value.as_str())
    }

    /// Whether an object is selected whose fields `value_of` tells; absent fields are empty.
    pub fn matches<'a>(&self, mut value_of: impl FnMut(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|r| (value_of(&r.field).unwrap_or_default() == r.value) != r.negated)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let operator = if r.negated { "!=" } else { "=" };
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", r.field)?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// The first operator splits the term.
fn split_term(term: &str) -> Option<(&str, &str, bool)> {
    let at = term.find(['=', '!'])?;
    let mut from = at;
    loop {
        let rest = &term[from..];
        if let Some(value) = rest.strip_prefix("!=") {
            return Some((&term[..from], value, true));
        }
        if let Some(value) = rest.strip_prefix("==") {
            return Some((&term[..from], value, false));
        }
        if let Some(value) = rest.strip_prefix('=') {
            return Some((&term[..from], value, false));
        }
        from += 1 + term[from + 1..].find(['=', '!'])?;
    }
}

fn unescape(value: &str) -> Result<String, ParseFieldSelectorError> {
    if !value.contains(['\\', ',', '=']) {
        return Ok(value.to_owned());
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let bad: String = ['\\'].into_iter().chain(other).collect();
                    let text = format!("invalid field selector: invalid escape sequence: {bad}");
                    return Err(ParseFieldSelectorError(text));
                }
            },
            ',' | '=' => {
                let text = format!(
                    "invalid field selector: unescaped character in value: {}",
                    field::quote(&c.to_string()).replace('"', "")
                );
                return Err(ParseFieldSelectorError(text));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
