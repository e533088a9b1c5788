//! `patch` by server-side apply: a manager says what it wants, and owns that.

use machinery::codec::FieldValidation;
use machinery::status::{Status, reason};
use machinery::{Value, meta};
use serde::Deserialize as _;
use serde_json::json;

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
        let applied = parse(body)?;
        check_duplicates(context, body, options.field_validation)?;
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
            match self.create_tracked(context, target, object, options).await {
                // There since.
                Err(status) if status.reason == reason::ALREADY_EXISTS => {}
                created => return Ok(Outcome::object(201, created?)),
            }
        }
        Err(Status::modified(&target.resource.group_resource(), &target.name).into())
    }
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::from(Status::bad_request(format!("error decoding YAML: {error}")))
    };
    let Some(document) = serde_yaml::Deserializer::from_slice(body).next() else {
        return Ok(json!({}));
    };
    let value = Value::deserialize(document)
        .map_err(|error| refuse(&format!("error converting YAML to JSON: yaml: {error}")))?;
    let found = match value {
        Value::Object(_) => return Ok(value),
        Value::Null => return Ok(json!({})),
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
fn check_duplicates(
    context: &Context,
    body: &[u8],
    validation: FieldValidation,
) -> Result<(), Failure> {
    if validation == FieldValidation::Ignore {
        return Ok(());
    }
    // Unlike trees of JSON, trees of YAML refuse a key that is there twice.
    let Some(document) = serde_yaml::Deserializer::from_slice(body).next() else { return Ok(()) };
    let Err(error) = serde_yaml::Value::deserialize(document) else { return Ok(()) };
    let text = format!("error converting YAML to JSON: yaml: {error}");
    if validation == FieldValidation::Strict {
        return Err(Status::bad_request(format!("error strict decoding YAML: {text}")).into());
    }
    context.warnings.add(text);
    Ok(())
}
