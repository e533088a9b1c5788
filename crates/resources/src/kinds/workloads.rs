//! Kinds that keep Pods running: Deployment, ReplicaSet, ReplicationController, DaemonSet,
//! StatefulSet, and the revisions some of them keep.

pub(super) mod status;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::selector::LabelSelector;
use machinery::{meta, names};
use serde_json::json;

use super::pod::{defaults, scheduling, spec as pod_spec, warnings};
use crate::cursor::{At, copy_field, items_mut, same, set_default, set_default_zero};
use crate::strategy::{
    Ctx, Generation, Propagation, StatusMetadata, Strategy, label_name, subdomain_name,
};

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

// Shared with Jobs and PodDisruptionBudgets.

/// The spec of an object, when it has one.
pub(super) fn spec_mut(object: &mut Value) -> Option<&mut Value> {
    object.get_mut("spec").filter(|s| s.is_object())
}

/// A number that is not negative or a percentage.
pub(super) fn int_or_percent(at: &At<'_>, errors: &mut ErrorList) {
    match at.value {
        Value::String(text) => {
            for message in names::percent(text) {
                at.invalid(errors, message);
            }
        }
        Value::Number(_) => at.non_negative(errors),
        _ => {}
    }
}

/// The percentage must not exceed the whole.
fn at_most_all(at: &At<'_>, errors: &mut ErrorList) {
    let percent = at.str().strip_suffix('%').and_then(|n| n.parse::<i64>().ok());
    if percent.is_some_and(|n| n > 100) {
        at.invalid(errors, "must not be greater than 100%");
    }
}

fn amount(at: &At<'_>) -> i64 {
    match at.value {
        Value::String(text) => text.strip_suffix('%').and_then(|n| n.parse().ok()).unwrap_or(0),
        value => value.as_i64().unwrap_or(0),
    }
}

/// The selector must be there, well-formed, select something, and select the template.
fn selector(spec: &At<'_>, empty: &str, errors: &mut ErrorList) {
    let selector = spec.get("selector");
    if selector.is_set() {
        scheduling::label_selector(&selector, errors);
        if selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty() {
            selector.invalid(errors, empty);
        }
    } else {
        selector.required(errors, "");
    }
    let template = spec.get("template");
    if let Ok(parsed) = LabelSelector::from_value(Some(selector.value)) {
        let labels = template.get("metadata").get("labels");
        let map = labels.value.as_object();
        if !parsed.is_nothing() && !parsed.is_everything() && !parsed.matches(&map) {
            labels.invalid(errors, "`selector` does not match template `labels`");
        }
    }
}

fn selector_and_template(spec: &At<'_>, empty: &str, what: &str, errors: &mut ErrorList) {
    selector(spec, empty, errors);
    let template = spec.get("template");
    pod_spec::template(&template, errors);
    always_running(&template, what, errors);
}

/// A template whose Pods are restarted for ever.
fn always_running(template: &At<'_>, what: &str, errors: &mut ErrorList) {
    let policy = template.get("spec").get("restartPolicy");
    if policy.str() != "Always" {
        policy.unsupported(errors, &["Always"]);
    }
    let deadline = template.get("spec").get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(errors, format!("activeDeadlineSeconds in {what} is not Supported"));
    }
}

fn default_template(spec: &mut Value) {
    if let Some(template) = spec.get_mut("template") {
        defaults::template(template);
    }
}

fn immutable_selector(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    spec.get("selector").unchanged(&before.get("selector"), errors);
}

fn warn_template(new: &Value, old: Option<&Value>) -> Vec<String> {
    let template = At::root(new).get("spec").get("template");
    let changed = old
        .is_none_or(|old| !same(template.value, At::root(old).get("spec").get("template").value));
    let mut given = Vec::new();
    if old.is_none() {
        warnings::host_name(meta::name(new), "Pod names and hostnames", &mut given);
    }
    if changed {
        given.extend(warnings::of_template(&template, true));
    }
    given
}

