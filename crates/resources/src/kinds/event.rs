//! Events, in either of their two forms.

#[cfg(test)]
mod tests;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};

use super::internal;
use crate::cursor::{At, same};
use crate::strategy::{Ctx, Strategy, subdomain_name};

const MAX_WORD: usize = 128;
const MAX_NOTE: usize = 1024;

/// The rules of Events in the form of `v1` or, `newer`, of `events.k8s.io/v1`.
pub(super) struct Event {
    pub(super) newer: bool,
}

impl Strategy for Event {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        match (self.newer, prefix) {
            (true, _) => subdomain_name(name, prefix),
            (false, true) => names::path_segment_prefix(name),
            (false, false) => names::path_segment(name),
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, event: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        self.any_form(event, &mut errors);
        if self.newer {
            self.newer_form(event, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        self.any_form(new, &mut errors);
        if !self.newer {
            // Clients of the older form count repetitions by rewriting the Event.
            return errors;
        }
        let (event, before) = (At::root(new), At::root(old));
        if event.get("series").value != before.get("series").value {
            series(&event.get("series"), &mut errors);
        }
        // Upstream names the fields as the older form does.
        for (field, shown) in [
            ("regarding", "involvedObject"),
            ("reason", "reason"),
            ("note", "message"),
            ("deprecatedSource", "source"),
            ("deprecatedFirstTimestamp", "firstTimestamp"),
            ("deprecatedLastTimestamp", "lastTimestamp"),
            ("deprecatedCount", "count"),
            ("type", "type"),
            ("eventTime", "eventTime"),
            ("action", "action"),
            ("related", "related"),
            ("reportingController", "reportingController"),
            ("reportingInstance", "reportingInstance"),
        ] {
            let (value, old) = (event.get(field).value, before.get(field).value);
            if !same(value, old) {
                errors.push(Error::immutable(&Path::new(shown), form(field, value)));
            }
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// What is shown of a field that cannot change.
fn form(field: &str, value: &Value) -> Value {
    match field {
        "regarding" => internal::form(value, "ObjectReference"),
        "related" => internal::pointer(value, "ObjectReference"),
        "deprecatedSource" => internal::form(value, "EventSource"),
        "deprecatedCount" if value.is_null() => Value::from(0),
        "deprecatedFirstTimestamp" | "deprecatedLastTimestamp" | "eventTime" => value.clone(),
        _ if value.is_null() => Value::from(""),
        _ => value.clone(),
    }
}

impl Event {
    /// A field by the name that the form at hand has for it, at the path that upstream reports.
    fn field<'a>(&self, event: &At<'a>, older: &'static str, newer: &'static str) -> At<'a> {
        At::new(event.get(if self.newer { newer } else { older }).value, Path::new(older))
    }

    fn any_form(&self, event: &Value, errors: &mut ErrorList) {
        let root = At::root(event);
        let own = meta::namespace(event);
        let involved = self.field(&root, "involvedObject", "regarding").get("namespace");
        let differs = if root.get("eventTime").is_empty() {
            match involved.str() {
                // Objects without a namespace have their Events in the default one.
                "" => !matches!(own, "" | "default"),
                other => other != own,
            }
        } else {
            involved.is_empty() && !matches!(own, "default" | "kube-system")
        };
        if differs {
            let detail = "does not match event.namespace";
            errors.push(Error::invalid(&involved.path, involved.str(), detail));
        }
        if !root.get("eventTime").is_empty() {
            self.reported(&root, errors);
        }
        for message in names::dns1123_subdomain(own) {
            errors.push(Error::invalid(&Path::new("namespace"), own, message));
        }
    }

    /// What Events say that carry the time of what happened.
    fn reported(&self, event: &At<'_>, errors: &mut ErrorList) {
        let mut controller = self.field(event, "reportingComponent", "reportingController");
        if self.newer {
            controller.path = Path::new("reportingController");
        }
        controller.must(errors);
        for message in names::qualified_name(controller.str()) {
            errors.push(Error::invalid(&controller.path, controller.str(), message));
        }
        for field in ["reportingInstance", "action", "reason"] {
            let field = event.get(field);
            field.must(errors);
            at_most(&field, MAX_WORD, errors);
        }
        at_most(&self.field(event, "message", "note"), MAX_NOTE, errors);
    }

    fn newer_form(&self, event: &Value, errors: &mut ErrorList) {
        let event = At::root(event);
        series(&event.get("series"), errors);
        event.get("eventTime").must(errors);
        let kind = event.get("type");
        if !matches!(kind.str(), "Normal" | "Warning") {
            let detail = format!("has invalid value: {}", kind.str());
            errors.push(Error::invalid(&kind.path, "", detail));
        }
        for (newer, older) in [
            ("deprecatedFirstTimestamp", "firstTimestamp"),
            ("deprecatedLastTimestamp", "lastTimestamp"),
            ("deprecatedCount", "count"),
        ] {
            if !event.get(newer).is_empty() {
                errors.push(Error::invalid(&Path::new(older), "", "needs to be unset"));
            }
        }
        let source = event.get("deprecatedSource");
        if !source.get("component").is_empty() || !source.get("host").is_empty() {
            errors.push(Error::invalid(&Path::new("source"), "", "needs to be unset"));
        }
    }
}

fn at_most(at: &At<'_>, max: usize, errors: &mut ErrorList) {
    if at.str().len() > max {
        let detail = format!("can have at most {max} characters");
        errors.push(Error::invalid(&at.path, "", detail));
    }
}

fn series(series: &At<'_>, errors: &mut ErrorList) {
    if !series.is_set() {
        return;
    }
    let count = series.get("count");
    if count.int_or_zero() < 2 {
        errors.push(Error::invalid(&count.path, "", "should be at least 2"));
    }
    series.get("lastObservedTime").must(errors);
}
