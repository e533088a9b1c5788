//! How requests to the API server are queued.

pub mod mandatory;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::{Value, meta, names};
use serde_json::json;

use super::internal;
use crate::cursor::{At, remove, same, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// What every server has is as every server has it. Only the part that is about exempt requests
/// may be changed.
fn as_fixed(object: &Value, kind: &str, errors: &mut ErrorList) {
    let name = meta::name(object);
    let Some(fixed) = mandatory::spec(kind, name) else { return };
    let spec = At::root(object).get("spec");
    let (mut wanted, mut found) = (fixed, spec.value.clone());
    let exempt = kind == "PriorityLevelConfiguration" && name == "exempt";
    if exempt {
        remove(&mut wanted, "exempt");
        remove(&mut found, "exempt");
    }
    if !same(&wanted, &found) {
        let but = if exempt { " except the 'spec.exempt' field" } else { "" };
        let package = "io.k8s.api.flowcontrol.v1";
        let shown = internal::form_of_group(spec.value, package, &format!("{kind}Spec"));
        let detail = format!("spec of '{name}'{but} must equal the fixed value");
        errors.push(Error::invalid(&spec.path, shown, detail));
    }
}

fn conditions(object: &Value, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for condition in At::root(object).get("status").get("conditions").list() {
        let kind = condition.get("type");
        if !taken.insert(kind.str()) {
            kind.duplicate(errors);
        }
        if kind.is_empty() {
            kind.required(errors, "must not be empty");
        }
    }
}

// === FlowSchema ===

/// The rules of FlowSchemas.
pub(super) struct FlowSchema;

impl Strategy for FlowSchema {
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn default(&self, schema: &mut Value) {
        if let Some(spec) = schema.get_mut("spec").filter(|s| s.is_object()) {
            set_default_zero(spec, "matchingPrecedence", 1000);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, schema: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(schema).get("spec");
        let precedence = spec.get("matchingPrecedence");
        let n = precedence.int_or_zero();
        if n <= 0 {
            errors.push(Error::invalid(&precedence.path, n, "must be a positive value"));
        }
        if n > MAX_PRECEDENCE {
            precedence.invalid(&mut errors, format!("must not be greater than {MAX_PRECEDENCE}"));
        }
        if n == 1 && meta::name(schema) != "exempt" {
            let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
            precedence.invalid(&mut errors, detail);
        }
        let method = spec.get("distinguisherMethod");
        if method.is_set() && !matches!(method.get("type").str(), "ByNamespace" | "ByUser") {
            // Upstream shows the whole method.
            let shown = json!({"Type": method.get("type").str()});
            let known = ["ByNamespace", "ByUser"];
            errors.push(Error::not_supported(&method.get("type").path, shown, &known));
        }
        let level = spec.get("priorityLevelConfiguration").get("name");
        if level.is_empty() {
            level.required(&mut errors, "must reference a priority level");
        } else {
            level.form(&mut errors, names::dns1123_subdomain);
        }
        for rule in spec.get("rules").list() {
            check_rule(&rule, &mut errors);
        }
        as_fixed(schema, "FlowSchema", &mut errors);
        conditions(schema, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        conditions(new, &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn check_rule(rule: &At<'_>, errors: &mut ErrorList) {
    let subjects = rule.get("subjects");
    if subjects.is_empty() {
        subjects.required(errors, "subjects must contain at least one value");
    }
    for subject in subjects.list() {
        check_subject(&subject, errors);
    }
    let (resources, urls) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        rule.required(errors, detail);
    }
    for resource in resources.list() {
        check_resource_rule(&resource, errors);
    }
    for url in urls.list() {
        check_url_rule(&url, errors);
    }
}

fn check_subject(subject: &At<'_>, errors: &mut ErrorList) {
    const KINDS: [(&str, &str); 3] =
        [("serviceAccount", "ServiceAccount"), ("user", "User"), ("group", "Group")];
    let kind = subject.get("kind");
    if !KINDS.iter().any(|(_, name)| *name == kind.str()) {
        kind.unsupported(errors, &["Group", "ServiceAccount", "User"]);
        return;
    }
    for (field, name) in KINDS {
        let part = subject.get(field);
        if name == kind.str() {
            if part.is_set() {
                named_subject(&part, name, errors);
            } else {
                part.required(errors, format!("{field} is required when subject kind is '{name}'"));
            }
        }
    }
    for (field, name) in KINDS {
        if name != kind.str() && subject.get(field).is_set() {
            let detail = format!("{field} is forbidden when subject kind is not '{name}'");
            subject.get(field).forbidden(errors, detail);
        }
    }
}

fn named_subject(part: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let name = part.get("name");
    if name.must(errors) && kind == "ServiceAccount" && name.str() != "*" {
        name.form(errors, names::dns1123_subdomain);
    }
    if kind == "ServiceAccount" {
        let namespace = part.get("namespace");
        if namespace.is_empty() {
            namespace.required(errors, "must specify namespace for service account");
        } else {
            namespace.form(errors, names::dns1123_label);
        }
    }
}

/// A list in which `*` stands alone; whether its items are to be looked at further.
fn wildcard_alone(list: &At<'_>, required: &str, others: &str, errors: &mut ErrorList) -> bool {
    if list.is_empty() {
        list.required(errors, required);
        return false;
    }
    let wildcard = list.items().iter().any(|item| item == "*");
    if wildcard && list.len() > 1 {
        list.invalid(errors, format!("if '*' is present, must not specify other {others}"));
    }
    !wildcard
}

fn check_verbs(verbs: &At<'_>, errors: &mut ErrorList) {
    let required = "verbs must contain at least one value";
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if wildcard_alone(verbs, required, "verbs", errors) && !verbs.items().iter().all(known) {
        verbs.unsupported(errors, &VERBS);
    }
}

fn check_resource_rule(rule: &At<'_>, errors: &mut ErrorList) {
    check_verbs(&rule.get("verbs"), errors);
    let required = "resource rules must supply at least one api group";
    wildcard_alone(&rule.get("apiGroups"), required, "api groups", errors);
    let required = "resource rules must supply at least one resource";
    wildcard_alone(&rule.get("resources"), required, "resources", errors);
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && rule.get("clusterScope").bool() {
        return;
    }
    let required = "resource rules that are not cluster scoped must supply at least one namespace";
    if wildcard_alone(&namespaces, required, "namespaces", errors) {
        for namespace in namespaces.list() {
            for message in names::dns1123_label(namespace.str()) {
                let detail =
                    format!("each member of this list must be '*' or a DNS-1123 label; {message}");
                namespace.invalid(errors, detail);
            }
        }
    }
}

fn check_url_rule(rule: &At<'_>, errors: &mut ErrorList) {
    check_verbs(&rule.get("verbs"), errors);
    let urls = rule.get("nonResourceURLs");
    let required = "nonResourceURLs must contain at least one value";
    if !wildcard_alone(&urls, required, "non-resource URLs", errors) {
        return;
    }
    for url in urls.list() {
        let path = url.str();
        let stars = path.matches('*').count();
        let wrong = if path.is_empty() {
            "must not be empty"
        } else if !path.starts_with('/') {
            "must start with slash"
        } else if path.contains(' ') {
            "must not contain white-space"
        } else if path.contains("//") {
            "must not contain double slash"
        } else if stars > 1 || stars == 1 && !path.ends_with("/*") {
            "wildcard can only do suffix matching"
        } else {
            continue;
        };
        url.invalid(errors, wrong);
    }
}

// === PriorityLevelConfiguration ===

/// The rules of PriorityLevelConfigurations.
pub(super) struct PriorityLevel;

impl Strategy for PriorityLevel {
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn default(&self, level: &mut Value) {
        let Some(spec) = level.get_mut("spec").filter(|s| s.is_object()) else { return };
        if let Some(exempt) = spec.get_mut("exempt").filter(|e| e.is_object()) {
            set_default(exempt, "nominalConcurrencyShares", 0);
            set_default(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = spec.get_mut("limited").filter(|l| l.is_object()) {
            set_default(limited, "nominalConcurrencyShares", 30);
            set_default(limited, "lendablePercent", 0);
            if let Some(queuing) = limited.pointer_mut("/limitResponse/queuing") {
                set_default_zero(queuing, "queues", 64);
                set_default_zero(queuing, "handSize", 8);
                set_default_zero(queuing, "queueLengthLimit", 50);
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, level: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(level).get("spec");
        let kind = spec.get("type");
        if (meta::name(level) == "exempt") != (kind.str() == "Exempt") {
            let detail = "type must be 'Exempt' if and only if name is 'exempt'";
            errors.push(Error::invalid(&kind.path, kind.str(), detail));
        }
        let (limited, exempt) = (spec.get("limited"), spec.get("exempt"));
        match kind.str() {
            "Exempt" => {
                if limited.is_set() {
                    limited.forbidden(&mut errors, "must be nil if the type is not Limited");
                }
                shares(&exempt, &mut errors);
            }
            "Limited" => {
                if exempt.is_set() {
                    exempt.forbidden(&mut errors, "must be nil if the type is Limited");
                }
                if limited.is_set() {
                    shares(&limited, &mut errors);
                    limit_response(&limited.get("limitResponse"), &mut errors);
                } else {
                    limited.required(&mut errors, "must not be empty when type is Limited");
                }
            }
            _ => kind.unsupported(&mut errors, &["Exempt", "Limited"]),
        }
        as_fixed(level, "PriorityLevelConfiguration", &mut errors);
        conditions(level, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        conditions(new, &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn shares(part: &At<'_>, errors: &mut ErrorList) {
    let shares = part.get("nominalConcurrencyShares");
    if shares.int_or_zero() < 0 {
        shares.invalid(errors, "must be a non-negative integer");
    }
    let percent = part.get("lendablePercent");
    if !(0..=100).contains(&percent.int_or_zero()) {
        percent.invalid(errors, "must be between 0 and 100, inclusive");
    }
    let borrowing = part.get("borrowingLimitPercent");
    if borrowing.int_or_zero() < 0 {
        let detail = "if specified, must be a non-negative integer";
        borrowing.invalid(errors, detail);
    }
}

fn limit_response(response: &At<'_>, errors: &mut ErrorList) {
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.str() {
        "Reject" => {
            if queuing.is_set() {
                let detail = "must be nil if limited.limitResponse.type is not Limited";
                queuing.forbidden(errors, detail);
            }
        }
        "Queue" => {
            if queuing.is_set() {
                check_queuing(&queuing, errors);
            } else {
                let detail = "must not be empty if limited.limitResponse.type is Limited";
                queuing.required(errors, detail);
            }
        }
        _ => kind.unsupported(errors, &["Queue", "Reject"]),
    }
}

fn check_queuing(queuing: &At<'_>, errors: &mut ErrorList) {
    let positive = |at: &At<'_>, errors: &mut ErrorList| {
        let fits = at.int_or_zero() > 0;
        if !fits {
            errors.push(Error::invalid(&at.path, at.int_or_zero(), "must be positive"));
        }
        fits
    };
    positive(&queuing.get("queueLengthLimit"), errors);
    let (queues, hand) = (queuing.get("queues"), queuing.get("handSize"));
    if positive(&queues, errors) && queues.int_or_zero() > MAX_QUEUES {
        queues.invalid(errors, format!("must not be greater than {MAX_QUEUES}"));
    }
    if positive(&hand, errors) {
        let (deck, cards) = (queues.int_or_zero(), hand.int_or_zero());
        if cards > deck {
            hand.invalid(errors, format!("should not be greater than queues ({deck})"));
        } else if entropy_bits(deck, cards) > MAX_ENTROPY {
            let detail = format!(
                "required entropy bits of deckSize {deck} and handSize {cards} should not be greater than {MAX_ENTROPY}"
            );
            hand.invalid(errors, detail);
        }
    }
}

/// The bits of a hash that deal the hands of a shuffle.
const MAX_ENTROPY: u32 = 60;

/// The bits it takes to pick a card out of `deck` as often as there are `cards` in a hand.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "decks have between one and ten million cards"
)]
fn entropy_bits(deck: i64, cards: i64) -> u32 {
    ((deck as f64).log2() * cards as f64).ceil() as u32
}
