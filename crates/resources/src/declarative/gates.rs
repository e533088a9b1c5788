//! Fields of features that are off: dropped from what clients write, unless the
//! object that is there uses the feature already.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::schema::{self, Field, Kind, TypeRef};
use machinery::{Value, features};

use super::REACH;

/// A marker's name of a feature that has another one.
const OTHER_NAMES: [(&str, &str); 1] = [("PodCertificateProjection", "PodCertificateRequest")];

/// A feature whose field takes along what it is in, which a strategy sees to.
const BY_STRATEGY: &str = "CrossNamespaceVolumeDataSource";

/// Whether a feature is off. Those that nobody can name any more are on.
pub(super) fn is_off(gate: &str) -> bool {
    features::enabled(real_name(gate)) == Some(false)
}

fn real_name(gate: &str) -> &str {
    OTHER_NAMES.iter().find(|(marked, _)| *marked == gate).map_or(gate, |(_, name)| name)
}

/// Whether a field or a rule goes by a feature.
pub fn follows(gate: &str) -> bool {
    static FOLLOWED: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
        let fields = schema::builtin().types().flat_map(TypeRef::fields);
        let marked = fields.flat_map(Field::markers).filter_map(|marker| {
            marker
                .strip_prefix("featureGate=")
                .or_else(|| condition(marker).map(|(_, gate, _)| gate))
        });
        let unmarked = UNMARKED.iter().map(|(_, _, gate)| *gate);
        marked.chain(unmarked).map(real_name).collect()
    });
    FOLLOWED.contains(gate)
}

/// A rule that holds if a feature is on or off: which of the two, the feature, and the rule.
pub(super) fn condition(marker: &str) -> Option<(bool, &str, &str)> {
    let text = marker.strip_prefix("k8s:")?;
    let (on, rest) = match text.strip_prefix("ifEnabled(") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("ifDisabled(")?),
    };
    let (gate, rule) = rest.split_once(")=+")?;
    Some((on, gate.trim_matches('"'), rule))
}

/// Fields that no marker says the feature of: type, field, feature.
const UNMARKED: [(&str, &str, &str); 1] =
    [("io.k8s.api.core.v1.Lifecycle", "stopSignal", "ContainerStopSignals")];

/// The feature that a field of a type belongs to, if that is off.
fn off<'s>(ty: TypeRef<'s>, field: Field<'s>) -> Option<&'s str> {
    let marked = field.markers().find_map(|marker| marker.strip_prefix("featureGate="));
    let unmarked = || {
        let (_, _, gate) = UNMARKED
            .iter()
            .find(|(owner, name, _)| *name == field.name() && ty.name() == Some(*owner))?;
        Some(*gate)
    };
    marked.or_else(unmarked).filter(|gate| *gate != BY_STRATEGY && is_off(gate))
}

pub(super) fn is_disabled(ty: TypeRef<'_>, field: Field<'_>) -> bool {
    off(ty, field).is_some()
}

/// Drops the fields of features that are off and that `old` does not use.
pub(crate) fn drop_disabled(new: &mut Value, old: Option<&Value>, ty: TypeRef<'_>) {
    // Kinds that a feature brings along are not served at all while it is off.
    if !REACH.includes(ty) || !new.is_object() {
        return;
    }
    let mut used = BTreeSet::new();
    if let Some(old) = old {
        uses(old, ty, &mut used);
    }
    prune(new, ty, &used);
}

fn uses<'s>(value: &Value, ty: TypeRef<'s>, used: &mut BTreeSet<&'s str>) {
    match (ty.kind(), value) {
        (Kind::Struct, Value::Object(members)) if REACH.includes(ty) => {
            for field in ty.fields() {
                let Some(member) = members.get(field.name()).filter(|v| !v.is_null()) else {
                    continue;
                };
                used.extend(off(ty, field));
                uses(member, field.type_ref(), used);
            }
        }
        (Kind::List(item), Value::Array(items)) => {
            items.iter().for_each(|value| uses(value, item, used));
        }
        (Kind::Map(item), Value::Object(entries)) => {
            entries.values().for_each(|value| uses(value, item, used));
        }
        _ => {}
    }
}

fn prune(value: &mut Value, ty: TypeRef<'_>, used: &BTreeSet<&str>) {
    match (ty.kind(), value) {
        (Kind::Struct, Value::Object(members)) if REACH.includes(ty) => {
            for field in ty.fields() {
                if off(ty, field).is_some_and(|gate| !used.contains(gate)) {
                    members.shift_remove(field.name());
                } else if let Some(member) = members.get_mut(field.name()) {
                    let was_empty = is_empty(member);
                    prune(member, field.type_ref(), used);
                    // A part that said nothing else is gone with what it said.
                    if field.is_pointer() && !was_empty && is_empty(member) {
                        members.shift_remove(field.name());
                    }
                }
            }
        }
        (Kind::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|value| prune(value, item, used));
        }
        (Kind::Map(item), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| prune(value, item, used));
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}
