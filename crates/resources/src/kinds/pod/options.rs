//! What the rules for a Pod's spec let pass: what a rule came too late for may stay in objects
//! that have it already.

use machinery::Value;

use super::containers::all_containers;
use super::{affinity, annotations, requirements, scheduling, security, spread, volumes};
use crate::cursor::At;

/// What a check of a spec depends on besides the spec.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options<'a> {
    /// The metadata of the Pod whose spec it is; none for templates, which may leave more open.
    pub(super) pod: Option<&'a Value>,
    /// The cost of deletion may be no number.
    pub(super) odd_deletion_cost: bool,
    /// Selectors of other Pods may ask for values that no label has.
    pub(super) odd_pod_values: bool,
    /// Selectors of Nodes may ask for values that no label has.
    pub(super) odd_node_values: bool,
    /// Selectors of siblings may be malformed.
    pub(super) odd_spread_selectors: bool,
    /// Keys beside selectors of siblings follow an older rule.
    pub(super) older_spread_keys: bool,
    /// Huge pages may be asked for by halves.
    pub(super) broken_huge_pages: bool,
    /// Tokens may be put outside their volume.
    pub(super) odd_token_paths: bool,
    /// Kernel parameters of a namespace may be set although that is the host's.
    pub(super) host_sysctls: bool,
    /// Labels of SELinux may be changed by mounting.
    pub(super) any_selinux_policy: bool,
    /// A user namespace may go with the host's network.
    pub(super) host_network_users: bool,
    /// A user namespace may go with raw devices.
    pub(super) user_devices: bool,
    /// Tolerations may compare numbers.
    pub(super) numeric_tolerations: bool,
    /// Init containers that end may be restarted by a resize.
    pub(super) restarted_init: bool,
}

impl<'a> Options<'a> {
    /// For a Pod that replaces `old`, if it does.
    pub(super) fn of_pod(pod: &'a Value, old: Option<&Value>) -> Self {
        static NONE: Value = Value::Null;
        let options = old.map(|old| Self::beside(&At::root(old))).unwrap_or_default();
        Self { pod: Some(pod.get("metadata").unwrap_or(&NONE)), ..options }
    }

    /// For a template that replaces `old`, if it does.
    pub(super) fn of_template(old: Option<&At<'_>>) -> Self {
        old.map(|old| Self::beside(old)).unwrap_or_default()
    }

    fn beside(old: &At<'_>) -> Self {
        let (spec, context) = (old.get("spec"), old.get("spec").get("securityContext"));
        let host_users = spec.get("hostUsers").value.as_bool();
        let mut containers = all_containers(&spec);
        let constraints = spec.get("topologySpreadConstraints");
        let required = spec.get("affinity").get("nodeAffinity").get(affinity::REQUIRED);
        Self {
            pod: None,
            odd_deletion_cost: !annotations::has_deletion_cost_or_none(&old.get("metadata")),
            odd_pod_values: affinity::has_odd_values(&spec.get("affinity")),
            odd_node_values: scheduling::has_odd_values(&required),
            odd_spread_selectors: spread::has_odd_selectors(&constraints),
            older_spread_keys: spread::has_odd_keys(&constraints),
            broken_huge_pages: requirements::has_broken_huge_pages(&spec),
            odd_token_paths: volumes::has_odd_token_paths(&spec.get("volumes")),
            host_sysctls: security::has_host_sysctls(&spec),
            any_selinux_policy: context.get("seLinuxChangePolicy").is_set(),
            host_network_users: spec.get("hostNetwork").bool() && host_users == Some(false),
            user_devices: host_users == Some(false)
                && containers.any(|(_, container)| !container.get("volumeDevices").is_empty()),
            numeric_tolerations: scheduling::are_numeric(&spec.get("tolerations")),
            restarted_init: spec.get("initContainers").list().any(|container| {
                let policies = container.get("resizePolicy");
                container.get("restartPolicy").str() != "Always"
                    && policies.list().any(|p| p.get("restartPolicy").str() == "RestartContainer")
            }),
        }
    }
}
