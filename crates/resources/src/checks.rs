//! Checks that the tests of all kinds share: what is wrong with an object written as YAML, and what
//! becomes of it. The kind is found by the object's own `apiVersion` and `kind`.

use machinery::Value;
use machinery::codec::{self, FieldValidation};
use machinery::gvk::GroupVersion;
use machinery::time::Timestamp;
use machinery::{field::ErrorList, meta};
use serde_json::json;

use crate::{Ctx, Registration, find_kind};

pub(crate) fn ctx() -> Ctx<'static> {
    static NULL: Value = Value::Null;
    Ctx { now: Timestamp::UNIX_EPOCH, user: &NULL }
}

/// An object as the server sees it after decoding and defaulting, named `x` unless it says
/// otherwise.
#[track_caller]
pub(crate) fn decoded(yaml: &str) -> (&'static Registration, Value) {
    let mut object: Value = serde_yaml::from_str(yaml).expect("the YAML of a test parses");
    let version = GroupVersion::parse(meta::api_version(&object)).expect("apiVersion parses");
    let registration = find_kind(&version.group, &version.version, meta::kind(&object))
        .unwrap_or_else(|| panic!("{yaml}: no such kind"));
    if meta::name(&object).is_empty() {
        meta::set_name(&mut object, "x");
    }
    if registration.namespaced && meta::namespace(&object).is_empty() {
        meta::set_namespace(&mut object, "n");
    }
    meta::set_uid(&mut object, "u");
    let decoded = codec::decode_value(object, registration.ty(), FieldValidation::Strict)
        .unwrap_or_else(|error| panic!("{yaml}: {error}"));
    let mut object = decoded.value;
    registration.default(&mut object);
    (registration, object)
}

/// An object as it is stored after its creation, valid or not.
#[track_caller]
pub(crate) fn created(yaml: &str) -> Value {
    let (registration, mut object) = decoded(yaml);
    registration.prepare_create(&ctx(), &mut object);
    meta::set_resource_version(&mut object, "1");
    object
}

#[track_caller]
fn same(errors: &ErrorList, expected: &[&str], yaml: &str) {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected, "{yaml}");
}

/// What is wrong with a new object.
#[track_caller]
pub(crate) fn check(yaml: &str, expected: &[&str]) {
    let (registration, mut object) = decoded(yaml);
    registration.prepare_create(&ctx(), &mut object);
    same(&registration.check_create(&ctx(), &object), expected, yaml);
}

/// What is wrong with a new object, everything below one path.
#[track_caller]
pub(crate) fn check_below(yaml: &str, path: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|text| format!("{path}{text}")).collect();
    check(yaml, &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

/// What is wrong with an object that uses features which are off, as one from before may.
#[track_caller]
pub(crate) fn check_in_use(yaml: &str, expected: &[&str]) {
    let (registration, object) = decoded(yaml);
    same(&registration.strategy.validate(&ctx(), &object), expected, yaml);
}

/// What a client is told about a new object that is accepted.
#[track_caller]
pub(crate) fn check_warnings(yaml: &str, expected: &[&str]) {
    let (registration, mut object) = decoded(yaml);
    let mut given = registration.strategy.warnings_before_create(&object);
    registration.prepare_create(&ctx(), &mut object);
    given.extend(registration.strategy.warnings(&ctx(), &object, None));
    assert_eq!(given, expected, "{yaml}");
}

/// What a client is told about an update that is accepted; `new` is a merge patch over `old`.
#[track_caller]
pub(crate) fn check_update_warnings(old: &str, subresource: &str, new: &str, expected: &[&str]) {
    let (registration, _) = decoded(old);
    let before = created(old);
    let mut after = patched(&before, new);
    registration.default(&mut after);
    if subresource.is_empty() {
        registration.prepare_update(&ctx(), &mut after, &before);
    }
    let given = registration.update_warnings(&ctx(), subresource, &after, &before);
    assert_eq!(given, expected, "{new}");
}

/// What is wrong with an object that is written through a subresource over another; `new` is a
/// merge patch over `old`.
#[track_caller]
pub(crate) fn check_subresource(old: &str, subresource: &str, new: &str, expected: &[&str]) {
    let (registration, _) = decoded(old);
    let before = created(old);
    let mut after = patched(&before, new);
    registration.default(&mut after);
    registration.prepare_subresource_update(&ctx(), subresource, &mut after, &before);
    let errors = registration.check_subresource_update(&ctx(), subresource, &after, &before);
    same(&errors, expected, new);
}

/// What is wrong with an object that replaces another; `new` is a merge patch over `old`.
#[track_caller]
pub(crate) fn check_update(old: &str, new: &str, expected: &[&str]) {
    let (registration, _) = decoded(old);
    let before = created(old);
    let mut after = patched(&before, new);
    registration.default(&mut after);
    registration.prepare_update(&ctx(), &mut after, &before);
    same(&registration.check_update(&ctx(), &after, &before), expected, new);
}

/// What is wrong with an object whose status replaces another; `new` is a merge patch over `old`.
#[track_caller]
pub(crate) fn check_status(old: &str, new: &str, expected: &[&str]) {
    let (registration, _) = decoded(old);
    let before = created(old);
    let mut after = patched(&before, new);
    registration.default(&mut after);
    registration.prepare_status_update(&ctx(), &mut after, &before);
    same(&registration.check_status_update(&ctx(), &after, &before), expected, new);
}

/// An object after an update; `new` is a merge patch over `old`.
#[track_caller]
pub(crate) fn updated(old: &str, new: &str) -> Value {
    let (registration, _) = decoded(old);
    let before = created(old);
    let mut after = patched(&before, new);
    registration.default(&mut after);
    registration.prepare_update(&ctx(), &mut after, &before);
    after
}

/// An object after an update of its status; `new` is a merge patch over `old`.
#[track_caller]
pub(crate) fn status_updated(old: &str, new: &str) -> Value {
    let (registration, _) = decoded(old);
    let before = created(old);
    let mut after = patched(&before, new);
    registration.default(&mut after);
    registration.prepare_status_update(&ctx(), &mut after, &before);
    after
}

fn patched(before: &Value, patch: &str) -> Value {
    fn merge(into: &mut Value, patch: Value) {
        let Value::Object(patch) = patch else {
            *into = patch;
            return;
        };
        if !into.is_object() {
            *into = json!({});
        }
        for (field, value) in patch {
            if value.is_null() {
                crate::cursor::remove(into, &field);
            } else {
                merge(&mut into[field.as_str()], value);
            }
        }
    }
    let mut after = before.clone();
    merge(&mut after, serde_yaml::from_str(patch).expect("the YAML of a test parses"));
    after
}

/// What defaulting makes of a part of an object.
#[track_caller]
pub(crate) fn check_default(yaml: &str, pointer: &str, expected: &str) {
    let (_, object) = decoded(yaml);
    let expected: Value = serde_yaml::from_str(expected).expect("the YAML of a test parses");
    let part = object.pointer(pointer).unwrap_or(&Value::Null);
    assert!(crate::cursor::same(part, &expected), "{yaml}:\n{part:#}\nexpected\n{expected:#}");
}
