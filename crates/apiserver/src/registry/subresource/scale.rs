//! `scale`: the number of replicas of a workload, as an object of its own.

use machinery::apply::scale::Replicas;
use machinery::apply::{self, ConvertError, Reset, Versions};
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::schema::{self, TypeRef};
use machinery::selector::LabelSelector;
use machinery::status::Status;
use machinery::{Value, meta, time};
use serde_json::json;

use crate::cache::Object;
use crate::registry::managed;
use crate::registry::patch::Patch;
use crate::registry::read::revision_of;
use crate::registry::update::{Change, Source};
use crate::registry::{Body, Context, Failure, Outcome, Registry, Resource, Target, WriteOptions};

/// Where all built-in workloads have their replicas.
const REPLICAS: &[&str] = &["spec", "replicas"];
const VERSION: &str = "autoscaling/v1";

impl Registry {
    pub(in crate::registry) async fn update_scale(
        &self,
        context: &Context,
        target: &Target,
        scale: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        let tracking = Tracking::new(self, target, options)?;
        let change = |old: &Value| {
            let before = tracking.scale_of(old)?;
            tracking.with_scale(old, tracking.updated(&before, scale.clone()))
        };
        self.change_scale(context, target, &change, options).await
    }

    pub(in crate::registry) async fn patch_scale(
        &self,
        context: &Context,
        target: &Target,
        patch: &Patch<'_>,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        let tracking = Tracking::new(self, target, options)?;
        let change = |old: &Value| {
            let before = tracking.scale_of(old)?;
            let scale = patch.apply(&before, tracking.ty)?;
            tracking.with_scale(old, tracking.updated(&before, scale))
        };
        self.change_scale(context, target, &change, options).await
    }

    pub(in crate::registry) async fn apply_scale(
        &self,
        context: &Context,
        target: &Target,
        applied: &Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        let tracking = Tracking::new(self, target, options)?;
        let change = |old: &Value| {
            let before = tracking.scale_of(old)?;
            let scale = apply::apply(&tracking.request(), Some(&before), applied, options.force)
                .map_err(|error| managed::refused(&error))?;
            tracking.with_scale(old, managed::decoded(scale, applied, tracking.ty)?)
        };
        self.change_scale(context, target, &change, options).await
    }

    async fn change_scale(
        &self,
        context: &Context,
        target: &Target,
        change: &Change<'_>,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        // Stored under the rules of the workload itself: its spec changes.
        let mut workload = target.clone();
        workload.subresource.clear();
        let object = self.change(context, &workload, Source::Tracked(change), options).await?;
        Ok(Outcome { code: 200, body: Body::Value(scale_of(&target.resource, &object.value())) })
    }
}

/// A write of a Scale, which has managed fields of its own while it is written.
struct Tracking<'a> {
    target: &'a Target,
    ty: TypeRef<'static>,
    api_version: String,
    manager: &'a str,
    now: String,
    reset: Reset,
    /// Where the workload has its replicas.
    path: Vec<&'a str>,
}

impl<'a> Tracking<'a> {
    fn new(
        registry: &Registry,
        target: &'a Target,
        options: &'a WriteOptions,
    ) -> Result<Self, Failure> {
        let ty = schema::builtin()
            .kind("autoscaling", "v1", "Scale")
            .ok_or_else(|| Status::internal("the schema lacks Scale"))?;
        Ok(Self {
            target,
            ty,
            api_version: target.resource.api_version(),
            manager: options.manager(),
            now: time::format(registry.now()),
            reset: Reset::default(),
            path: match &target.resource.scale {
                Some(own) => steps(&own.spec_replicas).collect(),
                None => REPLICAS.to_vec(),
            },
        })
    }

