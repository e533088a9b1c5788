//! `patch`: a change computed from the current state, tried again when that state moves on.

use machinery::codec::{self, FieldValidation};
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::schema::TypeRef;
use machinery::status::{Details, Status, reason};
use machinery::{Value, patch};

use super::update::Source;
use super::{Context, Failure, Outcome, PatchType, Registry, Target, WriteOptions};

impl Registry {
    /// Changes an object, or the part of it that a subresource is, by a patch.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn patch(
        &self,
        context: &Context,
        target: &Target,
        kind: PatchType,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        if kind == PatchType::Apply {
            return self.apply(context, target, body, options).await;
        }
        let patch = Patch::parse(kind, body, options.field_validation, context)?;
        if target.subresource == "scale" {
            return self.patch_scale(context, target, &patch, options).await;
        }
        let resource = &target.resource;
        let change = |old: &Value| patch.apply(old, resource.type_ref());
        let source = Source::Change(&change);
        let object = self.change(context, target, source, options).await?;
        Ok(Outcome::object(200, object))
    }
}

fn refused(error: patch::Error) -> Failure {
    match error {
        patch::Error::Malformed(text) => Status::bad_request(text),
        patch::Error::TooManyOperations { .. } => Status::request_entity_too_large(error),
        // Upstream does not tell what is wrong either; kubectl's output depends on that.
        patch::Error::Unprocessable(_) | patch::Error::TestFailed(_) => {
            let message = "the server rejected our request due to an error in our request";
            Status::failure(422, reason::INVALID, message).with_details(Details::default())
        }
    }
    .into()
}

/// A parsed patch.
pub(super) struct Patch<'a> {
    kind: PatchType,
    body: Value,
    validation: FieldValidation,
    context: &'a Context,
}

impl<'a> Patch<'a> {
    fn parse(
        kind: PatchType,
        body: &[u8],
        validation: FieldValidation,
        context: &'a Context,
    ) -> Result<Self, Failure> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
        Ok(Self { kind, body, validation, context })
    }

    /// The patched object, decoded as if it had been sent whole.
    pub(super) fn apply(&self, old: &Value, ty: TypeRef<'_>) -> Result<Value, Failure> {
        let patched = self.patched(old, ty)?;
        let decoded = codec::decode_value(patched, ty, self.validation).map_err(|error| {
            // What upstream shows is what it decodes: the whole object, or the patch as a map.
            let shown = match self.kind {
                PatchType::Json | PatchType::Merge => {
                    self.patched(old, ty).unwrap_or_default().to_string()
                }
                PatchType::Strategic | PatchType::Apply => go_text(&self.body),
            };
            unfit(&shown, &error)
        })?;
        for warning in decoded.warnings {
            self.context.warnings.add(warning);
        }
        Ok(decoded.value)
    }

    fn patched(&self, old: &Value, ty: TypeRef<'_>) -> Result<Value, Failure> {
        let mut object = old.clone();
        match self.kind {
            PatchType::Json => patch::json::apply(&mut object, &self.body),
            PatchType::Merge => {
                patch::merge::apply(&mut object, &self.body);
                Ok(())
            }
            PatchType::Strategic | PatchType::Apply => {
                patch::strategic::apply(&mut object, &self.body, ty)
            }
        }
        .map_err(refused)?;
        Ok(object)
    }
}

/// The refusal of a patch whose result is no object of the type.
fn unfit(patch: &str, error: &codec::DecodeError) -> Failure {
    let mut errors = ErrorList::new();
    errors.push(Error::invalid(&Path::new("patch"), patch, error.to_string()));
    Status::invalid(&GroupKind::new("", ""), "", &errors).into()
}

/// A tree as Go prints maps and lists.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            let texts = members.iter().map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", texts.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}
