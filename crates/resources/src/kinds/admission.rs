//! Webhooks and policies that take part in admission.

mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cel::policy::Conditions;
use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use serde_json::json;

pub(super) use self::policy::{Policy, PolicyBinding};
use super::forms;
use super::pod::scheduling;
use crate::cursor::{At, items_mut, same, set_default};
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MAX_CONDITIONS: usize = 64;
const NO_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const ALL_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

/// The rules of webhook configurations.
pub(super) struct WebhookConfiguration {
    pub(super) mutating: bool,
}

impl Strategy for WebhookConfiguration {
    fn default(&self, configuration: &mut Value) {
        for webhook in items_mut(configuration, "webhooks") {
            set_default(webhook, "failurePolicy", "Fail");
            set_default(webhook, "matchPolicy", "Equivalent");
            set_default(webhook, "namespaceSelector", json!({}));
            set_default(webhook, "objectSelector", json!({}));
            set_default(webhook, "timeoutSeconds", 10);
            if self.mutating {
                set_default(webhook, "reinvocationPolicy", "Never");
            }
            for rule in items_mut(webhook, "rules") {
                set_default(rule, "scope", "*");
            }
            if let Some(service) =
                webhook.pointer_mut("/clientConfig/service").filter(|s| s.is_object())
            {
                set_default(service, "port", 443);
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Content
    }

    fn validate(&self, _ctx: &Ctx<'_>, configuration: &Value) -> ErrorList {
        self.check(configuration, Leniency::default())
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.check(new, Leniency::of(new, old))
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// What is not looked at, or less strictly, since it has been like that before.
#[derive(Clone, Copy, Default)]
struct Leniency {
    side_effects: bool,
    review_versions: bool,
    names: bool,
    selectors: bool,
    conditions: bool,
}

impl Leniency {
    fn of(new: &Value, old: &Value) -> Self {
        let (new, old) = (At::root(new).get("webhooks"), At::root(old).get("webhooks"));
        let known = |webhook: &At<'_>| {
            let versions = webhook.get("admissionReviewVersions");
            versions.is_empty() || forms::has_review_version(&versions)
        };
        let names: BTreeSet<&str> = old.list().map(|webhook| webhook.get("name").str()).collect();
        let mut selectors = ErrorList::new();
        for webhook in old.list() {
            for field in ["namespaceSelector", "objectSelector"] {
                scheduling::label_selector(&webhook.get(field), &mut selectors);
            }
        }
        let conditions = |webhooks: &At<'_>| -> Vec<Value> {
            webhooks.list().map(|w| w.get("matchConditions").value.clone()).collect()
        };
        Self {
            side_effects: old.list().any(|w| !NO_EFFECTS.contains(&w.get("sideEffects").str())),
            review_versions: !old.list().all(|webhook| known(&webhook)),
            names: names.len() < old.len(),
            selectors: !selectors.is_empty(),
            conditions: same(&json!(conditions(&new)), &json!(conditions(&old))),
        }
    }
}

impl WebhookConfiguration {
    fn check(&self, configuration: &Value, lenient: Leniency) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut taken = BTreeSet::new();
        for webhook in At::root(configuration).get("webhooks").list() {
            self.check_webhook(&webhook, lenient, &mut errors);
            let versions = webhook.get("admissionReviewVersions");
            let (missing, lax) = ("must specify one of v1, v1beta1", lenient.review_versions);
            forms::review_versions(&versions, missing, lax, &mut errors);
            let name = webhook.get("name");
            if !lenient.names && !name.is_empty() && !taken.insert(name.str()) {
                name.duplicate(&mut errors);
            }
        }
        errors
    }

    fn check_webhook(&self, webhook: &At<'_>, lenient: Leniency, errors: &mut ErrorList) {
        forms::domain(&webhook.get("name"), 3, errors);
        for rule in webhook.get("rules").list() {
            check_rule(&rule, errors);
        }
        webhook.get("failurePolicy").set_to_one_of(errors, &["Fail", "Ignore"]);
        webhook.get("matchPolicy").set_to_one_of(errors, &["Equivalent", "Exact"]);
        let effects = webhook.get("sideEffects");
        let allowed: &[&str] = if lenient.side_effects { &ALL_EFFECTS } else { &NO_EFFECTS };
        if !effects.is_set() {
            effects.required(errors, format!("must specify one of {}", allowed.join(", ")));
        }
        effects.set_to_one_of(errors, allowed);
        let timeout = webhook.get("timeoutSeconds");
        if timeout.int().is_some_and(|n| !(1..=30).contains(&n)) {
            timeout.invalid(errors, "the timeout value must be between 1 and 30 seconds");
        }
        if !lenient.selectors {
            for selector in ["namespaceSelector", "objectSelector"] {
                scheduling::label_selector(&webhook.get(selector), errors);
            }
        }
        if self.mutating {
            webhook.get("reinvocationPolicy").set_to_one_of(errors, &["IfNeeded", "Never"]);
        }
        forms::webhook_client(&webhook.get("clientConfig"), errors);
        if !lenient.conditions {
            let conditions = webhook.get("matchConditions");
            match_conditions(&conditions, errors);
            Conditions::new(webhook.value).check(&conditions.path, errors);
        }
    }
}

fn is_wildcard(item: &Value) -> bool {
    item == "*"
}

/// What a webhook or policy is called for: operations on resources.
fn check_rule(rule: &At<'_>, errors: &mut ErrorList) {
    let alone = |list: &At<'_>, others: &str, errors: &mut ErrorList| {
        if list.is_empty() {
            list.required(errors, "");
        }
        if list.len() > 1 && list.items().iter().any(is_wildcard) {
            list.invalid(errors, format!("if '*' is present, must not specify other {others}"));
        }
    };
    let operations = rule.get("operations");
    alone(&operations, "operations", errors);
    for operation in operations.list() {
        if !OPERATIONS.contains(&operation.str()) {
            operation.unsupported(errors, &OPERATIONS);
        }
    }
    alone(&rule.get("apiGroups"), "API groups", errors);
    let versions = rule.get("apiVersions");
    alone(&versions, "API versions", errors);
    for version in versions.list() {
        version.must(errors);
    }
    check_resources(&rule.get("resources"), errors);
    rule.get("scope").set_to_one_of(errors, &["*", "Cluster", "Namespaced"]);
}

