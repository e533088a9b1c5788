//! Admission policies written as expressions, and their bindings.

use std::collections::BTreeSet;

use cel::policy::{Conditions, Mutating, Validating};
use machinery::field::{Error, ErrorList};
use machinery::gvk::GroupVersion;
use machinery::{Value, meta, names};
use serde_json::json;

use super::{check_rule, match_conditions};
use crate::cursor::{At, items_mut, same, set_default};
use crate::kinds::forms;
use crate::kinds::pod::scheduling;
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// A deletion leaves nothing to change.
const MUTABLE_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// The rules of validating and mutating admission policies.
pub(in crate::kinds) struct Policy {
    pub(in crate::kinds) mutating: bool,
}

impl Strategy for Policy {
    fn default(&self, policy: &mut Value) {
        let Some(spec) = policy.get_mut("spec").filter(|s| s.is_object()) else { return };
        set_default(spec, "failurePolicy", "Fail");
        default_matching(spec, "matchConstraints");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, policy: &Value) -> ErrorList {
        self.check(policy, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.check(new, Some(old))
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        for warning in status.get("typeChecking").get("expressionWarnings").list() {
            warning.get("warning").must(&mut errors);
            let field = warning.get("fieldRef");
            if field.str().trim().is_empty() {
                field.required(&mut errors, "");
            }
        }
        forms::conditions(&status.get("conditions"), &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl Policy {
    fn check(&self, policy: &Value, old: Option<&Value>) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(policy).get("spec");
        policy_of_failures(&spec, &mut errors);
        if spec.get("paramKind").is_set() {
            param_kind(&spec.get("paramKind"), &mut errors);
        }
        let constraints = spec.get("matchConstraints");
        if constraints.is_set() {
            matching(&constraints, &mut errors);
            constraints.get("resourceRules").must(&mut errors);
            if self.mutating {
                mutable_operations(&constraints, &mut errors);
            }
        } else {
            constraints.required(&mut errors, "");
        }
        let unchanged = old.is_some_and(|old| {
            let before = At::root(old).get("spec");
            ["paramKind", "matchConditions"]
                .iter()
                .all(|field| same(spec.get(field).value, before.get(field).value))
        });
        if !unchanged {
            let conditions = spec.get("matchConditions");
            match_conditions(&conditions, &mut errors);
            Conditions::new(spec.value).check(&conditions.path, &mut errors);
        }
        for variable in spec.get("variables").list() {
            check_variable(&variable, &mut errors);
        }
        if self.mutating {
            mutations(&spec, &mut errors);
            Mutating::new(spec.value).check(&spec.path, &mut errors);
        } else {
            validations(&spec, meta::name(policy), &mut errors);
            Validating::new(spec.value).check(&spec.path, &mut errors);
        }
        errors
    }
}

fn policy_of_failures(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.get("failurePolicy");
    if !policy.is_set() {
        policy.required(errors, "");
    }
    policy.set_to_one_of(errors, &["Fail", "Ignore"]);
}

fn mutable_operations(criteria: &At<'_>, errors: &mut ErrorList) {
    // Upstream's path has no indexes.
    let path = criteria.path.child("resourceRules").child("operations");
    let rules = criteria.get("resourceRules");
    for operation in rules.list().flat_map(|rule| rule.get("operations").list()) {
        At::new(operation.value, path.clone()).set_to_one_of(errors, &MUTABLE_OPERATIONS);
    }
}

/// Defaults of what a policy or binding is about.
fn default_matching(spec: &mut Value, field: &str) {
    let Some(criteria) = spec.get_mut(field).filter(|c| c.is_object()) else { return };
    set_default(criteria, "matchPolicy", "Equivalent");
    set_default(criteria, "namespaceSelector", json!({}));
    set_default(criteria, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in items_mut(criteria, list) {
            set_default(rule, "scope", "*");
        }
    }
}

fn matching(criteria: &At<'_>, errors: &mut ErrorList) {
    let policy = criteria.get("matchPolicy");
    if !policy.is_set() {
        policy.required(errors, "");
    }
    policy.set_to_one_of(errors, &["Equivalent", "Exact"]);
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = criteria.get(field);
        if selector.is_set() {
            scheduling::label_selector(&selector, errors);
        } else {
            selector.required(errors, "");
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in criteria.get(list).list() {
            let mut taken = BTreeSet::new();
            for name in rule.get("resourceNames").list() {
                name.form(errors, names::path_segment);
                if !taken.insert(name.str()) {
                    name.duplicate(errors);
                }
            }
            check_rule(&rule, errors);
        }
    }
}

fn param_kind(kind: &At<'_>, errors: &mut ErrorList) {
    let version = kind.get("apiVersion");
    if version.must(errors) {
        match GroupVersion::parse(version.str()) {
            Err(_) => {
                let detail = format!("unexpected GroupVersion string: {}", version.str());
                version.invalid(errors, detail);
            }
            Ok(parsed) => {
                let mut check = |part: &str, messages: Vec<String>| {
                    if !messages.is_empty() {
                        let detail = messages.join(",");
                        errors.push(Error::invalid(&version.path, part, detail));
                    }
                };
                if !parsed.group.is_empty() {
                    check(&parsed.group, names::dns1123_subdomain(&parsed.group));
                }
                if parsed.version.is_empty() {
                    check(version.str(), vec!["version must be specified".to_owned()]);
                } else {
                    check(&parsed.version, names::dns1035_label(&parsed.version));
                }
            }
        }
    }
    if kind.get("kind").must(errors) {
        forms::kind_name(&kind.get("kind"), errors);
    }
}

fn check_variable(variable: &At<'_>, errors: &mut ErrorList) {
    let (name, expression) = (variable.get("name"), variable.get("expression"));
    if name.str().trim().is_empty() {
        name.required(errors, "name is not specified");
    } else if !cel::is_identifier(name.str()) {
        name.invalid(errors, "name is not a valid CEL identifier");
    }
    specified(&expression, "expression", errors);
}

fn specified(expression: &At<'_>, what: &str, errors: &mut ErrorList) {
    if expression.str().trim().is_empty() {
        expression.required(errors, format!("{what} is not specified"));
    }
}

fn validations(spec: &At<'_>, policy: &str, errors: &mut ErrorList) {
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        validations.required(errors, detail);
        annotations.required(errors, detail);
        return;
    }
    for validation in validations.list() {
        let expression = validation.get("expression");
        specified(&expression, "expression", errors);
        let dynamic = validation.get("messageExpression");
        if !dynamic.is_empty() && dynamic.str().trim().is_empty() {
            dynamic.invalid(errors, "must be non-empty if specified");
        }
        let message = validation.get("message");
        let text = message.str().trim();
        if !message.is_empty() && text.is_empty() {
            message.invalid(errors, "message must be non-empty if specified");
        } else if text.contains(['\n', '\r']) {
            message.invalid(errors, "message must not contain line breaks");
        }
        validation.get("reason").set_to_one_of(errors, &REASONS);
    }
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        annotations.invalid(errors, detail);
    }
    let mut taken = BTreeSet::new();
    for annotation in annotations.list() {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        let full = format!("{policy}/{}", key.str());
        for message in names::qualified_name(&full) {
            errors.push(Error::invalid(&key.path, full.as_str(), message));
        }
        specified(&value, "valueExpression", errors);
        if value.str().trim().len() > MAX_VALUE_EXPRESSION {
            let detail = format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length");
            value.required(errors, detail);
        }
        if !taken.insert(key.str()) {
            key.duplicate(errors);
        }
    }
}

fn mutations(spec: &At<'_>, errors: &mut ErrorList) {
    let mutations = spec.get("mutations");
    if mutations.is_empty() {
        mutations.required(errors, "mutations must contain at least one item");
    }
    for mutation in mutations.list() {
        let kind = mutation.get("patchType");
        if !PATCHES.iter().any(|(name, _)| *name == kind.str()) {
            kind.one_of(errors, &PATCHES.map(|(name, _)| name));
            continue;
        }
        for (name, field) in PATCHES.into_iter().filter(|(name, _)| *name == kind.str()) {
            let patch = mutation.get(field);
            if patch.is_set() {
                let expression = patch.get("expression");
                if expression.str().trim().is_empty() {
                    expression.required(errors, "");
                }
            } else {
                patch.required(errors, format!("must be specified when patchType is {name}"));
            }
        }
        for (_, field) in PATCHES.into_iter().filter(|(name, _)| *name != kind.str()) {
            let patch = mutation.get(field);
            if patch.is_set() {
                let detail = format!("must not be specified when patchType is {}", kind.str());
                errors.push(Error::invalid(&patch.path, format!("{{{field}}}"), detail));
            }
        }
    }
    spec.get("reinvocationPolicy").one_of(errors, &["Never", "IfNeeded"]);
}

/// The types of patches, and where each stands.
const PATCHES: [(&str, &str); 2] =
    [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];

/// The rules of bindings of admission policies.
pub(in crate::kinds) struct PolicyBinding {
    pub(in crate::kinds) mutating: bool,
}

impl Strategy for PolicyBinding {
    fn default(&self, binding: &mut Value) {
        let Some(spec) = binding.get_mut("spec").filter(|s| s.is_object()) else { return };
        default_matching(spec, "matchResources");
        if let Some(reference) = spec.get_mut("paramRef").filter(|r| r.is_object()) {
            set_default(reference, "parameterNotFoundAction", "Deny");
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, binding: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(binding).get("spec");
        spec.get("policyName").must_form(&mut errors, names::dns1123_subdomain);
        if spec.get("paramRef").is_set() {
            param_reference(&spec.get("paramRef"), &mut errors);
        }
        let criteria = spec.get("matchResources");
        if criteria.is_set() {
            matching(&criteria, &mut errors);
            if self.mutating {
                mutable_operations(&criteria, &mut errors);
            }
        }
        if !self.mutating {
            actions(&spec.get("validationActions"), &mut errors);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn param_reference(reference: &At<'_>, errors: &mut ErrorList) {
    let (name, selector) = (reference.get("name"), reference.get("selector"));
    let both = !name.is_empty() && selector.is_set();
    if !name.is_empty() {
        name.form(errors, names::path_segment);
    }
    if both {
        name.forbidden(errors, "name and selector are mutually exclusive");
    }
    if selector.is_set() {
        scheduling::label_selector(&selector, errors);
    }
    if both {
        selector.forbidden(errors, "name and selector are mutually exclusive");
    }
    if name.is_empty() && !selector.is_set() {
        reference.required(errors, "one of name or selector must be specified");
    }
    reference.get("parameterNotFoundAction").one_of(errors, &["Deny", "Allow"]);
}

fn actions(actions: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for action in actions.list() {
        if !matches!(action.str(), "Audit" | "Deny" | "Warn") {
            action.unsupported(errors, &["Audit", "Deny", "Warn"]);
        }
        if !taken.insert(action.str()) {
            action.duplicate(errors);
        }
    }
    if taken.contains("Deny") && taken.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        actions.invalid(errors, detail);
    }
    if taken.is_empty() {
        actions.required(errors, "at least one validation action is required");
    }
}
