//! Options of reads and writes, from the query or (for deletes) the body.

use std::borrow::Cow;

use bytes::Bytes;
use machinery::Value;
use machinery::codec::{self, FieldValidation, cbor, protobuf};
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::schema;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::status::Status;

use crate::http::negotiate::{self, PROTOBUF};
use crate::http::query::Query;
use crate::pipeline::{Call, Failure};
use crate::registry::{DeleteOptions, ListOptions, WriteOptions};

/// Longest name of a field manager.
const MAX_MANAGER: usize = 128;

/// The options of a list or watch.
pub(super) fn list(call: &Call<'_>) -> Result<ListOptions, Failure> {
    let query = call.query;
    if query.is_empty() {
        return Ok(ListOptions::default());
    }
    let text = |name: &str| query.get(name).map(Cow::into_owned).unwrap_or_default();
    let mut options = ListOptions {
        resource_version: text("resourceVersion"),
        resource_version_match: text("resourceVersionMatch"),
        continue_token: text("continue"),
        allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events: query.optional_flag("sendInitialEvents"),
        ..ListOptions::default()
    };
    if let Some(selector) = query.non_empty("labelSelector") {
        options.label_selector = LabelSelector::parse(selector).map_err(bad_request)?;
    }
    if let Some(selector) = query.non_empty("fieldSelector") {
        options.field_selector = FieldSelector::parse(selector).map_err(bad_request)?;
    }
    if let Some(limit) = query.non_empty("limit") {
        let limit = integer(limit)?;
        options.limit = u64::try_from(limit).unwrap_or(0);
    }
    Ok(options)
}

fn bad_request(error: impl std::fmt::Display) -> Failure {
    Box::new(Status::bad_request(error.to_string()))
}

/// An integer of the query, refused as Go refuses it.
pub(super) fn integer(text: &str) -> Result<i64, Failure> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
}

/// How unknown fields are to be treated; for the decoder, before the rest is looked at.
pub(super) fn field_validation(call: &Call<'_>) -> FieldValidation {
    let text = call.query.non_empty("fieldValidation").unwrap_or_default();
    FieldValidation::parse(text).unwrap_or_default()
}

/// The options of a create, update or patch; `kind` is the name of their type.
pub(super) fn write(call: &Call<'_>, kind: &str, apply: bool) -> Result<WriteOptions, Failure> {
    let query = call.query;
    let mut errors = ErrorList::new();
    let dry_run = dry_run(query.all("dryRun"), &mut errors);
    let given = query.non_empty("fieldManager");
    if let Some(manager) = given {
        check_manager(manager, &mut errors);
    }
    if apply && given.is_none() {
        let path = Path::new("fieldManager");
        errors.push(Error::required(&path, "is required for apply patch"));
    }
    let force = query.optional_flag("force");
    if kind == "PatchOptions" && !apply && force.is_some() {
        let path = Path::new("force");
        errors.push(Error::forbidden(&path, "may not be specified for non-apply patch"));
    }
    let validation = query.non_empty("fieldValidation").unwrap_or_default();
    let field_validation = FieldValidation::parse(validation).unwrap_or_else(|| {
        let path = Path::new("fieldValidation");
        let allowed = ["", "Ignore", "Strict", "Warn"];
        errors.push(Error::not_supported(&path, validation, &allowed));
        FieldValidation::default()
    });
    refuse(kind, &errors)?;
    Ok(WriteOptions {
        dry_run,
        field_manager: given.map_or_else(|| default_manager(call), str::to_owned),
        field_validation,
        force: force.unwrap_or(false),
        only_existing: false,
    })
}

fn refuse(kind: &str, errors: &ErrorList) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Box::new(Status::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors)))
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut ErrorList) -> bool {
    let mut on = false;
    for value in values.filter(|value| !value.is_empty()) {
        if value == "All" {
            on = true;
        } else {
            let path = Path::new("dryRun");
            errors.push(Error::not_supported(&path, value, &["All"]));
        }
    }
    on
}

