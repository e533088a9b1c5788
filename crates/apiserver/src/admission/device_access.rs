//! Devices with administrative access are for namespaces that are marked for that:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#admin-access>.

use machinery::field::{Error, ErrorList, Path};
use machinery::status::Status;
use machinery::{Value, meta};

use super::{Plugin, is};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "resource.k8s.io";
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// Checks claims for devices and templates of claims.
pub(super) struct DeviceAccess;

impl Plugin for DeviceAccess {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let Some(object) = &attributes.object else { return Ok(()) };
        let created = |resource| is(attributes, Operation::Create, GROUP, resource);
        let resource = attributes.resource;
        let path = if created("resourceclaims") {
            requested(&object["spec"])
        } else if created("resourceclaimtemplates") {
            requested(&object["spec"]["spec"])
        } else if attributes.operation == Operation::Update
            && resource.group == GROUP
            && resource.name == "resourceclaims"
            && attributes.subresource == "status"
            && attributes.old.and_then(allocated).is_none()
        {
            allocated(object)
        } else {
            None
        };
        let Some(path) = path else { return Ok(()) };
        let namespace = attributes.registry.cached("", "namespaces", "", attributes.namespace);
        if namespace.is_some_and(|namespace| is_marked(&namespace.value())) {
            return Ok(());
        }
        let detail = format!(
            "admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        );
        let errors = ErrorList::from(Error::forbidden(&path, detail));
        Err(Status::invalid(&resource.group_kind(), meta::name(object), &errors).into())
    }
}

fn is_marked(namespace: &Value) -> bool {
    meta::labels(namespace).and_then(|labels| labels.get(LABEL)).is_some_and(|mark| mark == "true")
}

/// The first request for administrative access.
fn requested(spec: &Value) -> Option<Path> {
    let requests = spec["devices"]["requests"].as_array()?;
    let index = requests.iter().position(|request| request["exactly"]["adminAccess"] == true)?;
    let path = Path::new("spec").child("devices").child("requests");
    Some(path.index(index).child("adminAccess"))
}

/// The first device that was given with administrative access.
fn allocated(claim: &Value) -> Option<Path> {
    let results = claim["status"]["allocation"]["devices"]["results"].as_array()?;
    let index = results.iter().position(|result| result["adminAccess"] == true)?;
    let path = Path::new("status").child("allocation").child("devices").child("results");
    Some(path.index(index).child("adminAccess"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn where_access_is_asked_for_and_given() {
        let spec =
            json!({"devices": {"requests": [{"exactly": {}}, {"exactly": {"adminAccess": true}}]}});
        let shown = |path: Option<Path>| path.map(|path| path.to_string());
        assert_eq!(
            shown(requested(&spec)).as_deref(),
            Some("spec.devices.requests[1].adminAccess")
        );
        let spec = json!({"devices": {"requests": [{"exactly": {"adminAccess": false}}]}});
        assert_eq!(shown(requested(&spec)), None);
        let claim =
            json!({"status": {"allocation": {"devices": {"results": [{"adminAccess": true}]}}}});
        assert_eq!(
            shown(allocated(&claim)).as_deref(),
            Some("status.allocation.devices.results[0].adminAccess")
        );
        assert!(is_marked(&json!({"metadata": {"labels": {LABEL: "true"}}})));
        assert!(!is_marked(&json!({"metadata": {"labels": {LABEL: "yes"}}})));
    }
}
