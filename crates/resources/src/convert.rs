//! Resources that are two views of the same stored objects, and where objects are stored.

mod devices;
mod event;
mod hpa;

use std::borrow::Cow;
use std::sync::Arc;

use machinery::Value;
use machinery::gvk::{GroupVersion, GroupVersionKind};

/// A change of an object in place that needs nothing but the object.
pub type Step = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// How to get from the served to the stored form and back.
#[derive(Clone)]
pub enum Conversion {
    /// The object alone says what it is in the other form.
    Pure {
        /// From the served to the stored form.
        to_storage: Step,
        /// From the stored to the served form.
        from_storage: Step,
    },
    /// A webhook is asked about objects that are of another version than the one wanted.
    Webhook(WebhookConversion),
}

/// A conversion that somebody else does, and what is done before and after.
#[derive(Clone)]
pub struct WebhookConversion {
    /// The CustomResourceDefinition's `spec.conversion.webhook`.
    pub webhook: Arc<Value>,
    /// Done to stored objects before anything else, under the rules of the version they are of:
    /// defaults that their schema has got since.
    pub decoded: Step,
    /// Done to objects under the rules of the version they are in by then: what its schema does
    /// not know goes away.
    pub converted: Step,
}

pub(crate) struct StoredAs {
    pub(crate) prefix: Cow<'static, str>,
    pub(crate) kind: GroupVersionKind,
    pub(crate) conversion: Option<Conversion>,
}

/// Where upstream keeps a resource, so that its tools and backups fit. `newest` is the version of
/// the group that is preferred among those that have the resource.
pub(crate) fn storage(
    group: &'static str,
    version: &'static str,
    newest: &'static str,
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
            conversion: Some(pure(event::to_core, event::from_core)),
        },
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => StoredAs {
            prefix,
            kind: stored("autoscaling", "v2"),
            conversion: Some(pure(hpa::v1_to_v2, hpa::v2_to_v1)),
        },
        ("resource.k8s.io", "v1beta1", _) if kind != "DeviceClass" => StoredAs {
            prefix,
            kind: stored(group, newest),
            conversion: Some(pure(devices::to_v1, devices::from_v1)),
        },
        _ => StoredAs {
            prefix,
            kind: stored(group, newest),
            conversion: (version != newest).then(|| named(group, version, newest)),
        },
    }
}

/// Between versions that differ in nothing but their names.
fn named(group: &str, served: &str, stored: &str) -> Conversion {
    let step = |version: &str| -> Step {
        let version = GroupVersion::new(group, version).to_string();
        Arc::new(move |object| object["apiVersion"] = version.as_str().into())
    };
    Conversion::Pure { to_storage: step(stored), from_storage: step(served) }
}

pub(crate) use devices::{from_v1 as devices_from_v1, to_v1 as devices_to_v1};

/// The newest form of an autoscaler of the older one.
pub(crate) fn autoscaler_to_v2(autoscaler: &mut Value) {
    hpa::v1_to_v2(autoscaler);
}

fn pure(to_storage: fn(&mut Value), from_storage: fn(&mut Value)) -> Conversion {
    Conversion::Pure { to_storage: Arc::new(to_storage), from_storage: Arc::new(from_storage) }
}

#[cfg(test)]
mod tests {
    use machinery::schema::TypeRef;

    use super::*;
    use crate::all;

    /// Whether two types have the same fields to some depth, however the types are called.
    fn same(a: TypeRef<'_>, b: TypeRef<'_>, depth: usize) -> bool {
        match (a.element(), b.element()) {
            (Some(a), Some(b)) => return same(a, b, depth),
            (None, None) => {}
            _ => return false,
        }
        a.fields().len() == b.fields().len()
            && a.fields().zip(b.fields()).all(|(a, b)| {
                a.name() == b.name() && (depth == 0 || same(a.type_ref(), b.type_ref(), depth - 1))
            })
    }

    #[test]
    fn versions_that_differ_are_converted() {
        let mut renamed = 0;
        for served in all().iter().filter(|r| r.gvk() != r.storage.kind) {
            let Some(Conversion::Pure { to_storage, from_storage }) = &served.storage.conversion
            else {
                panic!("{} has no conversion", served.gvk());
            };
            let mut object = serde_json::json!({"kind": &*served.kind,
                "apiVersion": served.api_version()});
            to_storage(&mut object);
            assert_eq!(object["apiVersion"], served.storage.kind.api_version());
            from_storage(&mut object);
            assert_eq!(object["apiVersion"], served.api_version());
            let differs = matches!(
                (&*served.group, &*served.version, &*served.kind),
                ("events.k8s.io", ..)
                    | ("autoscaling", "v1", _)
                    | (
                        "resource.k8s.io",
                        "v1beta1",
                        "ResourceClaim" | "ResourceClaimTemplate" | "ResourceSlice"
                    )
            );
            assert_eq!(!same(served.ty(), served.storage.ty(), 8), differs, "{}", served.gvk());
            renamed += usize::from(!differs);
        }
        assert!(renamed > 10);
    }
}
