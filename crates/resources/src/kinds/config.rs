//! ConfigMaps, Secrets and ServiceAccounts.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};
use serde_json::json;

use super::forms::go_json;
use crate::cursor::{At, remove, same, set_default_zero};
use crate::strategy::{Ctx, Strategy, subdomain_name};

const MAX_SIZE: usize = 1024 * 1024;
const FIXED: &str = "field is immutable when `immutable` is set";

/// Once `immutable` is set, neither it nor the data changes.
fn immutable(new: &Value, old: &Value, fields: &[&'static str], errors: &mut ErrorList) {
    let (new, old) = (At::root(new), At::root(old));
    if !old.get("immutable").bool() {
        return;
    }
    if !new.get("immutable").bool() {
        new.get("immutable").forbidden(errors, FIXED);
    }
    for field in fields {
        if !same(new.get(field).value, old.get(field).value) {
            new.get(field).forbidden(errors, FIXED);
        }
    }
}

/// The size of base64 text once decoded.
fn decoded_size(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(2)
}

// === ConfigMap ===

/// The rules of ConfigMaps.
pub(super) struct ConfigMap;

impl Strategy for ConfigMap {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let map = At::root(object);
        let (data, binary) = (map.get("data"), map.get("binaryData"));
        let mut size = 0;
        for (key, value) in data.entries() {
            for message in names::config_map_key(key) {
                errors.push(Error::invalid(&value.path, key, message));
            }
            if binary.value.get(key).is_some() {
                let detail = "duplicate of key present in binaryData";
                errors.push(Error::invalid(&value.path, key, detail));
            }
            size += value.str().len();
        }
        for (key, value) in binary.entries() {
            for message in names::config_map_key(key) {
                errors.push(Error::invalid(&value.path, key, message));
            }
            size += decoded_size(value.str());
        }
        if size > MAX_SIZE {
            errors.push(Error::too_long(&Path::new(""), MAX_SIZE));
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        immutable(new, old, &["data", "binaryData"], &mut errors);
        errors.extend(self.validate(ctx, new));
        errors
    }
}

// === Secret ===

/// The rules of Secrets.
pub(super) struct Secret;

impl Strategy for Secret {
    fn default(&self, secret: &mut Value) {
        set_default_zero(secret, "type", "Opaque");
        // What is written as text is kept as bytes.
        let texts = secret.get("stringData").and_then(Value::as_object).cloned();
        for (key, text) in texts.into_iter().flatten() {
            let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
            if !secret.get("data").is_some_and(Value::is_object) {
                secret["data"] = json!({});
            }
            secret["data"][key.as_str()] = json!(encoded);
        }
        remove(secret, "stringData");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, secret: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let data = At::root(secret).get("data");
        let mut size = 0;
        for (key, value) in data.entries() {
            for message in names::config_map_key(key) {
                errors.push(Error::invalid(&value.path, key, message));
            }
            size += decoded_size(value.str());
        }
        if size > MAX_SIZE {
            errors.push(Error::too_long(&data.path, MAX_SIZE));
        }
        by_type(secret, &data, &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(new).get("type").unchanged(&At::root(old).get("type"), &mut errors);
        immutable(new, old, &["data"], &mut errors);
        errors.extend(self.validate(ctx, new));
        errors
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        // A client that does not know types does not change them.
        let empty = new.get("type").and_then(Value::as_str).is_none_or(str::is_empty);
        if empty {
            crate::cursor::copy_field(new, old, "type");
        }
    }
}

fn by_type(secret: &Value, data: &At<'_>, errors: &mut ErrorList) {
    let has = |key: &str| data.value.get(key).is_some();
    let demand = |key: &str, errors: &mut ErrorList| {
        if !has(key) {
            errors.push(Error::required(&data.path.key(key), ""));
        }
    };
    match secret.get("type").and_then(Value::as_str).unwrap_or_default() {
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            if meta::annotation(secret, NAME).is_none_or(str::is_empty) {
                let path = Path::new("metadata").child("annotations").key(NAME);
                errors.push(Error::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => docker(data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => docker(data, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            demand("username", errors);
            demand("password", errors);
        }
        "kubernetes.io/ssh-auth" => {
            const KEY: &str = "ssh-privatekey";
            if data.value.get(KEY).and_then(Value::as_str).is_none_or(str::is_empty) {
                errors.push(Error::required(&data.path.key(KEY), ""));
            }
        }
        "kubernetes.io/tls" => {
            demand("tls.crt", errors);
            demand("tls.key", errors);
        }
        _ => {}
    }
}

fn docker(data: &At<'_>, key: &str, errors: &mut ErrorList) {
    let path = data.path.key(key);
    let Some(text) = data.value.get(key).and_then(Value::as_str) else {
        errors.push(Error::required(&path, ""));
        return;
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    if let Err(detail) = go_json(&bytes, "map[string]interface {}") {
        errors.push(Error::invalid(&path, "<secret contents redacted>", detail));
    }
}

// === ServiceAccount ===

/// The rules of ServiceAccounts.
pub(super) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, account: &mut Value) {
        only_names(account);
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, _old: &Value) {
        only_names(new);
    }
}

/// References to Secrets are names and nothing more.
fn only_names(account: &mut Value) {
    for reference in crate::cursor::items_mut(account, "secrets") {
        let name = reference.get("name").cloned();
        *reference = json!({});
        if let Some(name) = name {
            reference["name"] = name;
        }
    }
}
