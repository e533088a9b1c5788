//! `pods/NAME/binding`: gives a Pod to a node.

use std::sync::Arc;

use machinery::gvk::GroupResource;
use machinery::status::Status;
use machinery::{Value, meta, time};
use serde_json::{Map, json};

use super::{check_name, set_true, success};
use crate::cache::Object;
use crate::registry::allocate::Allocation;
use crate::registry::create::check_namespace;
use crate::registry::{Context, Failure, Outcome, Registry, Target, WriteOptions};

impl Registry {
    pub(super) async fn bind(
        &self,
        context: &Context,
        target: &Target,
        mut binding: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        check_namespace(target, &mut binding)?;
        let name = match target.name.as_str() {
            "" => meta::name(&binding).to_owned(),
            name => name.to_owned(),
        };
        if target.name.is_empty() {
            if name.is_empty() {
                return Err(Status::bad_request("name is required").into());
            }
        } else {
            check_name(target, &binding, "Binding")?;
        }
        let binding = self.admit_post(context, target, &name, "binding", binding, options).await?;

        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        let kind = binding["target"]["kind"].as_str().unwrap_or_default();
        check_target(kind, &node)?;
        let pods = self
            .resource("", "v1", "pods")
            .ok_or_else(|| Status::internal("pods are not served"))?;
        let mut pod = Target::object(&pods, &target.namespace, &name);
        // The strategy's rules for other writers of spec.nodeName and of status do not apply.
        pod.subresource = "binding".to_owned();
        let now = time::format(self.now());
        let change = |pod: Value| assign(pod, &binding, &name, &node, &now);
        self.rewrite(&pod, &change, options.dry_run).await?;
        Ok(success())
    }

    /// Stores a change that needs no rules because the server itself decides it. The result is the
    /// object as it is then; none in a dry run.
    pub(in crate::registry) async fn rewrite(
        &self,
        target: &Target,
        change: &(dyn Fn(Value) -> Result<Value, Failure> + Send + Sync),
        dry_run: bool,
    ) -> Result<Option<Arc<Object>>, Failure> {
        let resource = &target.resource;
        for _ in 0..25 {
            let Some(stored) = resource.cache().get(&target.key()) else {
                return Err(crate::registry::read::not_found(target));
            };
            let mut new = change(resource.present(stored.clone()).await?.value())?;
            if dry_run {
                return Ok(None);
            }
            let bytes = resource.encode(&mut new).await?;
            let revision = stored.resource_version();
            let nothing = Allocation::default();
            let result =
                self.store_update(resource, stored.key(), bytes, revision, &nothing).await?;
            if let Some(object) = result.or_again()? {
                return Ok(Some(object));
            }
        }
        Err(Status::modified(&resource.group_resource(), &target.name).into())
    }
}

fn check_target(kind: &str, node: &str) -> Result<(), Failure> {
    use machinery::field::{Error, ErrorList, Path};
    let mut errors = ErrorList::new();
    let path = Path::new("target");
    if !kind.is_empty() && kind != "Node" {
        errors.push(Error::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = machinery::gvk::GroupKind::new("", "Binding");
    Err(Status::invalid(&kind, "", &errors).into())
}

fn assign(
    mut pod: Value,
    binding: &Value,
    name: &str,
    node: &str,
    now: &str,
) -> Result<Value, Failure> {
    let conflict = |detail: String| -> Result<Value, Failure> {
        Err(Status::conflict(&GroupResource::new("", "pods/binding"), name, detail).into())
    };
    let uid = meta::uid(binding);
    if !uid.is_empty() && uid != meta::uid(&pod) {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(&pod)
        ));
    }
    if meta::deletion_timestamp(&pod).is_some() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !assigned.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    let gates = pod["spec"].get("schedulingGates").and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = node.into();
    let annotations: Option<&Map<String, Value>> = meta::annotations(binding);
    for (key, value) in annotations.into_iter().flatten() {
        meta::set_annotation(&mut pod, key, value.as_str().unwrap_or_default());
    }
    for (key, value) in meta::labels(binding).into_iter().flatten() {
        meta::set_label(&mut pod, key, value.as_str().unwrap_or_default());
    }
    set_true(&mut pod, json!({"type": "PodScheduled"}), now);
    Ok(pod)
}
