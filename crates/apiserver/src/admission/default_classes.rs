//! Claims and Ingresses that name no class get the one that is marked as the default:
//! <https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass>,
//! <https://kubernetes.io/docs/concepts/services-networking/ingress/#default-ingress-class>.

use machinery::{Value, meta};

use super::{Plugin, forbidden, is};
use crate::registry::{Attributes, Failure, Operation};

const DEFAULT_STORAGE: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const DEFAULT_INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";
const OF_CLAIM: &str = "volume.beta.kubernetes.io/storage-class";
const OF_INGRESS: &str = "kubernetes.io/ingress.class";

/// Gives claims a StorageClass.
pub(super) struct DefaultStorageClass;

/// Gives Ingresses an IngressClass.
pub(super) struct DefaultIngressClass;

impl Plugin for DefaultStorageClass {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        if !is(attributes, Operation::Create, "", "persistentvolumeclaims") {
            return Ok(());
        }
        let classes = objects(attributes, "storage.k8s.io", "storageclasses");
        let Some(claim) = &mut attributes.object else { return Ok(()) };
        let named = claim["spec"].get("storageClassName").is_some_and(|name| !name.is_null())
            || meta::annotation(claim, OF_CLAIM).is_some();
        if !named && let Some(class) = newest(&classes, &DEFAULT_STORAGE) {
            claim["spec"]["storageClassName"] = class.into();
        }
        Ok(())
    }
}

impl Plugin for DefaultIngressClass {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        if !is(attributes, Operation::Create, "networking.k8s.io", "ingresses") {
            return Ok(());
        }
        let classes = objects(attributes, "networking.k8s.io", "ingressclasses");
        let Some(ingress) = &mut attributes.object else { return Ok(()) };
        let named = ingress["spec"].get("ingressClassName").is_some_and(|name| !name.is_null())
            || meta::annotation(ingress, OF_INGRESS).is_some();
        if !named && let Some(class) = newest(&classes, &[DEFAULT_INGRESS]) {
            ingress["spec"]["ingressClassName"] = class.into();
        }
        Ok(())
    }
}

fn objects(attributes: &Attributes<'_>, group: &str, resource: &str) -> Vec<Value> {
    attributes.registry.cached_list(group, resource, "").iter().map(|class| class.value()).collect()
}

/// The default class; of several, the one that was made last, and of those the first by name.
fn newest<'c>(classes: &'c [Value], marks: &[&str]) -> Option<&'c str> {
    let marked = classes
        .iter()
        .filter(|class| marks.iter().any(|mark| meta::annotation(class, mark) == Some("true")));
    let made = |class: &Value| meta::creation_timestamp(class).unwrap_or_default().to_owned();
    let mut marked: Vec<&Value> = marked.collect();
    marked.sort_by(|a, b| made(b).cmp(&made(a)).then_with(|| meta::name(a).cmp(meta::name(b))));
    marked.first().map(|class| meta::name(class))
}

/// Claims may grow only where their class allows it:
/// <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims>.
pub(super) struct ClaimResize;

impl Plugin for ClaimResize {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        if !is(attributes, Operation::Update, "", "persistentvolumeclaims") {
            return Ok(());
        }
        let (Some(new), Some(old)) = (&attributes.object, attributes.old) else { return Ok(()) };
        if !grows(new, old) {
            return Ok(());
        }
        if old["status"]["phase"] != "Bound" {
            return Err(forbidden(
                attributes,
                "Only bound persistent volume claims can be expanded",
            ));
        }
        let class = meta::annotation(new, OF_CLAIM).or(new["spec"]["storageClassName"].as_str());
        let class = class.and_then(|name| {
            attributes.registry.cached("storage.k8s.io", "storageclasses", "", name)
        });
        if class.is_some_and(|class| class.value()["allowVolumeExpansion"] == true) {
            return Ok(());
        }
        Err(forbidden(
            attributes,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions \
             the pvc must support resize",
        ))
    }
}

fn grows(new: &Value, old: &Value) -> bool {
    let size = |claim: &Value| {
        let asked = &claim["spec"]["resources"]["requests"]["storage"];
        machinery::quantity::Quantity::from_value(asked).unwrap_or_default()
    };
    size(new) > size(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_default_counts() {
        let class = |name: &str, made: &str, default: &str| {
            json!({"metadata": {"name": name, "creationTimestamp": made,
                "annotations": {DEFAULT_INGRESS: default}}})
        };
        let classes = [
            class("a", "2026-01-01T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("c", "2026-01-02T00:00:00Z", "true"),
            class("d", "2026-01-03T00:00:00Z", "false"),
        ];
        assert_eq!(newest(&classes, &[DEFAULT_INGRESS]), Some("b"));
        assert_eq!(newest(&classes[3..], &[DEFAULT_INGRESS]), None);
    }

    #[test]
    fn more_is_more_in_any_unit() {
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        assert!(grows(&claim("2Gi"), &claim("1Gi")));
        assert!(!grows(&claim("1024Mi"), &claim("1Gi")));
    }
}
