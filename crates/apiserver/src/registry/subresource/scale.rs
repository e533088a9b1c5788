//! `scale`: the number of replicas of a workload, as an object of its own.

use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::schema;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use machinery::{Value, meta};
use serde_json::json;

use crate::registry::patch::Patch;
use crate::registry::read::revision_of;
use crate::registry::update::Source;
use crate::registry::{Body, Context, Failure, Outcome, Registry, Target, WriteOptions};

impl Registry {
    pub(in crate::registry) async fn update_scale(
        &self,
        context: &Context,
        target: &Target,
        scale: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        let change = |old: &Value| with_scale(target, old, &scale);
        self.change_scale(context, target, &change, options).await
    }

    pub(in crate::registry) async fn patch_scale(
        &self,
        context: &Context,
        target: &Target,
        patch: &Patch<'_>,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        let ty = schema::builtin()
            .kind("autoscaling", "v1", "Scale")
            .ok_or_else(|| Status::internal("the schema lacks Scale"))?;
        let change = |old: &Value| {
            let scale = patch.apply(&scale_of(old), ty)?;
            with_scale(target, old, &scale)
        };
        self.change_scale(context, target, &change, options).await
    }

    async fn change_scale(
        &self,
        context: &Context,
        target: &Target,
        change: &(dyn Fn(&Value) -> Result<Value, Failure> + Send + Sync),
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        // Stored under the rules of the workload itself: its spec changes.
        let mut workload = target.clone();
        workload.subresource.clear();
        let object = self.change(context, &workload, Source::Change(change), options).await?;
        Ok(Outcome { code: 200, body: Body::Value(scale_of(&object.value())) })
    }
}

/// The Scale of a workload.
pub(in crate::registry) fn scale_of(object: &Value) -> Value {
    let replicas = |part: &str| object[part]["replicas"].as_i64().unwrap_or(0);
    let mut metadata = json!({"name": meta::name(object)});
    for field in ["namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut spec = json!({});
    if replicas("spec") != 0 {
        spec["replicas"] = replicas("spec").into();
    }
    let mut status = json!({"replicas": replicas("status")});
    let selector = match object["spec"].get("selector") {
        // ReplicationControllers have a plain map.
        selector if meta::kind(object) == "ReplicationController" => {
            LabelSelector::from_map(selector).to_string()
        }
        selector => LabelSelector::from_value(selector).map(|s| s.to_string()).unwrap_or_default(),
    };
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    })
}

fn with_scale(target: &Target, old: &Value, scale: &Value) -> Result<Value, Failure> {
    let mut object = old.clone();
    let name = meta::name(scale);
    if !name.is_empty() && name != target.name {
        let text = format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        );
        return Err(Status::bad_request(text).into());
    }
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("replicas");
        let detail = "must be greater than or equal to 0";
        errors.push(Error::invalid(&path, replicas, detail));
        let kind = GroupKind::new("autoscaling", "Scale");
        return Err(Status::invalid(&kind, &target.name, &errors).into());
    }
    // The client's preconditions hold for the workload.
    let version = revision_of(scale).unwrap_or_default().to_owned();
    meta::set_resource_version(&mut object, version);
    let uid = meta::uid(scale).to_owned();
    if !uid.is_empty() {
        meta::set_uid(&mut object, uid);
    }
    object["spec"]["replicas"] = replicas.into();
    Ok(object)
}
