//! The status of a claim: which devices it has, who uses it, what drivers say about its devices.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::{Value, meta, names};
use serde_json::json;

use super::request::Names;
use super::{conditions, forms, request, taint};
use crate::cursor::{At, remove, same};
use crate::kinds::pod::scheduling;
use crate::kinds::storage::driver_name;

const MAX_RESERVATIONS: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA: usize = 10 * 1024;
const MAX_INTERFACE_NAME: usize = 256;
const MAX_HARDWARE_ADDRESS: usize = 128;
const MAX_IPS: usize = 16;

/// Driver, pool, device and, where it is one, the share of a device.
type DeviceId<'a> = [&'a str; 4];

fn device_id<'a>(of: &At<'a>) -> DeviceId<'a> {
    ["driver", "pool", "device", "shareID"].map(|field| of.get(field).str())
}

fn results<'a>(status: &At<'a>) -> At<'a> {
    status.get("allocation").get("devices").get("results")
}

/// Forgets what drivers said about devices that the claim had and has no more.
pub(super) fn forget_deallocated(new: &mut Value, old: &Value) {
    let devices = |claim: &Value| -> BTreeSet<Vec<String>> {
        let id = |at: At<'_>| device_id(&at)[..3].iter().map(ToString::to_string).collect();
        results(&At::root(claim).get("status")).list().map(id).collect()
    };
    let gone = &devices(old) - &devices(new);
    let Some(status) = new.get_mut("status") else { return };
    if let Some(known) = status.get_mut("devices").and_then(Value::as_array_mut) {
        known.retain(|device| {
            let id = device_id(&At::root(device));
            !gone.iter().any(|gone| gone[..] == id[..3])
        });
        if known.is_empty() {
            remove(status, "devices");
        }
    }
}

/// Checks a new status.
pub(super) fn check(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
    let (reserved, allocation) = (status.get("reservedFor"), status.get("allocation"));
    let consumer = |consumer: &At<'_>, errors: &mut ErrorList| {
        for field in ["resource", "name", "uid"] {
            consumer.get(field).must(errors);
        }
    };
    let uid = |consumer: &At<'_>| consumer.get("uid").str().to_owned();
    forms::set(&reserved, MAX_RESERVATIONS, &mut errors, consumer, uid);
    let allocated: BTreeSet<DeviceId<'_>> =
        results(&status).list().map(|result| device_id(&result)).collect();
    let devices = status.get("devices");
    for device in devices.list() {
        device_status(&device, &allocated, &mut errors);
    }
    forms::duplicates(&devices, &mut errors, |device| (device_id(device).join("/"), shown_id()));
    if !reserved.is_empty() {
        let known = before.get("reservedFor");
        let added = reserved
            .items()
            .iter()
            .any(|consumer| !known.items().iter().any(|before| same(before, consumer)));
        if !allocation.is_set() {
            let detail = "may not be specified when `allocated` is not set";
            reserved.forbidden(&mut errors, detail);
        } else if added && meta::deletion_timestamp(new).is_some() {
            let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            reserved.forbidden(&mut errors, detail);
        }
    }
    // What was allocated is not checked again: the rules are stricter than they were.
    if before.get("allocation").is_set() && allocation.is_set() {
        allocation.unchanged(&before.get("allocation"), &mut errors);
    } else if allocation.is_set() {
        let names = Names::of(&At::root(new).get("spec").get("devices"));
        check_allocation(&allocation, &names, &mut errors);
    }
    errors
}

/// Upstream shows nothing of what identifies a device.
fn shown_id() -> Value {
    json!({"Driver": {}, "Pool": {}, "Device": {}, "ShareID": {}})
}

fn check_allocation(allocation: &At<'_>, requests: &Names<'_>, errors: &mut ErrorList) {
    let devices = allocation.get("devices");
    forms::items(&devices.get("results"), MAX_RESULTS, errors, |result, errors| {
        check_result(result, requests, errors);
    });
    let max = 2 * request::MAX_CONFIGS;
    forms::items(&devices.get("config"), max, errors, |config, errors| {
        config.get("source").one_of(errors, &["FromClaim", "FromClass"]);
        requests.check_all(&config.get("requests"), errors);
        request::configuration(config, false, errors);
    });
    let selector = allocation.get("nodeSelector");
    if selector.is_set() {
        scheduling::node_selector(&selector, errors);
    }
}

fn check_result(result: &At<'_>, requests: &Names<'_>, errors: &mut ErrorList) {
    requests.check(&result.get("request"), errors);
    driver_name(&result.get("driver"), errors);
    forms::pool_name(&result.get("pool"), errors);
    result.get("device").form(errors, names::dns1123_label);
    conditions::check(result, errors);
    for toleration in result.get("tolerations").list() {
        taint::toleration(&toleration, errors);
    }
    if result.get("shareID").is_set() {
        forms::uid(&result.get("shareID"), errors);
    }
}

fn device_status(device: &At<'_>, allocated: &BTreeSet<DeviceId<'_>>, errors: &mut ErrorList) {
    driver_name(&device.get("driver"), errors);
    forms::pool_name(&device.get("pool"), errors);
    device.get("device").form(errors, names::dns1123_label);
    if device.get("shareID").is_set() {
        forms::uid(&device.get("shareID"), errors);
    }
    if !allocated.contains(&device_id(device)) {
        let detail = "must be an allocated device in the claim";
        errors.push(Error::invalid(&device.path, shown_id(), detail));
    }
    let conditions = device.get("conditions");
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&conditions.path, conditions.len(), MAX_CONDITIONS));
    }
    crate::kinds::forms::conditions(&conditions, errors);
    if device.get("data").is_set() {
        forms::json_object(&device.get("data"), false, MAX_DATA, errors);
    }
    network(&device.get("networkData"), errors);
}

fn network(data: &At<'_>, errors: &mut ErrorList) {
    for (field, max) in
        [("interfaceName", MAX_INTERFACE_NAME), ("hardwareAddress", MAX_HARDWARE_ADDRESS)]
    {
        let text = data.get(field);
        if text.str().len() > max {
            errors.push(Error::too_long(&text.path, max));
        }
    }
    let address = |address: &At<'_>, errors: &mut ErrorList| {
        address.form(errors, crate::kinds::forms::interface_address);
    };
    forms::set(&data.get("ips"), MAX_IPS, errors, address, forms::text_key);
}