fn check_resources(resources: &At<'_>, errors: &mut ErrorList) {
    if resources.is_empty() {
        resources.required(errors, "");
    }
    // Resources that stand with all of their subresources, and the other way round.
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for resource in resources.list() {
        let text = resource.str();
        if !resource.must(errors) {
            continue;
        }
        let Some((name, sub)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        if whole.contains(name) {
            let detail = format!("if '{name}/*' is present, must not specify {text}");
            resource.invalid(errors, detail);
        }
        if everywhere.contains(sub) {
            resource.invalid(errors, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            whole.insert(name);
        }
        if name == "*" {
            everywhere.insert(sub);
        }
    }
    let has = |text: &str| resources.items().iter().any(|resource| resource == text);
    if resources.len() > 1 && has("*/*") {
        resources.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    if has("*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        resources.invalid(errors, detail);
    }
}

/// Expressions that decide whether a webhook or policy is asked at all. Whether they compile is
/// looked at elsewhere.
fn match_conditions(list: &At<'_>, errors: &mut ErrorList) {
    if list.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&list.path, list.len(), MAX_CONDITIONS));
    }
    let mut taken = BTreeSet::new();
    for condition in list.list() {
        let (expression, name) = (condition.get("expression"), condition.get("name"));
        if expression.str().trim().is_empty() {
            expression.required(errors, "");
        }
        name.must_form(errors, names::qualified_name);
        if !name.is_empty() && !taken.insert(name.str()) {
            name.duplicate(errors);
        }
    }
}
