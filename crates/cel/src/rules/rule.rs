//! One rule: what it says, checked and compiled.

use std::sync::Arc;

use machinery::Value as Json;
use machinery::field::{Error, ErrorList, Path};

use super::field_path;
use crate::env::{Env, Program};
use crate::schema::Decl;
use crate::types::Type;

/// A rule that compiled.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) program: Program,
    pub(super) uses_old_self: bool,
    pub(super) optional_old_self: bool,
    /// The rule and the message as written, without the blanks around them.
    pub(super) text: String,
    pub(super) message: String,
    pub(super) message_expression: Option<(String, Program)>,
    pub(super) reason: Reason,
    /// Path of the error below the value.
    pub(super) field_path: Option<String>,
}

/// Which error a broken rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

const REASONS: [(&str, Reason); 4] = [
    ("FieldValueDuplicate", Reason::Duplicate),
    ("FieldValueForbidden", Reason::Forbidden),
    ("FieldValueInvalid", Reason::Invalid),
    ("FieldValueRequired", Reason::Required),
];

/// Whether a rule says nothing at all.
pub(super) fn is_blank(rule: &Json) -> bool {
    rule.get("rule").and_then(Json::as_str).is_none_or(|text| text.trim().is_empty())
}

/// Checks what does not need compiling.
pub(super) fn check_form(rule: &Json, schema: &Json, path: &Path, errors: &mut ErrorList) {
    let text = |name: &str| rule.get(name).and_then(Json::as_str).unwrap_or_default();
    let (message, trimmed) = (text("message"), text("message").trim());
    let trimmed_rule = text("rule").trim();
    if trimmed_rule.is_empty() {
        errors.push(Error::required(&path.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && trimmed.is_empty() {
        let detail = "message must be non-empty if specified";
        errors.push(Error::invalid(&path.child("message"), message, detail));
    } else if trimmed.contains(['\n', '\r']) {
        let detail = "message must not contain line breaks";
        errors.push(Error::invalid(&path.child("message"), message, detail));
    } else if trimmed_rule.contains(['\n', '\r']) && trimmed.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(Error::required(&path.child("message"), detail));
    }
    let expression = text("messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(Error::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = rule.get("reason").and_then(Json::as_str)
        && !REASONS.iter().any(|(name, _)| *name == reason)
    {
        let names = REASONS.map(|(name, _)| name);
        errors.push(Error::not_supported(&path.child("reason"), reason, &names));
    }
    let field_path = text("fieldPath");
    let at = path.child("fieldPath");
    if !field_path.is_empty() && field_path.trim().is_empty() {
        let detail = "fieldPath must be non-empty if specified";
        errors.push(Error::invalid(&at, field_path, detail));
    }
    if field_path.contains(['\n', '\r']) {
        errors.push(Error::invalid(&at, field_path, "fieldPath must not contain line breaks"));
    }
    if !field_path.is_empty() && field_path::normalize(field_path, schema).is_err() {
        errors.push(Error::invalid(&at, field_path, "fieldPath must be a valid path"));
    }
}

/// Compiles a rule and its message. What fails is an error; a rule can do without its message.
///
/// # Errors
/// What is wrong with the rule itself.
pub(super) fn compile(
    rule: &Json,
    schema: &Json,
    decl: &Arc<Decl>,
    path: &Path,
    errors: &mut ErrorList,
) -> Result<Rule, String> {
    let text = |name: &str| rule.get(name).and_then(Json::as_str).unwrap_or_default();
    let said_optional = rule.get("optionalOldSelf").and_then(Json::as_bool);
    let optional_old_self = said_optional.unwrap_or(false);
    let ty = decl.ty().clone();
    let old = if optional_old_self { Type::optional(ty.clone()) } else { ty.clone() };
    let env = Env::new().with("self", ty).with("oldSelf", old).with_sizes(decl.clone());
    let program = compiled(&env, text("rule"), &Type::Bool).inspect_err(|detail| {
        errors.push(Error::invalid(&path.child("rule"), rule.clone(), detail.as_str()));
    });
    let expression = text("messageExpression");
    let mut message = None;
    if !expression.trim().is_empty() {
        match compiled(&env, expression, &Type::String) {
            Ok(program) => message = Some((expression.to_owned(), program)),
            Err(detail) => {
                let at = path.child("messageExpression");
                errors.push(Error::invalid(&at, rule.clone(), detail));
            }
        }
    }
    let program = program?;
    let uses_old_self = program.uses("oldSelf");
    if let Some(said) = said_optional.filter(|_| !uses_old_self) {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.push(Error::invalid(&path.child("optionalOldSelf"), said, detail));
    }
    let reason = REASONS.iter().find(|(name, _)| *name == text("reason"));
    Ok(Rule {
        uses_old_self,
        program,
        optional_old_self,
        text: text("rule").trim().to_owned(),
        message: text("message").trim().to_owned(),
        message_expression: message,
        reason: reason.map_or(Reason::Invalid, |(_, reason)| *reason),
        field_path: field_path::normalize(text("fieldPath"), schema)
            .ok()
            .filter(|path| !path.is_empty()),
    })
}

fn compiled(env: &Env, text: &str, wanted: &Type) -> Result<Program, String> {
    let program = env.compile(text).map_err(|error| format!("compilation failed: {error}"))?;
    if program.result_type() == wanted {
        return Ok(program);
    }
    Err(match wanted {
        Type::Bool => "cel expression must evaluate to a bool",
        _ => "messageExpression must evaluate to a string",
    }
    .to_owned())
}

impl Rule {
    /// The message, or else the rule itself.
    pub(super) fn shown(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }

    /// What to say when the rule is broken and nothing computes a message.
    pub(super) fn default_message(&self) -> String {
        if self.message.is_empty() {
            format!("failed rule: {}", self.text)
        } else {
            self.message.clone()
        }
    }
}
