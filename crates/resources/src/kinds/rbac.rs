//! Roles and their bindings.

#[cfg(test)]
mod tests;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use serde_json::json;

use crate::cursor::{At, items_mut, same, set_default_zero};
use crate::strategy::{Ctx, Strategy};

const GROUP: &str = "rbac.authorization.k8s.io";

// === Role ===

/// The rules of Roles (`namespaced`) and ClusterRoles.
pub(super) struct Role {
    pub(super) namespaced: bool,
}

impl Strategy for Role {
    fn validate(&self, _ctx: &Ctx<'_>, role: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for rule in At::root(role).get("rules").list() {
            policy_rule(&rule, self.namespaced, &mut errors);
        }
        let selectors = At::root(role).get("aggregationRule");
        if selectors.is_set() {
            let selectors = selectors.get("clusterRoleSelectors");
            if selectors.is_empty() {
                selectors.required(
                    &mut errors,
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                );
            }
            for selector in selectors.list() {
                super::pod::scheduling::label_selector(&selector, &mut errors);
            }
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn policy_rule(rule: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    let (verbs, urls) = (rule.get("verbs"), rule.get("nonResourceURLs"));
    let (groups, resources) = (rule.get("apiGroups"), rule.get("resources"));
    if verbs.is_empty() {
        verbs.required(errors, "verbs must contain at least one value");
    }
    if !urls.is_empty() {
        if namespaced {
            urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
        }
        if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
            urls.invalid(
                errors,
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        return;
    }
    if groups.is_empty() {
        groups.required(errors, "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        resources.required(errors, "resource rules must supply at least one resource");
    }
}

// === RoleBinding ===

/// The rules of RoleBindings (`namespaced`) and ClusterRoleBindings.
pub(super) struct RoleBinding {
    pub(super) namespaced: bool,
}

impl Strategy for RoleBinding {
    fn default(&self, binding: &mut Value) {
        if let Some(reference) = binding.get_mut("roleRef").filter(|r| r.is_object()) {
            set_default_zero(reference, "apiGroup", GROUP);
        }
        for subject in items_mut(binding, "subjects") {
            let kind = subject.get("kind").and_then(Value::as_str).unwrap_or_default();
            if matches!(kind, "User" | "Group") {
                set_default_zero(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, binding: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let binding = At::root(binding);
        let reference = binding.get("roleRef");
        if reference.get("apiGroup").str() != GROUP {
            reference.get("apiGroup").unsupported(&mut errors, &[GROUP]);
        }
        let kinds: &[&str] =
            if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !kinds.contains(&reference.get("kind").str()) {
            reference.get("kind").unsupported(&mut errors, kinds);
        }
        reference.get("name").must_form(&mut errors, names::path_segment);
        for subject in binding.get("subjects").list() {
            self.subject(&subject, &mut errors);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (reference, before) = (At::root(new).get("roleRef"), At::root(old).get("roleRef"));
        if !same(reference.value, before.value) {
            // Upstream shows the internal form here.
            let text = |field| reference.get(field).str().to_owned();
            let shown =
                json!({"APIGroup": text("apiGroup"), "Kind": text("kind"), "Name": text("name")});
            errors.push(Error::invalid(&reference.path, shown, "cannot change roleRef"));
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

impl RoleBinding {
    fn subject(&self, subject: &At<'_>, errors: &mut ErrorList) {
        subject.get("name").must(errors);
        let (kind, group) = (subject.get("kind"), subject.get("apiGroup"));
        match kind.str() {
            "ServiceAccount" => {
                if !subject.get("name").is_empty() {
                    subject.get("name").form(errors, names::dns1123_subdomain);
                }
                if !group.is_empty() {
                    group.unsupported(errors, &[""]);
                }
                if !self.namespaced && subject.get("namespace").is_empty() {
                    subject.get("namespace").required(errors, "");
                }
            }
            "User" | "Group" => {
                let name = subject.get("name");
                if name.is_empty() {
                    let what = kind.str().to_lowercase();
                    let detail = format!("{what} name cannot be empty");
                    errors.push(Error::invalid(&name.path, "", detail));
                }
                if group.str() != GROUP {
                    group.unsupported(errors, &[GROUP]);
                }
            }
            _ => kind.unsupported(errors, &["ServiceAccount", "User", "Group"]),
        }
    }
}
