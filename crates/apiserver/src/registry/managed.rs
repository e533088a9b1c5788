//! Managed fields of what is written: which rules of `machinery::apply` hold for a request.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use machinery::apply::{self, ConvertError, Managed, Reset, Set, Step, Versions};
use machinery::schema::TypeRef;
use machinery::status::Status;
use machinery::{Value, codec, meta, time};
use resources::StatusMetadata;

use super::admission::Attributes;
use super::{Failure, Registry, Resource, Target, WriteOptions};

/// What the request cannot change, as the strategies of upstream's kinds say.
fn reset(resource: &Resource, subresource: &str) -> Reset {
    use Step::{Any, Member};
    const EPHEMERAL: &[&[Step]] = &[&[Member("spec"), Member("ephemeralContainers")]];
    const RESIZE: &[&[Step]] = &[
        &[Member("spec"), Member("containers"), Any, Member("resources")],
        &[Member("spec"), Member("containers"), Any, Member("resizePolicy")],
        &[Member("spec"), Member("initContainers"), Any, Member("resources")],
        &[Member("spec"), Member("initContainers"), Any, Member("resizePolicy")],
    ];
    let paths: &[&[&str]] = match (&*resource.group, resource.name.as_str(), subresource) {
        ("", "pods", "ephemeralcontainers") => return Reset::Only(EPHEMERAL),
        ("", "pods", "resize") => return Reset::Only(RESIZE),
        (_, "certificatesigningrequests", "") => &[&["spec"], &["status"]],
        (_, "certificatesigningrequests", "status") => &[&["spec"], &["status", "conditions"]],
        (_, "certificatesigningrequests", "approval") => &[&["spec"], &["status", "certificate"]],
        ("", "namespaces", "finalize") => &[&["status"]],
        (_, _, "status") => match resource.strategy.status_metadata() {
            StatusMetadata::Written => &[&["spec"]],
            StatusMetadata::Kept | StatusMetadata::KeptButFinalizers => &[&["spec"], &["metadata"]],
            StatusMetadata::Keeps(fields) => {
                let kept: Vec<[&str; 2]> = fields.iter().map(|f| ["metadata", *f]).collect();
                let kept = kept.iter().map(|path| path.as_slice());
                return Reset::Except(Set::of(std::iter::once(["spec"].as_slice()).chain(kept)));
            }
        },
        (_, _, "") if resource.has_status() => &[&["status"]],
        _ => &[],
    };
    Reset::Except(Set::of(paths.iter().copied()))
}

/// A request's part in managed fields.
pub(super) struct Tracking<'a> {
    target: &'a Target,
    api_version: String,
    manager: &'a str,
    now: String,
    reset: Reset,
    views: Views<'a>,
}

impl<'a> Tracking<'a> {
    pub(super) fn of(
        registry: &'a Registry,
        target: &'a Target,
        options: &'a WriteOptions,
    ) -> Self {
        let resource = &target.resource;
        Self {
            target,
            api_version: resource.api_version(),
            manager: options.manager(),
            now: time::format(registry.now()),
            reset: reset(resource, &target.subresource),
            views: Views::of(registry, resource),
        }
    }

    fn request(&self) -> apply::Request<'_> {
        apply::Request {
            ty: self.target.resource.type_ref(),
            api_version: &self.api_version,
            kind: &self.target.resource.kind,
            manager: self.manager,
            subresource: &self.target.subresource,
            now: &self.now,
            reset: &self.reset,
            versions: &self.views,
        }
    }

    /// Brings the managed fields of a new object up to date.
    pub(super) fn create(&self, new: &mut Value) {
        apply::update(&self.request(), None, new);
    }

    /// Brings managed fields up to date with a change.
    pub(super) async fn update(&self, live: &Value, new: &mut Value) -> Result<(), Failure> {
        if !self.has_other_versions(live) && !self.has_other_versions(new) {
            apply::update(&self.request(), Some(live), new);
            return Ok(());
        }
        *new = self
            .converting(|| {
                let mut new = new.clone();
                apply::update(&self.request(), Some(live), &mut new);
                new
            })
            .await?;
        Ok(())
    }

    /// What becomes of an object by an apply, decoded.
    pub(super) async fn apply(
        &self,
        live: Option<&Value>,
        applied: &Value,
        force: bool,
    ) -> Result<Value, Failure> {
        let outcome =
            self.converting(|| apply::apply(&self.request(), live, applied, force)).await?;
        let object = outcome.map_err(|error| refused(&error))?;
        decoded(object, applied, self.target.resource.type_ref())
    }

    fn has_other_versions(&self, object: &Value) -> bool {
        entries(object).iter().any(|entry| {
            entry.get("apiVersion").and_then(Value::as_str).is_some_and(|v| v != self.api_version)
        })
    }

    /// Does something until all the conversions that it needs are there.
    async fn converting<T>(&self, work: impl Fn() -> T + Send) -> Result<T, Failure>
    where
        T: Send,
    {
        loop {
            let outcome = work();
            let Some(wanted) = self.views.wanted() else { return Ok(outcome) };
            self.views.convert_now(self.target, wanted).await;
        }
    }
}

