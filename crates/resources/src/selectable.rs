//! The fields that field selectors may name, per kind.
//!
//! Values of built-in kinds are read from the stored form of an object, so that two views of the
//! same objects share one index. Those of custom resources are read from what the version shows.

use std::borrow::Cow;

use machinery::Value;
use machinery::field::quote;
use machinery::selector::FieldSelector;

/// The selectable fields of a kind.
#[derive(Clone, Debug)]
pub struct SelectableFields {
    /// The fields, `metadata.name` and `metadata.namespace` among them.
    pub fields: Vec<SelectableField>,
    /// How the refusal of another field is worded.
    pub refusal: Refusal,
    /// Whether the fields are those of an object as its version shows it. Versions of built-in
    /// kinds show what is stored.
    pub of_what_is_shown: bool,
}

/// A field that field selectors may name.
#[derive(Clone, Debug)]
pub struct SelectableField {
    /// The name in selectors.
    pub name: Cow<'static, str>,
    /// The name of the same field elsewhere: indexes use this one.
    pub canonical: Cow<'static, str>,
    /// How its value is found.
    pub read: Read,
}

/// How the value of a selectable field is found in the stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The canonical name is the path of the field.
    Path,
    /// The path of a boolean, whose zero value is `false`.
    Bool,
    /// The path of a number, whose zero value is `0`.
    Number,
    /// The source of an Event: its component, or else the reporting one.
    EventSource,
    /// The addresses of a Pod, joined by commas.
    PodIps,
}

/// The wording of a refused field.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// `"x" is not a known field selector: only "metadata.name", "metadata.namespace"`
    MetadataOnly,
    /// `field label not supported: x`
    Plain,
    /// `field label "x" not supported for KIND`
    For(&'static str),
}

/// A selector that names a field which is not selectable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnsupportedField(String);

