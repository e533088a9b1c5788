//! How structures look in the texts of errors. A server written in Go shows them with the names
//! of its own fields, all of them, whatever was given; clients see and compare those texts.

use machinery::Value;
use machinery::schema::{self, Kind, TypeRef};
use serde_json::Map;

/// A structure of the core group as it is shown in an error.
pub(super) fn form(value: &Value, name: &str) -> Value {
    form_of_group(value, "io.k8s.api.core.v1", name)
}

/// A structure of any group, whose types start with `package`, as it is shown in an error.
pub(super) fn form_of_group(value: &Value, package: &str, name: &str) -> Value {
    match schema::builtin().named_type(&format!("{package}.{name}")) {
        Some(ty) => shown(value, ty, false),
        None => value.clone(),
    }
}

/// A list of structures as it is shown in an error.
pub(super) fn forms(list: &[Value], name: &str) -> Value {
    list.iter().map(|item| form(item, name)).collect()
}

/// A pointer to a structure as it is shown in an error.
pub(super) fn pointer(value: &Value, name: &str) -> Value {
    if value.is_null() { Value::Null } else { form(value, name) }
}

fn shown(value: &Value, ty: TypeRef<'_>, pointer: bool) -> Value {
    // What comes from the machinery that all groups share is shown as clients write it.
    let shared = ty.name().is_some_and(|name| name.starts_with("io.k8s.apimachinery."));
    match ty.kind() {
        Kind::Struct if value.is_null() && pointer => Value::Null,
        Kind::Struct if !shared => structure(value, ty),
        Kind::List(item) => value.as_array().map_or(Value::Null, |items| {
            items.iter().map(|member| shown(member, item, false)).collect()
        }),
        Kind::Map(item) => value.as_object().map_or(Value::Null, |entries| {
            entries.iter().map(|(key, entry)| (key.clone(), shown(entry, item, false))).collect()
        }),
        _ if pointer || !value.is_null() => value.clone(),
        Kind::String => Value::from(""),
        Kind::Bool => Value::from(false),
        Kind::Int32 | Kind::Int64 | Kind::IntOrString => Value::from(0),
        _ => Value::Null,
    }
}

fn structure(value: &Value, ty: TypeRef<'_>) -> Value {
    let mut fields = Map::new();
    for field in ty.declared_fields() {
        let member = value.get(field.name()).unwrap_or(&Value::Null);
        let member = shown(member, field.type_ref(), field.is_pointer());
        fields.insert(exported(field.name()), member);
    }
    Value::Object(fields)
}

/// The name of a field in Go: with a capital, and abbreviations all in capitals.
fn exported(name: &str) -> String {
    for (plain, capital) in [("ip", "IP"), ("uid", "UID"), ("cel", "CEL")] {
        if name == plain {
            return capital.to_owned();
        }
    }
    for (plain, capital) in [("seLinux", "SELinux"), ("gmsa", "GMSA")] {
        if let Some(rest) = name.strip_prefix(plain) {
            return format!("{capital}{rest}");
        }
    }
    let mut letters = name.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn structures_show_all_their_fields() {
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        assert_eq!(
            form(&taint, "Taint").to_string(),
            r#"{"Key":"a","Value":"","Effect":"NoSchedule","TimeAdded":null}"#
        );
        assert_eq!(form(&json!({"ip": "::1"}), "PodIP").to_string(), r#"{"IP":"::1"}"#);
        let port = json!({"protocol": "TCP", "port": 80});
        assert_eq!(
            form(&port, "ServicePort").to_string(),
            r#"{"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#
        );
        let term = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
        assert_eq!(
            form(&term, "NodeSelectorTerm").to_string(),
            r#"{"MatchExpressions":[{"Key":"a","Operator":"Exists","Values":null}],"MatchFields":null}"#
        );
        let options = json!({"gmsaCredentialSpecName": "a"});
        assert_eq!(
            form(&options, "WindowsSecurityContextOptions").to_string(),
            r#"{"GMSACredentialSpecName":"a","GMSACredentialSpec":null,"RunAsUserName":null,"HostProcess":null}"#
        );
    }
}
