//! The parameters of a binding.

use machinery::Value;
use machinery::selector::LabelSelector;

use super::bound::{Binding, Bound};
use crate::registry::Attributes;

/// The objects with which a policy is to be evaluated, one after the other. A policy without
/// parameters is evaluated once, with none.
///
/// # Errors
/// Why there are none, where that refuses the write.
pub(super) fn of(
    bound: &Bound,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Result<Vec<Value>, String> {
    let (Some((api_version, kind)), Some(reference)) = (&bound.param_kind, &binding.params) else {
        return Ok(vec![Value::Null]);
    };
    let resources = attributes.registry.resources();
    let resource = resources
        .iter()
        .find(|resource| resource.api_version() == *api_version && *resource.kind == **kind)
        .ok_or_else(|| {
            format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")
        })?;
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let namespace = match (resource.namespaced, text("namespace")) {
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                .to_owned());
        }
        (true, "") if attributes.namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned());
        }
        (true, "") => attributes.namespace,
        (true, namespace) => namespace,
    };
    let found: Vec<Value> = match text("name") {
        "" => {
            let selector = LabelSelector::from_value(reference.get("selector"))
                .map_err(|error| error.to_string())?;
            let all = attributes.registry.cached_list(&resource.group, &resource.name, namespace);
            all.iter().filter(|object| selector.matches(&***object)).map(|o| o.value()).collect()
        }
        name => {
            let found =
                attributes.registry.cached(&resource.group, &resource.name, namespace, name);
            found.map(|object| object.value()).into_iter().collect()
        }
    };
    if found.is_empty() && text("parameterNotFoundAction") != "Allow" {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()
        );
    }
    Ok(found)
}
