//! What a request asks for, read off its method, path and query, as upstream's RequestInfo does:
//! it is what authorization, admission and routing all judge by.

use std::borrow::Cow;

use http::Method;

use crate::http::query::Query;

/// Subresources of `namespaces/NAME`; anything else there is a resource inside the namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// The facts of a request. Borrowed from its (decoded) path and query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    /// Whether the path names a resource; otherwise only `path` and `verb` count.
    pub is_resource: bool,
    /// The decoded path.
    pub path: &'a str,
    /// `get`, `list`, `watch`, `create`, ...; for other paths the method in lower case.
    pub verb: &'a str,
    /// `api` or `apis`.
    pub prefix: &'a str,
    /// API group, empty for core.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Namespace, empty for none (or all).
    pub namespace: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Object name, empty for collections.
    pub name: Cow<'a, str>,
    /// What follows the subresource (`proxy` paths), without a leading slash.
    pub rest: &'a str,
    /// Whether the object's name came from a field selector, not from the path.
    pub name_from_selector: bool,
}

impl<'a> RequestInfo<'a> {
    /// Reads a request. `path` is percent-decoded.
    ///
    /// # Errors
    /// The message for the client when the path breaks off in the middle.
    pub fn parse(method: &Method, path: &'a str, query: &Query<'a>) -> Result<Self, &'static str> {
        let mut info = Self { path, verb: lower_method(method), ..Self::default() };
        let trimmed = path.trim_matches('/');
        let mut parts = trimmed.splitn(3, '/');
        let (Some(prefix), Some(first), Some(mut rest)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Ok(info);
        };
        match prefix {
            "api" => info.version = first,
            "apis" => {
                let Some((version, after)) = rest.split_once('/') else { return Ok(info) };
                info.group = first;
                info.version = version;
                rest = after;
            }
            _ => return Ok(info),
        }
        info.prefix = prefix;
        info.is_resource = true;
        let (head, after) = split(rest);
        let special = head == "proxy" || head == "watch";
        if special {
            if after.is_empty() {
                return Err("unable to determine kind and namespace from url");
            }
            info.verb = head;
            rest = after;
        } else {
            info.verb = match *method {
                Method::POST => "create",
                Method::GET | Method::HEAD => "get",
                Method::PUT => "update",
                Method::PATCH => "patch",
                Method::DELETE => "delete",
                _ => "",
            };
        }
        if let Some(after) = rest.strip_prefix("namespaces/") {
            let (namespace, inside) = split(after);
            info.namespace = namespace;
            if !inside.is_empty() && !NAMESPACE_SUBRESOURCES.contains(&split(inside).0) {
                rest = inside;
            }
        }
        let (resource, after) = split(rest);
        info.resource = resource;
        let (name, after) = split(after);
        info.name = Cow::Borrowed(name);
        if info.verb == "proxy" {
            info.rest = after;
        } else {
            (info.subresource, info.rest) = split(after);
        }
        if info.name.is_empty() && (info.verb == "get" || info.verb == "watch") {
            if info.verb == "get" {
                info.verb = if query.flag("watch") { "watch" } else { "list" };
            }
            if let Some(name) = query.get("fieldSelector").and_then(|s| exact_name(&s)) {
                info.name = Cow::Owned(name);
                info.name_from_selector = true;
            }
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection";
        }
        Ok(info)
    }

    /// The object's name when the path names one.
    #[must_use]
    pub fn path_name(&self) -> &str {
        if self.name_from_selector { "" } else { &self.name }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

fn lower_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "",
    }
}

/// The name that a field selector demands of every object, if it demands one.
fn exact_name(selector: &str) -> Option<String> {
    let term = selector.split(',').find_map(|term| term.trim().strip_prefix("metadata.name="))?;
    let name = term.strip_prefix('=').unwrap_or(term);
    let valid = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%', '\\']);
    valid.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `want`: verb, group/version, namespace, resource, name, subresource, rest.
    fn check(method: &str, target: &str, want: Option<[&str; 7]>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::parse(query);
        let info = RequestInfo::parse(&method, path, &query).unwrap();
        let group_version = format!("{}/{}", info.group, info.version);
        let got = info.is_resource.then_some([
            info.verb,
            &group_version,
            info.namespace,
            info.resource,
            &info.name,
            info.subresource,
            info.rest,
        ]);
        assert_eq!(got, want, "{method} {target}");
    }

    #[test]
    fn paths_read_as_upstream() {
        let v1 = "/v1";
        check("GET", "/api/v1/namespaces", Some(["list", v1, "", "namespaces", "", "", ""]));
        check("GET", "/api/v1/namespaces/a", Some(["get", v1, "a", "namespaces", "a", "", ""]));
        check(
            "PUT",
            "/api/v1/namespaces/a/finalize",
            Some(["update", v1, "a", "namespaces", "a", "finalize", ""]),
        );
        check(
            "GET",
            "/api/v1/namespaces/a/pods?watch=1",
            Some(["watch", v1, "a", "pods", "", "", ""]),
        );
        check(
            "GET",
            "/api/v1/watch/namespaces/a/pods",
            Some(["watch", v1, "a", "pods", "", "", ""]),
        );
        check("DELETE", "/api/v1/pods", Some(["deletecollection", v1, "", "pods", "", "", ""]));
        check(
            "GET",
            "/api/v1/nodes?fieldSelector=metadata.name%3Dn1",
            Some(["list", v1, "", "nodes", "n1", "", ""]),
        );
        check(
            "POST",
            "/api/v1/namespaces/a/pods/p/exec",
            Some(["create", v1, "a", "pods", "p", "exec", ""]),
        );
        check(
            "GET",
            "/api/v1/namespaces/a/services/s/proxy/x/y",
            Some(["get", v1, "a", "services", "s", "proxy", "x/y"]),
        );
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            Some(["patch", "apps/v1", "a", "deployments", "d", "scale", ""]),
        );
        check("GET", "/apis/apps/v1", None);
        check("GET", "/apis", None);
        check("GET", "/api/v1", None);
        check("GET", "/healthz/etcd/x", None);
        check("GET", "/version", None);
    }
}