// === Deployment ===

/// The rules of Deployments.
pub(super) struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        default_template(spec);
        set_default(spec, "replicas", 1);
        set_default(spec, "strategy", json!({}));
        let strategy = &mut spec["strategy"];
        set_default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set_default(strategy, "rollingUpdate", json!({}));
            set_default(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
            set_default(&mut strategy["rollingUpdate"], "maxSurge", "25%");
        }
        set_default(spec, "revisionHistoryLimit", 10);
        set_default(spec, "progressDeadlineSeconds", 600);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(object).get("spec");
        spec.get("replicas").non_negative(&mut errors);
        selector_and_template(
            &spec,
            "empty selector is invalid for deployment",
            "ReplicaSet",
            &mut errors,
        );
        let strategy = spec.get("strategy");
        let rolling = strategy.get("rollingUpdate");
        match strategy.get("type").str() {
            "Recreate" => {
                if rolling.is_set() {
                    let detail = "may not be specified when strategy `type` is 'Recreate'";
                    rolling.forbidden(&mut errors, detail);
                }
            }
            "RollingUpdate" => {
                if rolling.is_set() {
                    rolling_update(&rolling, &mut errors);
                } else {
                    rolling.required(&mut errors, "this should be defaulted and never be nil");
                }
            }
            _ => strategy.get("type").unsupported(&mut errors, &["Recreate", "RollingUpdate"]),
        }
        let (ready, deadline) = (spec.get("minReadySeconds"), spec.get("progressDeadlineSeconds"));
        ready.non_negative(&mut errors);
        spec.get("revisionHistoryLimit").non_negative(&mut errors);
        if deadline.is_set() {
            deadline.non_negative(&mut errors);
            if deadline.int_or_zero() <= ready.int_or_zero() {
                deadline.invalid(&mut errors, "must be greater than minReadySeconds");
            }
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Keeps(&["labels"])
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        status::replica_counts(
            &status,
            &["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
            &mut errors,
        );
        let (count, before) =
            (status.get("collisionCount"), At::root(old).get("status").get("collisionCount"));
        if before.is_set() && count.int_or_zero() < before.int_or_zero() {
            count.invalid(&mut errors, "cannot be decremented");
        }
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_template(new, old)
    }
}

fn rolling_update(rolling: &At<'_>, errors: &mut ErrorList) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    int_or_percent(&unavailable, errors);
    int_or_percent(&surge, errors);
    if amount(&unavailable) == 0 && amount(&surge) == 0 {
        unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
    }
    at_most_all(&unavailable, errors);
}

// === ReplicaSet ===

/// The rules of ReplicaSets.
pub(super) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        default_template(spec);
        set_default(spec, "replicas", 1);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(object).get("spec");
        spec.get("replicas").non_negative(&mut errors);
        spec.get("minReadySeconds").non_negative(&mut errors);
        // Upstream says deployment here too.
        let empty = "empty selector is invalid for deployment";
        selector_and_template(&spec, empty, "ReplicaSet", &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        status::replica_counts(
            &status,
            &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
            &mut errors,
        );
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_template(new, old)
    }
}

// === ReplicationController ===

/// The rules of ReplicationControllers.
pub(super) struct ReplicationController;

