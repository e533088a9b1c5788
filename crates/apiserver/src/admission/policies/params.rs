//! The parameters of a binding.

use std::sync::Arc;

use machinery::Value;
use machinery::selector::LabelSelector;

use super::bound::{Binding, Bound};
use crate::cache::Object;
use crate::registry::Attributes;

/// Why there are no parameters. The failure policy decides what that means.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParamError {
    /// The policy is wrong.
    #[error("failed to configure policy: {0}")]
    Policy(String),
    /// The binding is wrong, or what it names is not there.
    #[error("failed to configure binding: {0}")]
    Binding(String),
}

/// The objects with which a policy is to be evaluated, one after the other. A policy without
/// parameters is evaluated once, with none.
pub(super) async fn of<P>(
    bound: &Bound<P>,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Result<Vec<Value>, ParamError> {
    let Some(kind) = &bound.param_kind else { return Ok(vec![Value::Null]) };
    let resources = attributes.registry.resources();
    let resource = resources.iter().find(|resource| resource.gvk() == *kind).ok_or_else(|| {
        ParamError::Policy(format!("failed to find resource referenced by paramKind: '{kind}'"))
    })?;
    let Some(reference) = &binding.params else { return Ok(vec![Value::Null]) };
    let refused = |text: &str| Err(ParamError::Binding(text.to_owned()));
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let namespace = match (resource.namespaced, text("namespace")) {
        (false, "") => "",
        (false, _) => {
            return refused(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`",
            );
        }
        (true, "") if attributes.namespace.is_empty() => {
            return refused(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            );
        }
        (true, "") => attributes.namespace,
        (true, namespace) => namespace,
    };
    let found: Vec<Arc<Object>> = match text("name") {
        "" => {
            let selector = LabelSelector::from_value(reference.get("selector"))
                .map_err(|error| ParamError::Binding(error.to_string()))?;
            let all = attributes.registry.cached_list(&resource.group, &resource.name, namespace);
            all.into_iter().filter(|object| selector.matches(&**object)).collect()
        }
        name => {
            let found =
                attributes.registry.cached(&resource.group, &resource.name, namespace, name);
            found.into_iter().collect()
        }
    };
    if found.is_empty() && text("parameterNotFoundAction") != "Allow" {
        return refused("no params found for policy binding with `Deny` parameterNotFoundAction");
    }
    let mut params = Vec::with_capacity(found.len());
    for object in found {
        // In the version that the policy names.
        let shown = resource.present(object).await;
        params.push(shown.map_err(|failure| ParamError::Binding(failure.message))?.value());
    }
    Ok(params)
}