    fn request(&self) -> apply::Request<'_> {
        apply::Request {
            ty: self.ty,
            api_version: VERSION,
            kind: "Scale",
            manager: self.manager,
            subresource: "scale",
            now: &self.now,
            reset: &self.reset,
            versions: self,
        }
    }

    fn replicas(&self) -> Replicas<'_> {
        Replicas { api_version: &self.api_version, path: &self.path }
    }

    /// The Scale of a workload with those of its owners who own the replicas.
    fn scale_of(&self, object: &Value) -> Result<Value, Failure> {
        let mut scale = scale_of(&self.target.resource, object);
        let entries = apply::scale::of_scale(managed_fields(object), self.replicas());
        apply::put(&mut scale, entries.map_err(Status::internal)?);
        Ok(scale)
    }

    fn updated(&self, before: &Value, mut scale: Value) -> Value {
        apply::update(&self.request(), Some(before), &mut scale);
        scale
    }

    /// The workload with the replicas of a Scale, and with those who own them now.
    fn with_scale(&self, old: &Value, mut scale: Value) -> Result<Value, Failure> {
        let mut object = with_scale(self.target, old, &scale)?;
        let shown = apply::take(&mut scale);
        let entries = apply::scale::of_parent(managed_fields(old), &shown, self.replicas());
        apply::put(&mut object, entries.map_err(Status::internal)?);
        Ok(object)
    }
}

/// A Scale has one version.
impl Versions for Tracking<'_> {
    fn ty(&self, _api_version: &str) -> Option<TypeRef<'_>> {
        None
    }

    fn convert(&self, _object: &Value, _from: &str, to: &str) -> Result<Value, ConvertError> {
        Err(ConvertError(format!("no Scale is of version {to}")))
    }
}

fn managed_fields(object: &Value) -> &Value {
    object.get("metadata").and_then(|m| m.get("managedFields")).unwrap_or(&Value::Null)
}

/// The Scale of a workload as it is read.
///
/// # Errors
/// 500 for a custom object without the field that holds its replicas, as upstream.
pub(in crate::registry) fn shown_scale(
    resource: &Resource,
    object: &Object,
) -> Result<Value, Failure> {
    let object = object.value();
    if let Some(own) = &resource.scale
        && steps(&own.spec_replicas).try_fold(&object, |value, step| value.get(step)).is_none()
    {
        let text = format!("the spec replicas field {:?} does not exist", own.spec_replicas);
        return Err(Status::internal(text).into());
    }
    Ok(scale_of(resource, &object))
}

/// The Scale of a workload.
fn scale_of(resource: &Resource, object: &Value) -> Value {
    let at = |path: &str| steps(path).try_fold(object, |value, step| value.get(step));
    let own = resource.scale.as_ref();
    let replicas = |part: &str| {
        let found = match (own, part) {
            (Some(own), "spec") => at(&own.spec_replicas),
            (Some(own), _) => at(&own.status_replicas),
            (None, part) => object[part].get("replicas"),
        };
        found.and_then(Value::as_i64).unwrap_or(0)
    };
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
        // Custom resources say it as text.
        _ if own.is_some() => {
            let found = own.and_then(|own| at(own.label_selector.as_deref()?));
            found.and_then(Value::as_str).unwrap_or_default().to_owned()
        }
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
    let uid = meta::uid(scale);
    if !uid.is_empty() && uid != meta::uid(old) {
        let detail = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(old)
        );
        let resource = target.resource.group_resource();
        return Err(Status::conflict(&resource, &target.name, detail).into());
    }
    let version = revision_of(scale).unwrap_or_default().to_owned();
    meta::set_resource_version(&mut object, version);
    match &target.resource.scale {
        Some(own) => {
            let place = steps(&own.spec_replicas).fold(&mut object, |value, step| {
                if !value.is_object() {
                    *value = json!({});
                }
                &mut value[step]
            });
            *place = replicas.into();
        }
        None => object["spec"]["replicas"] = replicas.into(),
    }
    Ok(object)
}

/// The members on the way of a path such as `.spec.replicas`.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|step| !step.is_empty())
}