/// The selectable fields of a built-in kind.
pub(crate) fn of_kind(group: &str, version: &str, kind: &str) -> SelectableFields {
    use Read::{Bool, EventSource, Number, Path, PodIps};
    let (fields, refusal): (&[(&'static str, Read)], Refusal) = match (group, kind) {
        ("", "Pod") => (
            &[
                ("spec.nodeName", Path),
                ("spec.restartPolicy", Path),
                ("spec.schedulerName", Path),
                ("spec.serviceAccountName", Path),
                ("spec.hostNetwork", Bool),
                ("status.phase", Path),
                ("status.podIP", Path),
                ("status.podIPs", PodIps),
                ("status.nominatedNodeName", Path),
            ],
            Refusal::Plain,
        ),
        ("", "Node") => (&[("spec.unschedulable", Bool)], Refusal::Plain),
        ("", "ReplicationController") => (&[("status.replicas", Number)], Refusal::Plain),
        ("apps", "ReplicaSet") => {
            (&[("status.replicas", Number)], Refusal::For("appsv1.ReplicaSet"))
        }
        ("batch", "Job") => (&[("status.successful", Number)], Refusal::For("batchv1.Job")),
        ("", "Namespace") => (&[("status.phase", Path)], Refusal::Plain),
        ("", "Secret") => (&[("type", Path)], Refusal::Plain),
        ("", "Service") => (&[("spec.clusterIP", Path), ("spec.type", Path)], Refusal::Plain),
        ("" | "events.k8s.io", "Event") => (
            &[
                ("involvedObject.kind", Path),
                ("involvedObject.namespace", Path),
                ("involvedObject.name", Path),
                ("involvedObject.uid", Path),
                ("involvedObject.apiVersion", Path),
                ("involvedObject.resourceVersion", Path),
                ("involvedObject.fieldPath", Path),
                ("reason", Path),
                ("reportingComponent", Path),
                ("source", EventSource),
                ("type", Path),
            ],
            Refusal::Plain,
        ),
        ("certificates.k8s.io", "CertificateSigningRequest" | "ClusterTrustBundle") => {
            (&[("spec.signerName", Path)], Refusal::Plain)
        }
        ("certificates.k8s.io", "PodCertificateRequest") => (
            &[("spec.signerName", Path), ("spec.podName", Path), ("spec.nodeName", Path)],
            Refusal::Plain,
        ),
        ("resource.k8s.io", "ResourceSlice") => {
            (&[("spec.nodeName", Path), ("spec.driver", Path)], Refusal::Plain)
        }
        _ => (&[], Refusal::MetadataOnly),
    };
    let newer_event = (group, version) == ("events.k8s.io", "v1");
    let names = [("metadata.name", Path), ("metadata.namespace", Path)];
    let fields = names.into_iter().chain(fields.iter().copied()).map(|(canonical, read)| {
        let name = match canonical.strip_prefix("involvedObject.") {
            Some(rest) if newer_event => format!("regarding.{rest}").into(),
            _ if newer_event && canonical == "reportingComponent" => "reportingController".into(),
            _ => canonical.into(),
        };
        SelectableField { name, canonical: canonical.into(), read }
    });
    SelectableFields { fields: fields.collect(), refusal, of_what_is_shown: false }
}

// === impl SelectableFields ===

impl SelectableFields {
    /// Only the two fields that every kind has.
    pub fn metadata_only() -> Self {
        of_kind("", "", "")
    }

    /// A field by its name in selectors.
    pub fn find(&self, name: &str) -> Option<&SelectableField> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// Whether all fields of a selector are selectable.
    ///
    /// # Errors
    /// With upstream's text for the first field that is not.
    pub fn check(&self, selector: &FieldSelector) -> Result<(), UnsupportedField> {
        for requirement in selector.requirements() {
            let name = requirement.field.as_str();
            if self.find(name).is_some() {
                continue;
            }
            return Err(UnsupportedField(match self.refusal {
                Refusal::Plain => format!("field label not supported: {name}"),
                Refusal::For(kind) => {
                    format!("field label {} not supported for {kind}", quote(name))
                }
                Refusal::MetadataOnly => format!(
                    "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    quote(name)
                ),
            }));
        }
        Ok(())
    }

    /// Whether a stored object is selected. Fields have been checked before; an unknown one
    /// counts as empty.
    pub fn matches(&self, selector: &FieldSelector, stored: &Value) -> bool {
        selector.requirements().iter().all(|r| {
            let value = self.find(&r.field).map(|f| f.value(stored)).unwrap_or_default();
            (value == r.value.as_str()) != r.negated
        })
    }
}

// === impl SelectableField ===

impl SelectableField {
    /// The field's value in a stored object; empty when it is not set.
    pub fn value<'a>(&self, stored: &'a Value) -> Cow<'a, str> {
        let found = walk(stored, &self.canonical);
        match self.read {
            Read::Path => text(found).unwrap_or_default(),
            Read::Bool => text(found).unwrap_or("false".into()),
            Read::Number => text(found).unwrap_or("0".into()),
            Read::EventSource => {
                [walk(stored, "source.component"), walk(stored, "reportingComponent")]
                    .into_iter()
                    .filter_map(text)
                    .find(|t| !t.is_empty())
                    .unwrap_or_default()
            }
            Read::PodIps => {
                let ips = found.and_then(Value::as_array).into_iter().flatten();
                let ips: Vec<&str> = ips.filter_map(|ip| ip.get("ip")?.as_str()).collect();
                ips.join(",").into()
            }
        }
    }
}

fn walk<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|step| !step.is_empty()).try_fold(object, |value, step| value.get(step))
}

fn text(value: Option<&Value>) -> Option<Cow<'_, str>> {
    match value? {
        Value::String(s) => Some(s.into()),
        Value::Null => None,
        other => Some(other.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals() {
        let check = |group, kind, expected: &str| {
            let selector = FieldSelector::parse("spec.foo=bar").unwrap();
            let error = of_kind(group, "v1", kind).check(&selector).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check("", "Pod", "field label not supported: spec.foo");
        check(
            "",
            "ConfigMap",
            r#""spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        );
    }

    #[test]
    fn values() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"},
            "status": {"podIPs": [{"ip": "1.2.3.4"}, {"ip": "::1"}]}});
        let fields = of_kind("", "v1", "Pod");
        let check = |selector: &str, expected| {
            let selector = FieldSelector::parse(selector).unwrap();
            assert_eq!(fields.matches(&selector, &pod), expected, "{selector}");
        };
        check("spec.nodeName=n,metadata.name!=q", true);
        check("spec.hostNetwork=false", true);
        check("status.phase=", true);
        check("status.podIPs=1.2.3.4\\,::1", true);
        check("spec.nodeName!=n", false);
        let event = json!({"reportingComponent": "kubelet", "involvedObject": {"name": "p"}});
        let newer = of_kind("events.k8s.io", "v1", "Event");
        let selector = FieldSelector::parse("regarding.name=p,source=kubelet").unwrap();
        assert!(newer.check(&selector).is_ok());
        assert!(newer.matches(&selector, &event));
    }
}
