//! What CSI drivers and their helpers write: drivers, what nodes have, capacities, attachments.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::quantity::Quantity;
use machinery::{Value, names};
use serde_json::json;

use super::volume::{driver_name, inline_spec};
use crate::cursor::{At, remove, same, set_default, set_default_zero};
use crate::kinds::internal;
use crate::kinds::pod::{scheduling, warnings};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

const PACKAGE: &str = "io.k8s.api.storage.v1";
const MAX_NODE_ID: usize = 256;
const MAX_METADATA: usize = 256 * 1024;
const MAX_MESSAGE: usize = 1024;
const MIN_TOKEN_SECONDS: i64 = 600;
const MIN_UPDATE_SECONDS: i64 = 10;

// === CSIDriver ===

/// The rules of CSIDrivers.
pub(in crate::kinds) struct CsiDriver;

impl Strategy for CsiDriver {
    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn default(&self, driver: &mut Value) {
        let Some(spec) = driver.get_mut("spec").filter(|s| s.is_object()) else { return };
        set_default(spec, "attachRequired", true);
        set_default(spec, "podInfoOnMount", false);
        set_default(spec, "storageCapacity", false);
        set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        set_default_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
        set_default(spec, "requiresRepublish", false);
        set_default(spec, "seLinuxMount", false);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, driver: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(driver).get("spec");
        spec.get("fsGroupPolicy")
            .set_to_one_of(&mut errors, &["File", "None", "ReadWriteOnceWithFSType"]);
        let mut audiences = BTreeSet::new();
        for request in spec.get("tokenRequests").list() {
            let (audience, seconds) = (request.get("audience"), request.get("expirationSeconds"));
            if !audiences.insert(audience.str()) {
                audience.duplicate(&mut errors);
                continue;
            }
            let Some(n) = seconds.int() else { continue };
            if n < MIN_TOKEN_SECONDS {
                let detail = "may not specify a duration less than 10 minutes";
                seconds.invalid(&mut errors, detail);
            }
            if n > 1 << 32 {
                let detail = "may not specify a duration larger than 2^32 seconds";
                seconds.invalid(&mut errors, detail);
            }
        }
        let modes = spec.get("volumeLifecycleModes");
        for mode in modes.list() {
            if !matches!(mode.str(), "Persistent" | "Ephemeral") {
                let known = ["Persistent", "Ephemeral"];
                errors.push(Error::not_supported(&modes.path, mode.str(), &known));
            }
        }
        let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
        if period.int().is_some_and(|n| n < MIN_UPDATE_SECONDS) {
            period.invalid(&mut errors, "must be greater than or equal to 10 seconds");
        }
        let in_secrets = spec.get("serviceAccountTokenInSecrets");
        if in_secrets.is_set() && spec.get("tokenRequests").is_empty() {
            let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            in_secrets.invalid(&mut errors, detail);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        // Upstream's own name in the path.
        let attach = At::new(spec.get("attachRequired").value, spec.path.child("attachedRequired"));
        attach.unchanged(&before.get("attachRequired"), &mut errors);
        spec.get("volumeLifecycleModes")
            .unchanged(&before.get("volumeLifecycleModes"), &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

// === CSINode ===

/// The rules of CSINodes.
pub(in crate::kinds) struct CsiNode;

impl Strategy for CsiNode {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, node: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut taken = BTreeSet::new();
        for driver in At::root(node).get("spec").get("drivers").list() {
            let (name, id) = (driver.get("name"), driver.get("nodeID"));
            driver_name(&name, &mut errors);
            id.must(&mut errors);
            if id.str().len() > MAX_NODE_ID {
                id.invalid(&mut errors, format!("must be {MAX_NODE_ID} characters or less"));
            }
            driver.get("allocatable").get("count").non_negative(&mut errors);
            if !taken.insert(name.str()) {
                name.duplicate(&mut errors);
            }
            let mut keys = BTreeSet::new();
            for key in driver.get("topologyKeys").list() {
                let at = At::new(key.value, driver.path.clone());
                at.must(&mut errors);
                if !keys.insert(key.str()) {
                    at.duplicate(&mut errors);
                }
                at.form(&mut errors, names::qualified_name);
            }
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let drivers = |node| At::root(node).get("spec").get("drivers");
        let fixed = |driver: &Value| {
            let mut driver = driver.clone();
            remove(&mut driver, "allocatable");
            driver
        };
        for before in drivers(old).items() {
            let is_same = |driver: &&Value| driver.get("name") == before.get("name");
            for driver in drivers(new).items().iter().filter(is_same) {
                let driver = fixed(driver);
                if !same(&driver, &fixed(before)) {
                    let shown = internal::form_of_group(&driver, PACKAGE, "CSINodeDriver");
                    errors.push(Error::immutable(&drivers(new).path, shown));
                }
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

// === CSIStorageCapacity ===

/// The rules of CSIStorageCapacities.
pub(in crate::kinds) struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut given = Vec::new();
        let selector = At::root(new).get("nodeTopology");
        warnings::node_requirements(&selector.get("matchExpressions"), &mut given);
        let labels = selector.get("matchLabels");
        for (key, _) in labels.entries() {
            if let Some(why) = warnings::node_label(key) {
                given.push(format!("{}: {why}", labels.path.child(key.to_owned())));
            }
        }
        given
    }

    fn validate(&self, _ctx: &Ctx<'_>, capacity: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let root = At::root(capacity);
        scheduling::label_selector(&root.get("nodeTopology"), &mut errors);
        let class = root.get("storageClassName");
        for message in names::dns1123_subdomain(class.str()) {
            errors.push(Error::invalid(&class.path, class.str(), message));
        }
        let amount = root.get("capacity");
        if Quantity::from_value(amount.value).is_some_and(|amount| amount.is_negative()) {
            amount.invalid(&mut errors, "must be greater than or equal to 0");
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for field in ["nodeTopology", "storageClassName"] {
            At::root(new).get(field).unchanged(&At::root(old).get(field), &mut errors);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

// === VolumeAttachment ===

/// The rules of VolumeAttachments.
pub(in crate::kinds) struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, attachment: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        attachment_rules(attachment, &mut errors);
        let spec = At::root(attachment).get("spec");
        let attacher = At::new(spec.get("attacher").value, Path::new("spec.attacher"));
        driver_name(&attacher, &mut errors);
        let volume = spec.get("source").get("persistentVolumeName");
        if volume.is_set() {
            volume.form(&mut errors, names::dns1123_subdomain);
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        attachment_rules(new, &mut errors);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        if !same(spec.value, before.value) {
            let shown = internal::form_of_group(spec.value, PACKAGE, "VolumeAttachmentSpec");
            errors.push(Error::immutable(&spec.path, shown));
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        attachment_rules(new, &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn attachment_rules(attachment: &Value, errors: &mut ErrorList) {
    let spec = At::root(attachment).get("spec");
    spec.get("attacher").must(errors);
    let source = spec.get("source");
    let (name, inline) = (source.get("persistentVolumeName"), source.get("inlineVolumeSpec"));
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (name.is_set(), inline.is_set()) {
        (false, false) => source.required(errors, one),
        (true, true) => source.forbidden(errors, one),
        (true, false) => {
            if name.is_empty() {
                name.required(errors, "must specify non empty persistentVolumeName");
            }
        }
        (false, true) => inline_spec(&inline, errors),
    }
    let node = spec.get("nodeName");
    for message in names::dns1123_subdomain(node.str()) {
        errors.push(Error::invalid(&node.path, node.str(), message));
    }
    let status = At::root(attachment).get("status");
    let metadata = status.get("attachmentMetadata");
    let size: usize = metadata.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if size > MAX_METADATA {
        errors.push(Error::too_long(&metadata.path, MAX_METADATA));
    }
    for field in ["attachError", "detachError"] {
        let error = status.get(field);
        let (message, code) = (error.get("message"), error.get("errorCode"));
        if message.str().len() > MAX_MESSAGE {
            errors.push(Error::too_long(&message.path, MAX_METADATA));
        }
        if code.int_or_zero() < 0 {
            code.invalid(errors, names::inclusive_range(0, i64::from(i32::MAX)));
        }
    }
}
