//! Pods, and the templates that other kinds make Pods from.

mod affinity;
mod annotations;
mod containers;
pub(crate) mod defaults;
mod environment;
pub(crate) mod handlers;
mod mounts;
mod options;
mod projected;
pub(crate) mod requirements;
mod resize;
pub(crate) mod resources;
pub(crate) mod scheduling;
mod security;
pub(in crate::kinds) mod sources;
pub(crate) mod spec;
mod spread;
mod status;
#[cfg(test)]
mod tests;
mod update;
pub(in crate::kinds) mod volumes;
pub(crate) mod warnings;
mod windows;

use machinery::Value;
use machinery::field::{ErrorList, Path};
use machinery::meta;
use serde_json::json;

pub use resources::qos_class;

use self::options::Options;
use crate::cursor::{At, copy_field};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

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
        spread::merge_label_keys(pod);
        annotations::app_armor_fields(pod);
    }

    fn validate(&self, _ctx: &Ctx<'_>, pod: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check(pod, &Options::of_pod(pod, None), &mut errors);
        let spec = At::root(pod).get("spec");
        let ephemeral = spec.get("ephemeralContainers");
        if !ephemeral.is_empty() {
            ephemeral.forbidden(&mut errors, "cannot be set on create");
        }
        if !spec.get("schedulingGates").is_empty() && !spec.get("nodeName").is_empty() {
            let detail = "cannot be set until all schedulingGates have been cleared";
            spec.get("nodeName").forbidden(&mut errors, detail);
        }
        annotations::check_profiles(&At::root(pod), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let options = Options::of_pod(new, Some(old));
        check(new, &options, &mut errors);
        annotations::check_update(new, old, &mut errors);
        update::check(new, old, &options, &mut errors);
        errors
    }

    /// Owners are not the kubelet's to change.
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Keeps(&["deletionTimestamp", "ownerReferences"])
    }

    fn prepare_for_status_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        status::prepare(new, old);
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("metadata").child("annotations");
        annotations::check_update(new, old, &mut errors);
        let options = Options::of_pod(new, Some(old));
        annotations::check(&At::root(new), &path, &options, &mut errors);
        status::check(new, old, &mut errors);
        errors
    }

    fn prepare_for_subresource(
        &self,
        _ctx: &Ctx<'_>,
        subresource: &str,
        new: &mut Value,
        old: &Value,
    ) {
        if subresource == "resize" && !resize::has_same_number(new, old) {
            // The check says so.
            return;
        }
        let asked = new.get("spec").cloned().unwrap_or_default();
        for field in ["spec", "status"] {
            copy_field(new, old, field);
        }
        StatusMetadata::Kept.keep(new, old);
        let Some(spec) = new.get_mut("spec") else { return };
        match subresource {
            "ephemeralcontainers" => copy_field(spec, &asked, "ephemeralContainers"),
            "resize" => resize::take(spec, &asked),
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
        check(new, &Options::of_pod(new, Some(old)), &mut errors);
        match subresource {
            "ephemeralcontainers" => {
                annotations::check_update(new, old, &mut errors);
                update::check_ephemeral(new, old, &mut errors);
            }
            "resize" => resize::check(new, old, &mut errors),
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

    fn warnings_before_create(&self, pod: &Value) -> Vec<String> {
        let path = Path::new("metadata").child("annotations");
        annotations::profiles_to_set(pod)
            .into_iter()
            .map(|(key, _)| warnings::app_armor(&path.key(key)))
            .collect()
    }

    fn status_warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> Vec<String> {
        let status = At::root(new).get("status");
        let lists = [status.get("podIPs"), status.get("hostIPs")];
        let addresses = lists.iter().flat_map(At::list).map(|entry| entry.get("ip"));
        addresses.filter_map(|ip| super::addresses::odd_address(&ip)).collect()
    }
}

/// What holds for Pods at all times.
fn check(pod: &Value, options: &Options<'_>, errors: &mut ErrorList) {
    let root = At::root(pod);
    let spec = root.get("spec");
    annotations::check(&root, &Path::new("metadata").child("annotations"), options, errors);
    self::spec::check(&spec, options, errors);
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
