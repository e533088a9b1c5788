//! Events, in either of their two forms.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;

use crate::cursor::At;
use crate::strategy::{Ctx, Strategy};

/// The rules of Events.
pub(super) struct Event;

impl Strategy for Event {
    fn validate(&self, _ctx: &Ctx<'_>, event: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let root = At::root(event);
        let newer = meta::api_version(event) == "events.k8s.io/v1";
        let involved = root.get(if newer { "regarding" } else { "involvedObject" });
        let namespace = involved.get("namespace");
        let own = meta::namespace(event);
        // Events about objects without a namespace live in the default one.
        let fits = match namespace.str() {
            "" => matches!(own, "" | "default" | "kube-system"),
            other => other == own,
        };
        if !fits {
            let path = Path::new("involvedObject").child("namespace");
            errors.push(Error::invalid(&path, namespace.str(), "does not match event.namespace"));
        }
        let time = root.get("eventTime");
        if newer || !time.is_empty() {
            strict(&root, newer, &mut errors);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if meta::api_version(new) != "events.k8s.io/v1" {
            // The older form may be rewritten as clients aggregate.
            return self.validate(ctx, new);
        }
        for field in [
            "reason",
            "note",
            "regarding",
            "related",
            "action",
            "type",
            "reportingController",
            "reportingInstance",
        ] {
            At::root(new).get(field).unchanged(&At::root(old).get(field), &mut errors);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// What holds for Events that carry the time of what happened.
fn strict(event: &At<'_>, newer: bool, errors: &mut ErrorList) {
    let controller = event.get(if newer { "reportingController" } else { "reportingComponent" });
    event.get("eventTime").must(errors);
    if controller.is_empty() {
        errors.push(Error::required(&Path::new("reportingController"), ""));
    }
    for message in machinery::names::qualified_name(controller.str()) {
        if !controller.is_empty() {
            let path = Path::new("reportingController");
            errors.push(Error::invalid(&path, controller.str(), message));
        }
    }
    for (field, max) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
        let field = event.get(field);
        field.must(errors);
        if field.str().len() > max {
            field.invalid(errors, format!("can have at most {max} characters"));
        }
    }
    let note = event.get(if newer { "note" } else { "message" });
    if note.str().len() > 1024 {
        let path = if newer { Path::new("note") } else { Path::new("message") };
        errors.push(Error::invalid(&path, note.str(), "can have at most 1024 characters"));
    }
    let kind = event.get("type");
    if !matches!(kind.str(), "Normal" | "Warning") {
        errors.push(Error::invalid(&kind.path, kind.str(), "has invalid value"));
    }
}
