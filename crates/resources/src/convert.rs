//! Resources that are two views of the same stored objects, and where objects are stored.

mod event;
mod hpa;

use std::borrow::Cow;

use machinery::Value;
use machinery::gvk::GroupVersionKind;

/// How to get from the served to the stored form and back.
#[derive(Clone, Copy)]
pub struct Conversion {
    /// From the served to the stored form, in place.
    pub to_storage: fn(&mut Value),
    /// From the stored to the served form, in place.
    pub from_storage: fn(&mut Value),
}

pub(crate) struct StoredAs {
    pub(crate) prefix: Cow<'static, str>,
    pub(crate) kind: GroupVersionKind,
    pub(crate) conversion: Option<Conversion>,
}

/// Where upstream keeps a resource, so that its tools and backups fit.
pub(crate) fn storage(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    kind: &'static str,
) -> StoredAs {
    let prefix: Cow<'static, str> = match (group, resource) {
        ("", "services") => "services/specs".into(),
        ("", "endpoints") => "services/endpoints".into(),
        ("", "nodes") => "minions".into(),
        ("", "replicationcontrollers") => "controllers".into(),
        ("networking.k8s.io", "ingresses") => "ingress".into(),
        ("apiextensions.k8s.io" | "apiregistration.k8s.io", _) => {
            format!("{group}/{resource}").into()
        }
        _ => resource.into(),
    };
    let stored = |group, version| GroupVersionKind::new(group, version, kind);
    match (group, version, kind) {
        ("events.k8s.io", "v1", "Event") => StoredAs {
            prefix,
            kind: stored("", "v1"),
            conversion: Some(Conversion {
                to_storage: event::to_core,
                from_storage: event::from_core,
            }),
        },
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => StoredAs {
            prefix,
            kind: stored("autoscaling", "v2"),
            conversion: Some(Conversion { to_storage: hpa::v1_to_v2, from_storage: hpa::v2_to_v1 }),
        },
        _ => StoredAs { prefix, kind: stored(group, version), conversion: None },
    }
}
