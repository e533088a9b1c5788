//! Every object of upstream's test data goes through its strategy. The objects are filled to the
//! brim with values that mean nothing, so most are refused; what is tested is that nothing panics,
//! that errors name fields which exist, that defaults settle, and that an object that stays as it
//! is is never said to have changed.

use std::process::Command;

use machinery::Value;
use machinery::codec::{FieldValidation, decode_json};
use machinery::field::ErrorList;
use machinery::meta;
use machinery::schema::{Kind, TypeRef};

use crate::checks::ctx;
use crate::{Registration, find_kind};

/// Paths that upstream reports although there are no such fields.
const ODD_PATHS: [&str; 16] = [
    "Affinity",
    "LoadBalancerSourceRanges",
    "annotations.",
    "attachedRequired",
    "cephFS",
    "conversion.conversionReviewVersions",
    "conversion.webhookClientConfig",
    "downwarAPI",
    "metadata.taints",
    "overhead.limits",
    "resources[storage]",
    "securityContext.shareProcessNamespace",
    "spec.strategy.strategy",
    "status[",
    "template.annotations",
    "template.labels",
];

/// Whether a path, as text, leads through a type.
fn leads(path: &str, ty: TypeRef<'_>) -> bool {
    let mut ty = ty;
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((_, after)) = inner.split_once(']') else { return false };
            match ty.kind() {
                Kind::List(item) | Kind::Map(item) => ty = item,
                _ => return false,
            }
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let name = &rest[..end];
        match ty.kind() {
            Kind::Struct => match ty.fields().find(|field| field.name() == name) {
                Some(field) => ty = field.type_ref(),
                None => return false,
            },
            // Schemas and the like: what they hold is not in the table.
            Kind::Map(item) => ty = item,
            _ => return true,
        }
        rest = &rest[end..];
    }
    true
}

fn check_paths(registration: &Registration, errors: &ErrorList, wrong: &mut Vec<String>) {
    for error in errors.iter() {
        let odd = ODD_PATHS.iter().any(|odd| error.field.contains(odd));
        // Events of the newer form are checked as those of the older one, whose namespace stands
        // at the root, and the first beta of DRA in the form that came after it, as upstream.
        let (group, version) = (&*registration.group, &*registration.version);
        let renamed =
            registration.kind == "Event" || (group, version) == ("resource.k8s.io", "v1beta1");
        if !odd && !renamed && !leads(&error.field, registration.ty()) {
            wrong.push(format!("{registration:?}: {error}"));
        }
    }
}

fn check(registration: &Registration, mut object: Value, wrong: &mut Vec<String>) {
    let ctx = ctx();
    registration.default(&mut object);
    let mut again = object.clone();
    registration.default(&mut again);
    if again != object {
        wrong.push(format!("{registration:?}: defaults do not settle"));
    }
    registration.prepare_create(&ctx, &mut object);
    check_paths(registration, &registration.check_create(&ctx, &object), wrong);
    registration.strategy.warnings(&ctx, &object, None);
    let mut canonical = object.clone();
    registration.strategy.canonicalize(&mut canonical);

    let generation = meta::generation(&object);
    let mut new = object.clone();
    registration.prepare_update(&ctx, &mut new, &object);
    if meta::generation(&new) != generation {
        wrong.push(format!("{registration:?}: a new generation of the same object"));
    }
    let errors = registration.check_update(&ctx, &new, &object);
    for error in errors.iter().filter(|error| {
        ["immutable", "may not be changed", "may not change", "updates to"]
            .iter()
            .any(|text| error.detail.contains(text))
    }) {
        wrong.push(format!("{registration:?}: {error}"));
    }
    check_paths(registration, &errors, wrong);
    registration.strategy.warnings(&ctx, &new, Some(&object));
    if registration.has_status() {
        let mut new = object.clone();
        registration.prepare_status_update(&ctx, &mut new, &object);
        check_paths(registration, &registration.check_status_update(&ctx, &new, &object), wrong);
    }
}

#[test]
fn golden_objects_pass_through_their_strategies() {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/golden-1.36.tar.xz");
    if !std::path::Path::new(archive).exists() {
        eprintln!("NOT RUN: no golden objects at {archive}");
        return;
    }
    let list = Command::new("tar").args(["-tJf", archive]).output().unwrap().stdout;
    let names = String::from_utf8(list).unwrap();
    let names: Vec<&str> = names.lines().filter(|name| name.ends_with(".json")).collect();
    // Every object is one JSON text, one after the other.
    let texts = Command::new("tar").args(["-xJOf", archive]).args(&names).output().unwrap().stdout;
    let mut objects = serde_json::Deserializer::from_slice(&texts).into_iter::<Value>();
    let (mut checked, mut wrong) = (0, Vec::new());
    for name in &names {
        let object = objects.next().unwrap().unwrap();
        // Files are named group.version.Kind.json.
        let stem = name.rsplit('/').next().unwrap().trim_end_matches(".json");
        let mut parts = stem.rsplitn(3, '.');
        let (kind, version) = (parts.next().unwrap(), parts.next().unwrap());
        let group = parts.next().filter(|group| *group != "core").unwrap_or_default();
        let Some(registration) = find_kind(group, version, kind) else { continue };
        let text = object.to_string();
        let decoded =
            decode_json(text.as_bytes(), registration.ty(), FieldValidation::Strict).unwrap();
        check(registration, decoded.value, &mut wrong);
        checked += 1;
    }
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 70, "only {checked} objects found");
}
