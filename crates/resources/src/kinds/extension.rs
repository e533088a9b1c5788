//! Kinds that extend the API server: definitions, webhooks, policies and aggregated services.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};
use serde_json::json;

use crate::cursor::{At, items_mut, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

// === CustomResourceDefinition ===

/// The rules of CustomResourceDefinitions.
pub(super) struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn default(&self, crd: &mut Value) {
        let Some(spec) = crd.get_mut("spec").filter(|s| s.is_object()) else { return };
        if let Some(names) = spec.get_mut("names").filter(|n| n.is_object()) {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !kind.is_empty() {
                set_default_zero(names, "singular", kind.to_lowercase());
                set_default_zero(names, "listKind", format!("{kind}List"));
            }
        }
        set_default(spec, "conversion", json!({}));
        set_default_zero(&mut spec["conversion"], "strategy", "None");
        if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service") {
            set_default(service, "port", 443);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, crd: &mut Value) {
        let stored = stored_version(crd);
        crd["status"] = json!({
            "conditions": null,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": stored.into_iter().collect::<Vec<_>>(),
        });
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, _old: &Value) {
        let Some(version) = stored_version(new) else { return };
        let Some(status) = new.get_mut("status").filter(|s| s.is_object()) else { return };
        set_default(status, "storedVersions", json!([]));
        if let Some(stored) = status["storedVersions"].as_array_mut()
            && !stored.iter().any(|v| *v == version)
        {
            stored.push(json!(version));
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, crd: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(crd).get("spec");
        let (group, names) = (spec.get("group"), spec.get("names"));
        if group.must(&mut errors) {
            group.form(&mut errors, names::dns1123_subdomain);
            if !group.str().contains('.') {
                group.invalid(&mut errors, "should be a domain with at least one dot");
            }
        }
        spec.get("scope").one_of(&mut errors, &["Cluster", "Namespaced"]);
        let plural = names.get("plural");
        plural.must_form(&mut errors, names::dns1035_label);
        names.get("singular").may_form(&mut errors, names::dns1035_label);
        for field in ["kind", "listKind"] {
            let kind = names.get(field);
            if kind.must(&mut errors) {
                for message in names::dns1035_label(&kind.str().to_lowercase()) {
                    kind.invalid(
                        &mut errors,
                        format!("may have mixed case, but should otherwise match: {message}"),
                    );
                }
            }
        }
        if names.get("kind").str() == names.get("listKind").str() && !names.get("kind").is_empty() {
            names.get("listKind").invalid(&mut errors, "kind and listKind may not be the same");
        }
        let expected = format!("{}.{}", plural.str(), group.str());
        if meta::name(crd) != expected && !plural.is_empty() && !group.is_empty() {
            let path = Path::new("metadata").child("name");
            errors.push(Error::invalid(
                &path,
                meta::name(crd),
                "must be spec.names.plural+\".\"+spec.group",
            ));
        }
        versions(&spec, &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        spec.get("group").unchanged(&before.get("group"), &mut errors);
        // Once names are established, scope and kind stay.
        let established = At::root(old)
            .get("status")
            .get("conditions")
            .list()
            .any(|c| c.get("type").str() == "Established" && c.get("status").str() == "True");
        if established {
            spec.get("scope").unchanged(&before.get("scope"), &mut errors);
            let kind = before.get("names").get("kind");
            spec.get("names").get("kind").unchanged(&kind, &mut errors);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn stored_version(crd: &Value) -> Option<String> {
    let versions = crd.pointer("/spec/versions")?.as_array()?;
    let stored =
        versions.iter().find(|v| v.get("storage").and_then(Value::as_bool) == Some(true))?;
    stored.get("name")?.as_str().map(str::to_owned)
}

fn versions(spec: &At<'_>, errors: &mut ErrorList) {
    let versions = spec.get("versions");
    let mut stored = 0;
    let mut taken = std::collections::BTreeSet::new();
    for version in versions.list() {
        let name = version.get("name");
        name.must_form(errors, names::dns1035_label);
        if !taken.insert(name.str()) {
            let detail = "must contain unique version names";
            errors.push(Error::invalid(&versions.path, versions.value.clone(), detail));
        }
        stored += usize::from(version.get("storage").bool());
        let schema = version.get("schema").get("openAPIV3Schema");
        if !schema.is_set() {
            schema.required(errors, "schemas are required");
        } else if schema.get("type").str() != "object" {
            let detail = "must be object".to_owned();
            if schema.get("type").is_empty() {
                schema.get("type").required(errors, "must not be empty at the root");
            } else {
                errors.push(Error::invalid(
                    &schema.get("type").path,
                    schema.get("type").str(),
                    detail,
                ));
            }
        }
    }
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(Error::invalid(&versions.path, versions.value.clone(), detail));
    }
}

// === webhooks ===

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
            if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
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
        let mut errors = ErrorList::new();
        let mut taken = std::collections::BTreeSet::new();
        for webhook in At::root(configuration).get("webhooks").list() {
            let name = webhook.get("name");
            if !taken.insert(name.str()) {
                name.duplicate(&mut errors);
            }
            if name.must(&mut errors) {
                name.form(&mut errors, names::dns1123_subdomain);
                if name.str().split('.').count() < 3 {
                    let detail =
                        "should be a domain with at least three segments separated by dots";
                    name.invalid(&mut errors, detail);
                }
            }
            let effects = webhook.get("sideEffects");
            if effects.is_empty() {
                let detail = "must specify one of None, NoneOnDryRun";
                effects.required(&mut errors, detail);
            } else {
                effects.may_be_one_of(&mut errors, &["None", "NoneOnDryRun"]);
            }
            let reviews = webhook.get("admissionReviewVersions");
            if reviews.is_empty() {
                let detail = "must specify one of v1, v1beta1";
                reviews.required(&mut errors, detail);
            }
            webhook.get("failurePolicy").may_be_one_of(&mut errors, &["Fail", "Ignore"]);
            webhook.get("matchPolicy").may_be_one_of(&mut errors, &["Equivalent", "Exact"]);
            let timeout = webhook.get("timeoutSeconds");
            if timeout.int().is_some_and(|n| !(1..=30).contains(&n)) {
                let detail = "the timeout value must be between 1 and 30 seconds";
                timeout.invalid(&mut errors, detail);
            }
            let client = webhook.get("clientConfig");
            if client.get("url").is_set() == client.get("service").is_set() {
                client.required(&mut errors, "exactly one of url or service is required");
            }
            for selector in ["namespaceSelector", "objectSelector"] {
                super::pod::scheduling::label_selector(&webhook.get(selector), &mut errors);
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

// === admission policies ===

/// The rules of admission policies and their bindings: what they match by default.
pub(super) struct AdmissionPolicy {
    /// Where the match criteria stand.
    pub(super) matches: &'static str,
    /// Whether a failure policy is among the fields.
    pub(super) fails: bool,
}

impl Strategy for AdmissionPolicy {
    fn default(&self, policy: &mut Value) {
        let Some(spec) = policy.get_mut("spec").filter(|s| s.is_object()) else { return };
        if self.fails {
            set_default(spec, "failurePolicy", "Fail");
        }
        if let Some(criteria) = spec.get_mut(self.matches).filter(|c| c.is_object()) {
            set_default(criteria, "matchPolicy", "Equivalent");
            set_default(criteria, "namespaceSelector", json!({}));
            set_default(criteria, "objectSelector", json!({}));
            for list in ["resourceRules", "excludeResourceRules"] {
                for rule in items_mut(criteria, list) {
                    set_default(rule, "scope", "*");
                }
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

// === APIService ===

/// The rules of APIServices.
pub(super) struct ApiService;

impl Strategy for ApiService {
    fn default(&self, service: &mut Value) {
        if let Some(backend) = service.pointer_mut("/spec/service").filter(|s| s.is_object()) {
            set_default(backend, "port", 443);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, service: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(service).get("spec");
        let (version, group) = (spec.get("version"), spec.get("group"));
        let expected = format!("{}.{}", version.str(), group.str());
        if meta::name(service) != expected {
            let path = Path::new("metadata").child("name");
            let detail = format!(
                "must be `spec.version+\".\"+spec.group`: {}",
                machinery::field::quote(&expected)
            );
            errors.push(Error::invalid(&path, meta::name(service), detail));
        }
        version.must_form(&mut errors, names::dns1035_label);
        for field in ["groupPriorityMinimum", "versionPriority"] {
            let (field, max) =
                (spec.get(field), if field == "versionPriority" { 1000 } else { 20000 });
            let n = field.int_or_zero();
            if n <= 0 || n > max {
                let detail = format!("must be positive and less than {max}");
                errors.push(Error::invalid(&field.path, n, detail));
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
