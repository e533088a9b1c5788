//! Authorization: may this user do this?
//!
//! Asked in order: `system:masters`, paths open to everyone, the node authorizer, RBAC. The first
//! that allows wins; nobody denies.

pub mod node;
pub mod rbac;
pub mod rules;

use machinery::gvk::GroupResource;
use machinery::status::Status;

use crate::authn::user::{MASTERS, User};
use crate::request_info::RequestInfo;

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// The verb.
    pub verb: &'a str,
    /// Whether a resource is asked for; otherwise only `verb` and `path` count.
    pub is_resource: bool,
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Resource.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty for all or none.
    pub namespace: &'a str,
    /// Object name, or empty.
    pub name: &'a str,
    /// Path of a request for no resource.
    pub path: &'a str,
    /// The field selector of a list or watch, raw.
    pub field_selector: &'a str,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and why.
    Allow(String),
    /// Nobody allows it; what the authorizers have to say about that.
    NoOpinion(String),
}

/// All authorizers in their order.
#[derive(Default)]
pub struct Authorizer {
    /// Role-based rules.
    pub rbac: rbac::Index,
    /// What nodes may do because of the Pods on them.
    pub nodes: node::Graph,
}

/// Paths that need no permission, so that load balancers and probes work.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// The attributes of a request.
    #[must_use]
    pub fn of(user: &'a User, info: &'a RequestInfo<'_>, field_selector: &'a str) -> Self {
        Self {
            user,
            verb: info.verb,
            is_resource: info.is_resource,
            group: info.group,
            version: info.version,
            resource: info.resource,
            subresource: info.subresource,
            namespace: info.namespace,
            name: &info.name,
            path: info.path,
            field_selector,
        }
    }

    /// The same for a resource, for checks of the server's own making.
    #[must_use]
    pub fn resource(user: &'a User, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            is_resource: true,
            group,
            version: "*",
            resource,
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            field_selector: "",
        }
    }

    /// The 403 for a refusal.
    #[must_use]
    pub fn forbidden(&self, reason: &str) -> Status {
        let Self { user, verb, .. } = self;
        let user = &user.name;
        let mut text = if self.is_resource {
            let slash = if self.subresource.is_empty() { "" } else { "/" };
            let scope = if self.namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {:?}", self.namespace)
            };
            format!(
                "User {user:?} cannot {verb} resource \"{}{slash}{}\" in API group {:?} {scope}",
                self.resource, self.subresource, self.group
            )
        } else {
            format!("User {user:?} cannot {verb} path {:?}", self.path)
        };
        if !reason.is_empty() {
            text.push_str(": ");
            text.push_str(reason);
        }
        let (group, resource, name) =
            if self.is_resource { (self.group, self.resource, self.name) } else { ("", "", "") };
        Status::forbidden(&GroupResource::new(group, resource), name, text)
    }
}

// === impl Authorizer ===

impl Authorizer {
    /// Judges a request.
    #[must_use]
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if self.allows_quickly(attributes) {
            return Decision::Allow(String::new());
        }
        let mut reason = match self.nodes.authorize(attributes) {
            Some(Ok(())) => return Decision::Allow(String::new()),
            Some(Err(reason)) => reason,
            None => String::new(),
        };
        match self.rbac.authorize(attributes) {
            rbac::Verdict::Allowed(why) => Decision::Allow(why),
            rbac::Verdict::Unknown(problems) => {
                if !problems.is_empty() {
                    if !reason.is_empty() {
                        reason.push_str(", ");
                    }
                    reason.push_str("RBAC: ");
                    reason.push_str(&problems);
                }
                Decision::NoOpinion(reason)
            }
        }
    }

    /// Judges a request and makes the 403 of a refusal; the hot path, which makes no texts.
    ///
    /// # Errors
    /// 403 when nobody allows it.
    pub fn check(&self, attributes: &Attributes<'_>) -> Result<(), Box<Status>> {
        if self.allows_quickly(attributes)
            || (attributes.user.node_name().is_none() && self.rbac.allows(attributes))
        {
            return Ok(());
        }
        match self.authorize(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) => Err(Box::new(attributes.forbidden(&reason))),
        }
    }

    fn allows_quickly(&self, attributes: &Attributes<'_>) -> bool {
        attributes.user.in_group(MASTERS)
            || (!attributes.is_resource && OPEN_PATHS.contains(&attributes.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstream() {
        let user = User { name: "jane".to_owned(), ..User::default() };
        let mut attributes = Attributes::resource(&user, "list", "", "pods");
        attributes.namespace = "default";
        assert_eq!(
            attributes.forbidden("").message,
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in \
             the namespace \"default\""
        );
        let mut attributes = Attributes::resource(&user, "get", "apps", "deployments");
        (attributes.subresource, attributes.name) = ("scale", "web");
        assert_eq!(
            attributes.forbidden("").message,
            "deployments.apps \"web\" is forbidden: User \"jane\" cannot get resource \
             \"deployments/scale\" in API group \"apps\" at the cluster scope"
        );
        let path = Attributes { is_resource: false, path: "/metrics", ..attributes };
        assert_eq!(
            path.forbidden("").message,
            "forbidden: User \"jane\" cannot get path \"/metrics\""
        );
    }

    #[test]
    fn probes_and_masters_pass() {
        let authorizer = Authorizer::default();
        let anonymous = User::anonymous();
        let probe = Attributes {
            is_resource: false,
            path: "/livez",
            ..Attributes::resource(&anonymous, "get", "", "")
        };
        assert!(authorizer.check(&probe).is_ok());
        let metrics = Attributes { path: "/metrics", ..probe };
        assert_eq!(authorizer.check(&metrics).unwrap_err().code, 403);
        let master = User { groups: vec![MASTERS.to_owned()], ..User::default() };
        assert!(authorizer.check(&Attributes { user: &master, ..metrics }).is_ok());
    }
}
