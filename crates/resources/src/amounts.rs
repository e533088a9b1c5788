//! Amounts of resources are kept in thousandths at the finest: finer ones are rounded up.

use std::sync::LazyLock;

use machinery::Value;
use machinery::quantity::Quantity;
use machinery::schema::{Field, Kind, TypeRef};
use serde_json::Map;

use crate::reach::Reach;

static REACH: LazyLock<Reach> = LazyLock::new(|| Reach::new(|_, field| is_list(field)));

fn is_list(field: Field<'_>) -> bool {
    field.collection_name() == Some("io.k8s.api.core.v1.ResourceList")
}

/// Rounds up the amounts in all lists of resources in an object.
pub(crate) fn round_up(object: &mut Value, ty: TypeRef<'_>) {
    match (ty.kind(), object) {
        (Kind::Struct, Value::Object(members)) if REACH.includes(ty) => {
            for field in ty.fields() {
                let Some(member) = members.get_mut(field.name()) else { continue };
                if is_list(field) {
                    member.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(round);
                } else {
                    round_up(member, field.type_ref());
                }
            }
        }
        (Kind::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|value| round_up(value, item));
        }
        (Kind::Map(item), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| round_up(value, item));
        }
        _ => {}
    }
}

fn round(amount: &mut Value) {
    if let Some(quantity) = Quantity::from_value(amount)
        && !quantity.is_milli_precise()
    {
        *amount = Value::from(Quantity::from_millis(quantity.milli_value()).to_string());
    }
}
