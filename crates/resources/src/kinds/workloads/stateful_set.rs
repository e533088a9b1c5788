//! StatefulSets.

use machinery::field::ErrorList;
use machinery::{Value, names};
use serde_json::json;

use super::{
    SelectorWords, always_running, amount, at_most_all, default_template, int_or_percent, selector,
    spec_mut, status, warn_template,
};
use crate::cursor::{At, copy_field, items_mut, same, set_default, set_default_zero};
use crate::kinds::pod::{spec as pod_spec, warnings};
use crate::kinds::storage::claim_spec;
use crate::strategy::{Ctx, Generation, Strategy, label_name};

/// What may change after the creation.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// The rules of StatefulSets.
pub(in crate::kinds) struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        default_template(spec);
        set_default_zero(spec, "podManagementPolicy", "OrderedReady");
        set_default(spec, "updateStrategy", json!({}));
        let strategy = &mut spec["updateStrategy"];
        if At::root(strategy).get("type").is_empty() {
            set_default_zero(strategy, "type", "RollingUpdate");
            set_default(strategy, "rollingUpdate", json!({"partition": 0}));
        }
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = strategy.get_mut("rollingUpdate").filter(|r| r.is_object())
        {
            set_default(rolling, "partition", 0);
        }
        set_default(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
        let retention = &mut spec["persistentVolumeClaimRetentionPolicy"];
        set_default_zero(retention, "whenDeleted", "Retain");
        set_default_zero(retention, "whenScaled", "Retain");
        set_default(spec, "replicas", 1);
        set_default(spec, "revisionHistoryLimit", 10);
        for claim in items_mut(spec, "volumeClaimTemplates") {
            set_default_zero(claim, "apiVersion", "v1");
            set_default_zero(claim, "kind", "PersistentVolumeClaim");
            if let Some(spec) = claim.get_mut("spec").filter(|s| s.is_object()) {
                set_default(spec, "volumeMode", "Filesystem");
            }
            set_default(claim, "status", json!({}));
            set_default_zero(&mut claim["status"], "phase", "Pending");
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        label_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let all = Leniency { is_update: false, skip_template: false };
        check(&At::root(object).get("spec"), None, all, &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        // What has got in before may stay as it is.
        let mut known = ErrorList::new();
        let all = Leniency { is_update: true, skip_template: false };
        check(&before, Some(&before), all, &mut known);
        let lenient = Leniency { is_update: true, skip_template: !known.is_empty() };
        check(&spec, Some(&before), lenient, &mut errors);
        let mut munged = spec.value.clone();
        for field in MUTABLE {
            copy_field(&mut munged, before.value, field);
        }
        if !same(&munged, before.value) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            spec.forbidden(&mut errors, detail);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        status::counts(
            new,
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
            &mut errors,
        );
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        status::parts(new, &parts, "status.readyReplicas", &mut errors);
        status::collisions(new, old, &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut given = warn_template(new, old);
        let spec = At::root(new).get("spec");
        for claim in spec.get("volumeClaimTemplates").list() {
            // Upstream leaves the step out on creation and writes it large on update.
            let path = if old.is_some() { claim.path.child("Spec") } else { claim.path.clone() };
            let requests = claim.get("spec").get("resources").get("requests");
            let path = path.child("resources").child("requests").key("storage");
            let amount = requests.get("storage").value;
            warnings::whole_bytes(&At::new(amount, path), &mut given);
        }
        if spec.get("revisionHistoryLimit").int_or_zero() < 0 {
            given.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        given
    }
}

/// What is not looked at, since it may have been let in before there were rules for it.
#[derive(Clone, Copy)]
struct Leniency {
    /// Then names of Services and claims are left alone.
    is_update: bool,
    skip_template: bool,
}

fn check(spec: &At<'_>, before: Option<&At<'_>>, lenient: Leniency, errors: &mut ErrorList) {
    let policy = spec.get("podManagementPolicy");
    match policy.str() {
        "OrderedReady" | "Parallel" => {}
        "" => policy.required(errors, ""),
        _ => policy.invalid(errors, "must be 'OrderedReady' or 'Parallel'"),
    }
    check_strategy(&spec.get("updateStrategy"), errors);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for policy in ["whenDeleted", "whenScaled"].map(|field| retention.get(field)) {
        if retention.is_set() && !matches!(policy.str(), "Retain" | "Delete") {
            policy.unsupported(errors, &["Retain", "Delete"]);
        }
    }
    if !lenient.is_update {
        for claim in spec.get("volumeClaimTemplates").list() {
            claim_spec(&claim.get("spec"), errors);
        }
    }
    spec.get("replicas").non_negative(errors);
    spec.get("minReadySeconds").non_negative(errors);
    spec.get("ordinals").get("start").non_negative(errors);
    if !lenient.is_update {
        spec.get("serviceName").may_form(errors, names::dns1123_label);
    }
    let words = SelectorWords { empty: "empty selector is invalid for statefulset", malformed: "" };
    if selector(spec, &words, errors) && !lenient.skip_template {
        check_template(spec, before, errors);
    }
    always_running(&spec.get("template"), "StatefulSet", errors);
}

fn check_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "OnDelete" => {
            if rolling.is_set() {
                rolling.invalid(errors, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            rolling.get("partition").non_negative(errors);
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.is_set() {
                int_or_percent(&unavailable, errors);
                if amount(&unavailable) == 0 {
                    unavailable.invalid(errors, "cannot be 0");
                }
                at_most_all(&unavailable, errors);
            }
        }
        "" => strategy.required(errors, ""),
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// Checks the template as its Pods will be: claims stand in for volumes.
fn check_template(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    let template = spec.get("template");
    let own = |name: &str| {
        let volumes = template.get("spec").get("volumes");
        volumes.list().any(|volume| volume.get("name").str() == name)
    };
    let claims: Vec<Value> = spec
        .get("volumeClaimTemplates")
        .list()
        .map(|claim| claim.get("metadata").get("name").str())
        .filter(|name| !own(name))
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    let mut whole = template.value.clone();
    if let Some(pod) = whole.get_mut("spec").filter(|pod| pod.is_object() && !claims.is_empty()) {
        set_default(pod, "volumes", json!([]));
        if let Some(volumes) = pod["volumes"].as_array_mut() {
            volumes.extend(claims);
        }
    }
    let before = before.map(|before| before.get("template"));
    pod_spec::template(&At::new(&whole, template.path), before.as_ref(), errors);
}
