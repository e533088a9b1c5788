//! The form of `v1beta1`, which is judged, and completed, in the form of `v1`. So do errors name
//! the fields of `v1`, as upstream's do.

use std::sync::Arc;

use machinery::Value;
use machinery::field::ErrorList;

use crate::convert::{devices_from_v1, devices_to_v1};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy};

/// The rules of a kind by those of its newer form.
pub(in crate::kinds) struct Older(pub(in crate::kinds) Arc<dyn Strategy>);

fn newer(object: &Value) -> Value {
    let mut object = object.clone();
    devices_to_v1(&mut object);
    object
}

/// Changes an object in its newer form.
fn within(object: &mut Value, change: impl FnOnce(&mut Value)) {
    devices_to_v1(object);
    change(object);
    devices_from_v1(object);
}

impl Strategy for Older {
    fn default(&self, object: &mut Value) {
        within(object, |object| self.0.default(object));
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        self.0.check_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        self.0.generation()
    }

    fn status_metadata(&self) -> StatusMetadata {
        self.0.status_metadata()
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, object: &mut Value) {
        within(object, |object| self.0.prepare_for_create(ctx, object));
    }

    fn validate(&self, ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        self.0.validate(ctx, &newer(object))
    }

    fn prepare_for_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        within(new, |new| self.0.prepare_for_update(ctx, new, &newer(old)));
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.0.validate_update(ctx, &newer(new), &newer(old))
    }

    fn prepare_for_status_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        within(new, |new| self.0.prepare_for_status_update(ctx, new, &newer(old)));
    }

    fn validate_status_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.0.validate_status_update(ctx, &newer(new), &newer(old))
    }

    fn warnings(&self, ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        self.0.warnings(ctx, &newer(new), old.map(newer).as_ref())
    }
}
