//! Who may have which access to devices, and say which devices a claim has:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#admin-access>,
//! <https://kubernetes.io/docs/concepts/security/hardening-guide/dynamic-resource-allocation/>.

use std::collections::BTreeSet;
use std::sync::Arc;

use machinery::field::{Error, ErrorList, Path};
use machinery::status::Status;
use machinery::{Value, meta};

use super::{Plugin, is};
use crate::authn::User;
use crate::authz::{self, Authorizer};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "resource.k8s.io";
const CLAIMS: &str = "resourceclaims";
/// Marks namespaces in which devices may be had with administrative access.
const LABEL: &str = "resource.kubernetes.io/admin-access";
/// The node in what is known of a service account.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Checks claims for devices, templates of claims, and what is said of claims.
pub(super) struct DeviceAccess(pub(super) Arc<Authorizer>);

impl Plugin for DeviceAccess {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let Some(object) = &attributes.object else { return Ok(()) };
        let created = |resource| is(attributes, Operation::Create, GROUP, resource);
        let resource = attributes.resource;
        let mut errors = ErrorList::new();
        if created(CLAIMS) {
            errors.extend(check_marked(attributes, requested(&object["spec"])));
        } else if created("resourceclaimtemplates") {
            errors.extend(check_marked(attributes, requested(&object["spec"]["spec"])));
        } else if let Some(old) = attributes.old
            && attributes.operation == Operation::Update
            && resource.group == GROUP
            && resource.name == CLAIMS
            && attributes.subresource == "status"
        {
            if allocated(old).is_none() {
                errors.extend(check_marked(attributes, allocated(object)));
            }
            errors.extend(self.check_binding(attributes, object, old));
            errors.extend(self.check_devices(attributes, object, old));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&resource.group_kind(), meta::name(object), &errors).into())
    }
}

impl DeviceAccess {
    /// Not everybody says what a claim has and who uses it.
    fn check_binding(&self, attributes: &Attributes<'_>, new: &Value, old: &Value) -> Vec<Error> {
        if ["allocation", "reservedFor"].iter().all(|field| part(new, field) == part(old, field)) {
            return Vec::new();
        }
        let context = attributes.context;
        let verb = context.change_verb();
        let binding = authz::Attributes::resource(&context.user, verb, GROUP, CLAIMS);
        let binding = authz::Attributes { subresource: "binding", ..binding };
        let refused = self.0.check(&binding).err();
        let errors = refused.into_iter().map(|why| {
            let detail = format!(
                "changing status.allocation or status.reservedFor requires \
                 resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {}",
                why.message
            );
            Error::forbidden(&Path::new("status"), detail)
        });
        errors.collect()
    }

    /// Drivers say how their own devices are, those of a node only of devices there.
    fn check_devices(&self, attributes: &Attributes<'_>, new: &Value, old: &Value) -> Vec<Error> {
        let drivers = changed_drivers(new, old);
        if drivers.is_empty() {
            return Vec::new();
        }
        let user = &attributes.context.user;
        let verb = attributes.context.change_verb();
        let mut verbs = vec![format!("arbitrary-node:{verb}")];
        if node_of(new).is_some_and(|node| is_on(user, node)) {
            verbs.insert(0, format!("associated-node:{verb}"));
        }
        let refusal = |driver: &str| {
            let checks = verbs.iter().map(|verb| {
                let asked = authz::Attributes::resource(user, verb, GROUP, CLAIMS);
                let namespace = attributes.namespace;
                self.0.check(&authz::Attributes {
                    subresource: "driver",
                    namespace,
                    name: driver,
                    ..asked
                })
            });
            let mut refused = Vec::new();
            for check in checks {
                refused.push(check.err()?);
            }
            refused.into_iter().next()
        };
        let errors = drivers.into_iter().filter_map(refusal).map(|why| {
            let detail = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", \
                 verb=\"[{}]\" permission: {}",
                verbs.join(" "),
                why.message
            );
            Error::forbidden(&Path::new("status").child("devices"), detail)
        });
        errors.collect()
    }
}

/// Refuses administrative access, asked for or given at `path`, in namespaces without the mark.
fn check_marked(attributes: &Attributes<'_>, path: Option<Path>) -> Option<Error> {
    let path = path?;
    let namespace = attributes.registry.cached("", "namespaces", "", attributes.namespace);
    if namespace.is_some_and(|namespace| meta::label(&namespace.value(), LABEL) == Some("true")) {
        return None;
    }
    let detail = format!(
        "admin access to devices requires the `{LABEL}: true` label on the containing namespace"
    );
    Some(Error::forbidden(&path, detail))
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

/// A part of a claim's status, unless it says nothing.
fn part<'o>(claim: &'o Value, field: &str) -> Option<&'o Value> {
    let part = claim["status"].get(field)?;
    let is_empty = part.is_null() || part.as_array().is_some_and(Vec::is_empty);
    (!is_empty).then_some(part)
}