/// An applied object as if it had been sent whole.
pub(super) fn decoded(object: Value, applied: &Value, ty: TypeRef<'_>) -> Result<Value, Failure> {
    let decoded = codec::decode_value(object, ty, codec::FieldValidation::Ignore);
    let decoded = decoded.map_err(|error| {
        let version = meta::api_version(applied);
        let slash = if version.contains('/') { "" } else { "/" };
        Status::failure(
            500,
            "",
            format!(
                "failed to convert new object ({}/{}; {slash}{version}, Kind={}) to proper \
                 version: {error}",
                meta::namespace(applied),
                meta::name(applied),
                meta::kind(applied),
            ),
        )
    })?;
    Ok(decoded.value)
}

/// Why an apply fails, as the client is told.
pub(super) fn refused(error: &apply::Error) -> Failure {
    match error {
        apply::Error::Conflicts(conflicts) => conflicts.to_status(),
        apply::Error::BadRequest(text) => Status::bad_request(text),
        apply::Error::Failed(text) => Status::failure(500, "", text),
    }
    .into()
}

fn entries(object: &Value) -> &[Value] {
    list(object).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn list(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// Whether an update leaves managed fields as they are but for their times.
pub(super) fn only_times_differ(new: &Value, old: &Value) -> bool {
    match (list(new), list(old)) {
        (Some(new), Some(old)) => new != old && apply::same_but_times(new, old),
        _ => false,
    }
}

/// Gives an object the managed fields of another.
pub(super) fn take_over(new: &mut Value, old: &Value) {
    apply::put(new, list(old).cloned());
}

impl Registry {
    /// Admission, which may change managed fields only into what can be read.
    pub(super) async fn admit_tracked(
        &self,
        attributes: &mut Attributes<'_>,
    ) -> Result<(), Failure> {
        self.admit(attributes).await?;
        let (Some(before), Some(object)) = (attributes.tracked.take(), &mut attributes.object)
        else {
            return Ok(());
        };
        let after = list(object);
        if after.unwrap_or(&Value::Null) == &before {
            return Ok(());
        }
        if let Some(Err(error)) = after.map(Managed::decode) {
            attributes.context.warnings.add(format!(
                ".metadata.managedFields was in an invalid state after admission; this could be \
                 caused by an outdated mutating admission controller; please fix your requests: \
                 {error}"
            ));
            apply::put(object, Some(before).filter(|list| !list.is_null()));
        }
        Ok(())
    }
}

// === Views ===

/// An object that is needed in another version.
#[derive(Clone, PartialEq)]
struct Wanted {
    object: Value,
    from: String,
    to: String,
}

/// The versions of a resource. Conversions may have to wait for a webhook while the rules of
/// apply do not wait: they are told that there is none yet, and asked again once there is.
struct Views<'a> {
    registry: &'a Registry,
    resource: &'a Arc<Resource>,
    others: OnceLock<Vec<Arc<Resource>>>,
    known: Mutex<Vec<(Wanted, Result<Value, ConvertError>)>>,
    wanted: Mutex<Option<Wanted>>,
}

impl<'a> Views<'a> {
    fn of(registry: &'a Registry, resource: &'a Arc<Resource>) -> Self {
        Self {
            registry,
            resource,
            others: OnceLock::new(),
            known: Mutex::default(),
            wanted: Mutex::default(),
        }
    }

    fn find(&self, api_version: &str) -> Option<&Arc<Resource>> {
        let others = self.others.get_or_init(|| {
            let all = self.registry.resources();
            let same = |other: &&Arc<Resource>| {
                other.storage.prefix == self.resource.storage.prefix
                    && other.kind == self.resource.kind
            };
            all.iter().filter(same).cloned().collect()
        });
        others.iter().find(|resource| resource.api_version() == api_version)
    }

    fn wanted(&self) -> Option<Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn convert_now(&self, target: &Target, wanted: Wanted) {
        let converted = match (self.find(&wanted.from), self.find(&wanted.to)) {
            (Some(from), Some(to)) => convert(from, to, &target.key(), wanted.object.clone()).await,
            _ => Err(Status::internal("a version is not served any more").into()),
        };
        let converted = converted.map_err(|status| ConvertError(status.message));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push((wanted, converted));
    }
}

impl Versions for Views<'_> {
    fn ty(&self, api_version: &str) -> Option<TypeRef<'_>> {
        self.find(api_version).map(|resource| resource.type_ref())
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Result<Value, ConvertError> {
        let wanted = Wanted { object: object.clone(), from: from.to_owned(), to: to.to_owned() };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, converted)) = known.iter().find(|(known, _)| *known == wanted) {
            return converted.clone();
        }
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        Err(ConvertError("the conversion is yet to be made".to_owned()))
    }
}

/// By way of the stored form, which every version has.
async fn convert(
    from: &Resource,
    to: &Resource,
    key: &str,
    mut object: Value,
) -> Result<Value, Failure> {
    codec::normalize(&mut object, from.type_ref()).map_err(Status::internal)?;
    let version = meta::resource_version(&object).to_owned();
    let bytes = from.encode(&mut object).await?;
    let mut converted = to.unstored(key, &bytes, 0).await?.value();
    meta::set_resource_version(&mut converted, version);
    Ok(converted)
}
