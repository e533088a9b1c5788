//! `patch` by server-side apply: a manager says what it wants, and owns that.

use machinery::codec::{FieldValidation, yaml};
use machinery::status::{Status, reason};
use machinery::{Value, meta};
use serde_json::json;

use super::create::Owners;
use super::managed::Tracking;
use super::read::not_found;
use super::update::{Source, named};
use super::{Context, Failure, Outcome, Registry, Target, WriteOptions};

/// Attempts to find the object either there or not there.
const ATTEMPTS: usize = 5;

impl Registry {
    /// Whether there is such an object at present.
    pub fn is_stored(&self, target: &Target) -> bool {
        target.resource.cache().get(&target.key()).is_some()
    }

    /// Applies a configuration in YAML or JSON to an object, or makes the object from it.
    pub(super) async fn apply(
        &self,
        context: &Context,
        target: &Target,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        let (applied, duplicates) = parse(body)?;
        if let Some(duplicates) = duplicates {
            object_to(&duplicates, context, options.field_validation)?;
        }
        if target.subresource == "scale" {
            return self.apply_scale(context, target, &applied, options).await;
        }
        self.apply_object(context, target, &applied, options).await
    }

    async fn apply_object(
        &self,
        context: &Context,
        target: &Target,
        applied: &Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        for _ in 0..ATTEMPTS {
            if self.is_stored(target) {
                let source = Source::Apply(applied);
                match self.change(context, target, source, options).await {
                    // Gone since.
                    Err(status) if status.code == 404 && !self.is_stored(target) => {}
                    changed => return Ok(Outcome::object(200, changed?)),
                }
            }
            if !target.subresource.is_empty() || options.only_existing {
                return Err(not_found(target));
            }
            let tracking = Tracking::of(self, target, options);
            let mut object = tracking.apply(None, applied, options.force).await?;
            let uid = meta::uid(&object);
            if !uid.is_empty() {
                let detail = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing \
                     object was found"
                );
                let resource = target.resource.group_resource();
                return Err(Status::conflict(&resource, &target.name, detail).into());
            }
            object = named(target, object)?;
            meta::set_resource_version(&mut object, "");
            target.resource.default(&mut object);
            match self.create_tracked(context, target, object, options, Owners::Needed).await {
                // There since.
                Err(status) if status.reason == reason::ALREADY_EXISTS => {}
                created => return Ok(Outcome::object(201, created?)),
            }
        }
        Err(Status::modified(&target.resource.group_resource(), &target.name).into())
    }
}

/// The tree of a configuration, and what a strict reader objects to.
fn parse(body: &[u8]) -> Result<(Value, Option<String>), Failure> {
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::from(Status::bad_request(format!("error decoding YAML: {error}")))
    };
    let document = yaml::read(&String::from_utf8_lossy(body)).map_err(|error| refuse(&error))?;
    let duplicates = document.duplicate_keys().map(|error| error.to_string());
    let found = match document.value {
        value @ Value::Object(_) => return Ok((value, duplicates)),
        Value::Null => return Ok((json!({}), None)),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
    };
    Err(refuse(&format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go \
         value of type map[string]interface {{}}"
    )))
}

/// A field that is there twice: which of the two counts, the client cannot mean to leave open.
fn object_to(
    duplicates: &str,
    context: &Context,
    validation: FieldValidation,
) -> Result<(), Failure> {
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => context.warnings.add(duplicates),
        FieldValidation::Strict => {
            let text = format!("error strict decoding YAML: {duplicates}");
            return Err(Status::bad_request(text).into());
        }
    }
    Ok(())
}