impl Strategy for ReplicationController {
    /// As before there was a choice.
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn default(&self, object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        if let Some(labels) = labels.filter(Value::is_object) {
            if meta::labels(object).is_none_or(serde_json::Map::is_empty) {
                meta::metadata_mut(object).insert("labels".to_owned(), labels.clone());
            }
            if let Some(spec) = spec_mut(object) {
                set_default_zero(spec, "selector", labels);
            }
        }
        if let Some(spec) = spec_mut(object) {
            default_template(spec);
            set_default(spec, "replicas", 1);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(object).get("spec");
        spec.get("minReadySeconds").non_negative(&mut errors);
        let (selector, template) = (spec.get("selector"), spec.get("template"));
        selector.must(&mut errors);
        spec.get("replicas").non_negative(&mut errors);
        if template.must(&mut errors) {
            let labels = template.get("metadata").get("labels");
            let parsed = LabelSelector::from_map(Some(selector.value));
            if !parsed.is_nothing() && !parsed.matches(&labels.value.as_object()) {
                labels.invalid(&mut errors, "`selector` does not match template `labels`");
            }
            pod_spec::template(&template, &mut errors);
            always_running(&template, "ReplicationController", &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        status::replica_counts(
            &status,
            &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
            &mut errors,
        );
        status.get("observedGeneration").non_negative(&mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_template(new, old)
    }
}

// === DaemonSet ===

/// The rules of DaemonSets.
pub(super) struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        default_template(spec);
        set_default(spec, "updateStrategy", json!({}));
        let strategy = &mut spec["updateStrategy"];
        set_default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set_default(strategy, "rollingUpdate", json!({}));
            set_default(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
            set_default(&mut strategy["rollingUpdate"], "maxSurge", 0);
        }
        set_default(spec, "revisionHistoryLimit", 10);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        let generation = template_generation(object).max(1);
        meta::set_annotation(object, TEMPLATE_GENERATION, generation.to_string());
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        let changed = !same(
            new.pointer("/spec/template").unwrap_or(&Value::Null),
            old.pointer("/spec/template").unwrap_or(&Value::Null),
        );
        let generation = template_generation(old) + i64::from(changed);
        meta::set_annotation(new, TEMPLATE_GENERATION, generation.to_string());
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(object).get("spec");
        let empty = "empty selector is invalid for daemonset";
        selector_and_template(&spec, empty, "DaemonSet", &mut errors);
        spec.get("minReadySeconds").non_negative(&mut errors);
        let strategy = spec.get("updateStrategy");
        let rolling = strategy.get("rollingUpdate");
        match strategy.get("type").str() {
            "OnDelete" => {}
            "RollingUpdate" => {
                if rolling.is_set() {
                    let (unavailable, surge) =
                        (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
                    int_or_percent(&unavailable, &mut errors);
                    at_most_all(&unavailable, &mut errors);
                    int_or_percent(&surge, &mut errors);
                    at_most_all(&surge, &mut errors);
                    match (amount(&unavailable) != 0, amount(&surge) != 0) {
                        (true, true) => {
                            let detail = "may not be set when maxUnavailable is non-zero";
                            surge.invalid(&mut errors, detail);
                        }
                        (false, false) => {
                            let detail = "cannot be 0 when maxSurge is 0";
                            unavailable.required(&mut errors, detail);
                        }
                        _ => {}
                    }
                } else {
                    rolling.required(&mut errors, "");
                }
            }
            _ => strategy.get("type").unsupported(&mut errors, &["OnDelete", "RollingUpdate"]),
        }
        spec.get("revisionHistoryLimit").non_negative(&mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let fields = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ];
        status::counts(new, &fields, &mut errors);
        status::collisions(new, old, &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_template(new, old)
    }
}

/// How often the template changed; kept in an annotation since the field is gone from the API.
fn template_generation(object: &Value) -> i64 {
    meta::annotation(object, TEMPLATE_GENERATION).and_then(|n| n.parse().ok()).unwrap_or(0)
}

// === StatefulSet ===

/// The rules of StatefulSets.
pub(super) struct StatefulSet;

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
        let spec = At::root(object).get("spec");
        let policy = spec.get("podManagementPolicy");
        match policy.str() {
            "OrderedReady" | "Parallel" => {}
            "" => policy.required(&mut errors, ""),
            _ => policy.invalid(&mut errors, "must be 'OrderedReady' or 'Parallel'"),
        }
        let strategy = spec.get("updateStrategy");
        let rolling = strategy.get("rollingUpdate");
        match strategy.get("type").str() {
            "OnDelete" => {
                if rolling.is_set() {
                    let detail = "only allowed for updateStrategy 'RollingUpdate'";
                    rolling.invalid(&mut errors, detail);
                }
            }
            "RollingUpdate" => {
                rolling.get("partition").non_negative(&mut errors);
                let unavailable = rolling.get("maxUnavailable");
                if unavailable.is_set() {
                    int_or_percent(&unavailable, &mut errors);
                    if amount(&unavailable) == 0 {
                        unavailable.invalid(&mut errors, "cannot be 0");
                    }
                    at_most_all(&unavailable, &mut errors);
                }
            }
            "" => strategy.required(&mut errors, ""),
            _ => {
                strategy.invalid(&mut errors, "must be 'RollingUpdate' or 'OnDelete'");
            }
        }
        for field in ["whenDeleted", "whenScaled"] {
            let policy = spec.get("persistentVolumeClaimRetentionPolicy").get(field);
            policy.may_be_one_of(&mut errors, &["Retain", "Delete"]);
        }
        spec.get("replicas").non_negative(&mut errors);
        spec.get("minReadySeconds").non_negative(&mut errors);
        spec.get("ordinals").get("start").non_negative(&mut errors);
        spec.get("revisionHistoryLimit").non_negative(&mut errors);
        selector(&spec, "empty selector is invalid for statefulset", &mut errors);
        // What the containers mount may come from volumeClaimTemplates, so Pods are checked only
        // when they are made.
        let template = spec.get("template");
        crate::object_meta::validate_template(&template, &mut errors);
        always_running(&template, "StatefulSet", &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let null = Value::Null;
        let mut munged = new.get("spec").cloned().unwrap_or_default();
        let before = old.get("spec").unwrap_or(&null);
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            copy_field(&mut munged, before, field);
        }
        if !same(&munged, before) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            At::root(new).get("spec").forbidden(&mut errors, detail);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        status::replica_counts(
            &status,
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ],
            &mut errors,
        );
        let (count, before) =
            (status.get("collisionCount"), At::root(old).get("status").get("collisionCount"));
        if before.is_set() && count.int_or_zero() < before.int_or_zero() {
            errors.push(Error::invalid(&count.path, count.int_or_zero(), "cannot be decremented"));
        }
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_template(new, old)
    }
}

// === ControllerRevision ===

/// The rules of ControllerRevisions.
pub(super) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let object = At::root(object);
        let data = object.get("data");
        if !data.is_set() {
            data.required(&mut errors, "data is mandatory");
        }
        object.get("revision").non_negative(&mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        At::root(new).get("data").unchanged(&At::root(old).get("data"), &mut errors);
        errors
    }
}

// === PodTemplate ===

/// The rules of PodTemplates.
pub(super) struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(template) = object.get_mut("template") {
            defaults::template(template);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Content
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        pod_spec::template(&At::root(object).get("template"), &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let template = At::root(new).get("template");
        match old {
            Some(old) if same(template.value, At::root(old).get("template").value) => Vec::new(),
            _ => warnings::of_template(&template, true),
        }
    }
}

// === PodDisruptionBudget ===

/// The rules of PodDisruptionBudgets.
pub(super) struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(object).get("spec");
        let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
        if min.is_set() && max.is_set() {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(Error::invalid(&spec.path, spec.value.clone(), detail));
        }
        for limit in [min, max] {
            int_or_percent(&limit, &mut errors);
            at_most_all(&limit, &mut errors);
        }
        scheduling::label_selector(&spec.get("selector"), &mut errors);
        spec.get("unhealthyPodEvictionPolicy")
            .may_be_one_of(&mut errors, &["AlwaysAllow", "IfHealthyBudget"]);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        status::counts(new, &fields, &mut errors);
        errors
    }
}
