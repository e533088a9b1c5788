//! Webhook configurations as they are used: parsed once per change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cel::policy::Conditions;
use machinery::Value;
use machinery::selector::LabelSelector;

use super::matching::Rule;
use crate::registry::Registry;
use crate::webhook::ClientConfig;

const GROUP: &str = "admissionregistration.k8s.io";
const DEFAULT_TIMEOUT: u64 = 10;

/// One webhook of a configuration.
#[derive(Debug)]
pub(super) struct Hook {
    /// Tells it from all others.
    pub(super) id: String,
    /// As errors call it.
    pub(super) name: String,
    pub(super) config: Result<ClientConfig, String>,
    pub(super) rules: Vec<Rule>,
    /// Whether a rule must name the very version of the request.
    pub(super) exact: bool,
    pub(super) namespaces: LabelSelector,
    pub(super) objects: LabelSelector,
    /// All must hold, too.
    pub(super) conditions: Conditions,
    /// Whether a write goes on when the webhook cannot be asked.
    pub(super) ignore_failures: bool,
    /// Whether asking changes nothing elsewhere when nothing will be stored.
    pub(super) takes_dry_runs: bool,
    pub(super) timeout: Duration,
    /// Whether to ask again after others have changed the object.
    pub(super) reinvoked_if_needed: bool,
    /// The API version of the reviews; `None` if it understands none of ours.
    pub(super) review: Option<&'static str>,
}

impl Hook {
    /// The webhooks of a configuration, in their order.
    pub(super) fn of_configuration(configuration: &Value) -> Vec<Self> {
        let name = machinery::meta::name(configuration);
        let hooks = configuration["webhooks"].as_array().into_iter().flatten();
        hooks.enumerate().map(|(at, hook)| Self::new(format!("{name}/{at}"), hook)).collect()
    }

    fn new(id: String, hook: &Value) -> Self {
        let text = |field: &str| hook[field].as_str().unwrap_or_default();
        let selector = |field: &str| {
            LabelSelector::from_value(hook.get(field)).unwrap_or_else(|_| LabelSelector::nothing())
        };
        let versions = hook["admissionReviewVersions"].as_array();
        Self {
            id,
            name: text("name").to_owned(),
            config: ClientConfig::from_value(&hook["clientConfig"]).map_err(|e| e.to_string()),
            rules: hook["rules"].as_array().into_iter().flatten().map(Rule::from_value).collect(),
            exact: text("matchPolicy") == "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            conditions: Conditions::new(hook),
            ignore_failures: text("failurePolicy") == "Ignore",
            takes_dry_runs: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(
                hook["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_TIMEOUT),
            ),
            reinvoked_if_needed: text("reinvocationPolicy") == "IfNeeded",
            review: versions.into_iter().flatten().find_map(|version| match version.as_str() {
                Some("v1") => Some("admission.k8s.io/v1"),
                Some("v1beta1") => Some("admission.k8s.io/v1beta1"),
                _ => None,
            }),
        }
    }
}

/// All webhooks of one kind of configuration, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Hooks {
    /// The plural name of the configurations.
    resource: &'static str,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The newest change that `hooks` show.
    revision: u64,
    hooks: Arc<[Hook]>,
}

impl Hooks {
    pub(super) fn new(resource: &'static str) -> Self {
        Self { resource, known: Mutex::default() }
    }

    /// As the configurations are now.
    pub(super) fn now(&self, registry: &Registry) -> Arc<[Hook]> {
        let Some(changes) = registry.changes(GROUP, self.resource) else { return Arc::default() };
        let revision = *changes.borrow();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revision != revision {
            // In the order of names, as the cache has them.
            let configurations = registry.cached_list(GROUP, self.resource, "");
            let hooks = configurations.iter().flat_map(|c| Hook::of_configuration(&c.value()));
            *known = Known { revision, hooks: hooks.collect() };
        }
        known.hooks.clone()
    }
}