fn check_manager(manager: &str, errors: &mut ErrorList) {
    let path = Path::new("fieldManager");
    if manager.len() > MAX_MANAGER {
        errors.push(Error::too_long(&path, MAX_MANAGER));
    }
    if let Some((at, _)) = manager.chars().enumerate().find(|(_, c)| c.is_control()) {
        let detail = format!(
            "invalid character U+{:04X} (at position {at})",
            u32::from(manager.chars().nth(at).unwrap_or_default(),)
        );
        errors.push(Error::invalid(&path, manager, detail));
    }
}

/// What the client calls itself, up to the first slash.
fn default_manager(call: &Call<'_>) -> String {
    let agent = call.headers().get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let name = agent.unwrap_or_default().split('/').next().unwrap_or_default();
    if name.is_empty() { "unknown".to_owned() } else { name.chars().take(MAX_MANAGER).collect() }
}

/// The options of a delete: the body when there is one, else the query.
pub(super) fn delete(call: &Call<'_>, body: &Bytes) -> Result<DeleteOptions, Failure> {
    if body.is_empty() {
        return from_query(call.query);
    }
    let ty = schema::builtin()
        .kind("", "v1", "DeleteOptions")
        .ok_or_else(|| Status::internal("the schema lacks DeleteOptions"))?;
    let decoded = match negotiate::content_type(call.headers()) {
        "" | "application/json" => codec::decode_json(body, ty, FieldValidation::Ignore),
        negotiate::YAML => codec::decode_yaml(body, ty, FieldValidation::Ignore),
        negotiate::CBOR => cbor::decode(body, ty, FieldValidation::Ignore),
        PROTOBUF => protobuf::decode(body, ty),
        _ => return Err(Box::new(Status::unsupported_media_type(&negotiate::ACCEPTED))),
    };
    let mut value = decoded.map_err(bad_request)?.value;
    if let Some(record) = &call.context.audit {
        record.request_object(&value);
    }
    // Upstream takes dryRun from the query of a delete with a body too.
    let also: Vec<Value> =
        call.query.all("dryRun").filter(|v| !v.is_empty()).map(Value::from).collect();
    if !also.is_empty() {
        value["dryRun"] = also.into();
    }
    checked(&value)
}

fn from_query(query: &Query<'_>) -> Result<DeleteOptions, Failure> {
    if query.is_empty() {
        return Ok(DeleteOptions::default());
    }
    let mut value = serde_json::json!({});
    if let Some(seconds) = query.non_empty("gracePeriodSeconds") {
        value["gracePeriodSeconds"] = integer(seconds)?.into();
    }
    if let Some(orphan) = query.optional_flag("orphanDependents") {
        value["orphanDependents"] = orphan.into();
    }
    if let Some(policy) = query.non_empty("propagationPolicy") {
        value["propagationPolicy"] = policy.into();
    }
    let dry_run: Vec<Value> =
        query.all("dryRun").filter(|v| !v.is_empty()).map(Value::from).collect();
    if !dry_run.is_empty() {
        value["dryRun"] = dry_run.into();
    }
    checked(&value)
}

fn checked(value: &Value) -> Result<DeleteOptions, Failure> {
    let mut errors = ErrorList::new();
    let texts = value.get("dryRun").and_then(Value::as_array).into_iter().flatten();
    dry_run(texts.filter_map(Value::as_str), &mut errors);
    let policy = value.get("propagationPolicy").and_then(Value::as_str);
    let orphan = value.get("orphanDependents").and_then(Value::as_bool);
    let path = Path::new("propagationPolicy");
    if policy.is_some() && orphan.is_some() {
        let message = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(Error::invalid(&path, policy.unwrap_or_default(), message));
    }
    if let Some(policy) = policy {
        let allowed = ["Foreground", "Background", "Orphan"];
        if !allowed.contains(&policy) {
            let mut shown = allowed.to_vec();
            shown.push("nil");
            errors.push(Error::not_supported(&path, policy, &shown));
        }
    }
    refuse("DeleteOptions", &errors)?;
    DeleteOptions::from_value(value)
}