/// The drivers of the devices of which something else is said now.
fn changed_drivers<'o>(new: &'o Value, old: &'o Value) -> BTreeSet<&'o str> {
    let devices =
        |claim: &'o Value| part(claim, "devices").and_then(Value::as_array).into_iter().flatten();
    let is_in = |claim: &'o Value, device: &Value| devices(claim).any(|other| other == device);
    let added = devices(new).filter(|device| !is_in(old, device));
    let removed = devices(old).filter(|device| !is_in(new, device));
    added.chain(removed).filter_map(|device| device["driver"].as_str()).collect()
}

/// The only node on which a claim can be used.
fn node_of(claim: &Value) -> Option<&str> {
    let terms = claim["status"]["allocation"]["nodeSelector"]["nodeSelectorTerms"].as_array()?;
    let [term] = terms.as_slice() else { return None };
    let expressions = term["matchExpressions"].as_array().map_or(0, Vec::len);
    let [field] = term["matchFields"].as_array()?.as_slice() else { return None };
    let values = field["values"].as_array()?;
    let is_name = field["key"] == "metadata.name" && field["operator"] == "In";
    match values.as_slice() {
        [name] if is_name && expressions == 0 => name.as_str().filter(|name| !name.is_empty()),
        _ => None,
    }
}

/// Whether a user is a service account that runs on a node.
fn is_on(user: &User, node: &str) -> bool {
    let nodes = user.extra.get(NODE_NAME).map(Vec::as_slice);
    user.service_account().is_some() && nodes == Some(&[node.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn where_access_is_asked_for_and_given() {
        let shown = |path: Option<Path>| path.map(|path| path.to_string());
        let request = |admin: bool| json!({"devices": {"requests": [{"exactly": {}}, {"exactly": {"adminAccess": admin}}]}});
        assert_eq!(
            shown(requested(&request(true))).as_deref(),
            Some("spec.devices.requests[1].adminAccess")
        );
        assert_eq!(shown(requested(&request(false))), None);
        let results = json!([{"adminAccess": true}]);
        let claim = json!({"status": {"allocation": {"devices": {"results": results}}}});
        assert_eq!(
            shown(allocated(&claim)).as_deref(),
            Some("status.allocation.devices.results[0].adminAccess")
        );
    }

    #[test]
    fn drivers_whose_devices_change() {
        let claim = |devices: Value| json!({"status": {"devices": devices}});
        let device = |driver: &str, data: i64| json!({"driver": driver, "data": data});
        let check = |old: Value, new: Value, drivers: &[&str]| {
            let (old, new) = (claim(old), claim(new));
            let changed: Vec<&str> = changed_drivers(&new, &old).into_iter().collect();
            assert_eq!(changed, drivers, "{old} {new}");
        };
        check(Value::Null, json!([]), &[]);
        check(Value::Null, json!([device("b", 1), device("a", 1)]), &["a", "b"]);
        check(json!([device("a", 1)]), json!([device("a", 2)]), &["a"]);
        let both = json!([device("a", 1), device("b", 1)]);
        check(both, json!([device("b", 1)]), &["a"]);
    }

    #[test]
    fn service_accounts_on_the_node_of_a_claim() {
        let claim = |fields: Value| {
            let terms = json!([{"matchFields": fields}]);
            json!({"status": {"allocation": {"nodeSelector": {"nodeSelectorTerms": terms}}}})
        };
        let one = json!([{"key": "metadata.name", "operator": "In", "values": ["n"]}]);
        assert_eq!(node_of(&claim(one)), Some("n"));
        let two = json!([{"key": "metadata.name", "operator": "In", "values": ["n", "m"]}]);
        assert_eq!(node_of(&claim(two)), None);
        let mut user = User { name: "system:serviceaccount:a:b".to_owned(), ..User::default() };
        assert!(!is_on(&user, "n"));
        user.extra.insert(NODE_NAME.to_owned(), vec!["n".to_owned()]);
        assert!(is_on(&user, "n") && !is_on(&user, "m"));
        user.name = "jane".to_owned();
        assert!(!is_on(&user, "n"));
    }
}
