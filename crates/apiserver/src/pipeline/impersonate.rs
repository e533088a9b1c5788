//! Acting as somebody else:
//! <https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/>.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use machinery::status::Status;

use crate::authn::User;
use crate::authn::user::{ANONYMOUS, AUTHENTICATED, SERVICE_ACCOUNTS, UNAUTHENTICATED};
use crate::authz::{Attributes, Authorizer};
use crate::http::query;
use crate::pipeline::Failure;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user that the headers ask to be, if `user` may be that one. Removes the headers, so that
/// nothing behind this server sees them.
pub(super) fn apply(
    authorizer: &Authorizer,
    user: Arc<User>,
    headers: &mut HeaderMap,
) -> Result<Arc<User>, Failure> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(user);
    }
    let Some(name) = text(headers, USER).filter(|name| !name.is_empty()) else {
        let message = "requested [{UserInfo   map[]}] without impersonating a user".to_owned();
        return Err(Box::new(Status::internal(message)));
    };
    let groups: Vec<String> = headers
        .get_all(GROUP)
        .iter()
        .filter_map(|value| Some(value.to_str().ok()?.to_owned()))
        .collect();
    let uid = text(headers, UID).unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers.iter() {
        if let (Some(key), Ok(value)) = (header.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = query::decode(key, false).into_owned();
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    let asked = User { name, uid, groups, extra };
    check(authorizer, &user, &asked)?;
    for name in [USER, GROUP, UID] {
        headers.remove(name);
    }
    let extras: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with(EXTRA)).cloned().collect();
    for name in extras {
        headers.remove(name);
    }
    tracing::debug!(user = user.name, acting_as = asked.name, "impersonation");
    Ok(Arc::new(complete(asked)))
}

fn check(authorizer: &Authorizer, user: &User, asked: &User) -> Result<(), Failure> {
    let ask = |group, resource, subresource, namespace, name| {
        authorizer.check(&Attributes {
            namespace,
            name,
            subresource,
            ..Attributes::resource(user, "impersonate", group, resource)
        })
    };
    match asked.service_account() {
        Some((namespace, name)) => ask("", "serviceaccounts", "", namespace, name)?,
        None => ask("", "users", "", "", &asked.name)?,
    }
    for group in &asked.groups {
        ask("", "groups", "", "", group)?;
    }
    if !asked.uid.is_empty() {
        ask("authentication.k8s.io", "uids", "", "", &asked.uid)?;
    }
    for (key, values) in &asked.extra {
        for value in values {
            ask("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    Ok(())
}

/// Adds the groups that the user would have had by authenticating.
fn complete(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = user.service_account()
    {
        let own = format!("{SERVICE_ACCOUNTS}:{namespace}");
        user.groups = vec![SERVICE_ACCOUNTS.to_owned(), own];
    }
    if user.name == ANONYMOUS {
        if !user.in_group(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
        return user;
    }
    if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::user::MASTERS;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn masters_may_be_anybody() {
        let authorizer = Authorizer::default();
        let admin = Arc::new(User { groups: vec![MASTERS.to_owned()], ..User::default() });
        let mut asked = headers(&[
            ("Impersonate-User", "system:serviceaccount:n:sa"),
            ("Impersonate-Extra-Scopes%2Fa", "x"),
        ]);
        let user = apply(&authorizer, admin.clone(), &mut asked).unwrap();
        assert_eq!(user.name, "system:serviceaccount:n:sa");
        let groups = ["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"];
        assert_eq!(user.groups, groups);
        assert_eq!(user.extra["scopes/a"], ["x"]);
        assert!(asked.is_empty());

        let only_group = &mut headers(&[("Impersonate-Group", "g")]);
        assert_eq!(apply(&authorizer, admin, only_group).unwrap_err().code, 500);
    }

    #[test]
    fn others_may_not() {
        let authorizer = Authorizer::default();
        let jane = Arc::new(User { name: "jane".to_owned(), ..User::default() });
        let mut asked = headers(&[("Impersonate-User", "root")]);
        let refused = apply(&authorizer, jane, &mut asked).unwrap_err();
        assert_eq!(
            refused.message,
            "users \"root\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in \
             API group \"\" at the cluster scope"
        );
    }
}
