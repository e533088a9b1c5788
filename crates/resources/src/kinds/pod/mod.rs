//! Pods, and the templates that other kinds make Pods from.

pub(crate) mod containers;
pub(crate) mod defaults;
pub(crate) mod resources;
pub(crate) mod scheduling;
mod security;
pub(crate) mod spec;
#[cfg(test)]
mod tests;
mod update;
mod volumes;
pub(crate) mod warnings;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::meta;
use serde_json::json;

pub use resources::qos_class;

use crate::cursor::{At, copy_field};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// The rules of Pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        defaults::pod(object);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, pod: &mut Value) {
        let mut status = json!({"phase": "Pending", "qosClass": qos_class(pod)});
        if !At::root(pod).get("spec").get("schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": machinery::time::format(ctx.now),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        pod["status"] = status;
    }

    fn validate(&self, _ctx: &Ctx<'_>, pod: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        own_rules(pod, &mut errors);
        let spec = At::root(pod).get("spec");
        let ephemeral = spec.get("ephemeralContainers");
        if !ephemeral.is_empty() {
            ephemeral.forbidden(&mut errors, "cannot be set on create");
        }
        if !spec.get("schedulingGates").is_empty() && !spec.get("nodeName").is_empty() {
            let detail = "cannot be set until all schedulingGates have been cleared";
            spec.get("nodeName").forbidden(&mut errors, detail);
        }
        errors
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        // Ephemeral containers have a subresource of their own.
        if let (Some(spec), Some(before)) = (new.get_mut("spec"), old.get("spec")) {
            copy_field(spec, before, "ephemeralContainers");
        }
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        own_rules(new, &mut errors);
        update::check(new, old, &mut errors);
        errors
    }

    /// Owners are not the kubelet's to change.
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Keeps(&["deletionTimestamp", "ownerReferences"])
    }

    fn prepare_for_status_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        // The class follows from the spec.
        let qos = old.pointer("/status/qosClass").cloned().unwrap_or_else(|| json!(qos_class(old)));
        if let Some(status) = new.get_mut("status").filter(|s| s.is_object()) {
            status["qosClass"] = qos;
        }
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        update::check_status(new, old, &mut errors);
        errors
    }

    fn prepare_for_subresource(
        &self,
        _ctx: &Ctx<'_>,
        subresource: &str,
        new: &mut Value,
        old: &Value,
    ) {
        let asked = new.clone();
        let metadata = new.get("metadata").cloned();
        *new = old.clone();
        if let Some(metadata) = metadata {
            new["metadata"] = metadata;
        }
        match subresource {
            "ephemeralcontainers" => {
                if let (Some(spec), Some(asked)) = (new.get_mut("spec"), asked.get("spec")) {
                    copy_field(spec, asked, "ephemeralContainers");
                }
            }
            "resize" => copy_field(new, &asked, "spec"),
            _ => {}
        }
    }

    fn validate_subresource(
        &self,
        _ctx: &Ctx<'_>,
        subresource: &str,
        new: &Value,
        old: &Value,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        match subresource {
            "ephemeralcontainers" => {
                own_rules(new, &mut errors);
                update::check_ephemeral(new, old, &mut errors);
            }
            "resize" => {
                own_rules(new, &mut errors);
                update::check_resize(new, old, &mut errors);
            }
            _ => {}
        }
        errors
    }

    fn graceful_deletion(
        &self,
        _ctx: &Ctx<'_>,
        pod: &Value,
        requested: Option<i64>,
    ) -> Option<i64> {
        let spec = At::root(pod).get("spec");
        let mut period =
            requested.or_else(|| spec.get("terminationGracePeriodSeconds").int()).unwrap_or(0);
        // A Pod that no kubelet has, or that has come to its end, has nothing left to do.
        let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        if spec.get("nodeName").is_empty() || matches!(phase, "Failed" | "Succeeded") {
            period = 0;
        }
        Some(if period < 0 { 1 } else { period })
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        match old {
            // Almost nothing of a Pod can change, so its warnings were given before.
            Some(_) => Vec::new(),
            None => {
                let mut given = Vec::new();
                warnings::host_name(meta::name(new), "the Pod's hostname", &mut given);
                given.extend(warnings::of_template(&At::root(new), false));
                given
            }
        }
    }
}

/// Rules that hold for Pods but not for templates.
fn own_rules(pod: &Value, errors: &mut ErrorList) {
    let spec = At::root(pod).get("spec");
    if let Some(mirror) = meta::annotation(pod, MIRROR)
        && spec.get("nodeName").is_empty()
    {
        let path = machinery::field::Path::new("metadata").child("annotations").key(MIRROR);
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path, mirror, detail));
    }
    self::spec::check(&spec, true, errors);
    if spec.get("serviceAccountName").is_empty() {
        for volume in spec.get("volumes").list() {
            for source in volume.get("projected").get("sources").list() {
                let token = source.get("serviceAccountToken");
                if token.is_set() {
                    let detail = "must not be specified when serviceAccountName is not set";
                    token.forbidden(errors, detail);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).list() {
            containers::own_image(&container, errors);
        }
    }
}
