//! Which types have some field of interest in them, so that walks over objects can leave out the
//! rest.

use std::collections::HashMap;

use machinery::schema::{self, Field, TypeRef};

/// The built-in types that have a field of interest, in themselves or further below.
pub(crate) struct Reach(HashMap<&'static str, bool>);

impl Reach {
    /// Explores all types; `wanted` says of a type's field whether it is of interest.
    pub(crate) fn new(wanted: impl Fn(TypeRef<'static>, Field<'static>) -> bool) -> Self {
        let mut known = HashMap::new();
        for ty in schema::builtin().types() {
            explore(ty, &wanted, &mut known);
        }
        Self(known)
    }

    /// Whether a field of interest can be in an object of this type.
    pub(crate) fn includes(&self, ty: TypeRef<'_>) -> bool {
        ty.name().and_then(|name| self.0.get(name)).is_some_and(|found| *found)
    }
}

fn explore(
    ty: TypeRef<'static>,
    wanted: &impl Fn(TypeRef<'static>, Field<'static>) -> bool,
    known: &mut HashMap<&'static str, bool>,
) -> bool {
    if let Some(inner) = ty.element() {
        return explore(inner, wanted, known);
    }
    let Some(name) = ty.name() else { return false };
    if let Some(found) = known.get(name) {
        return *found;
    }
    // Types that hold themselves are settled by their other members.
    known.insert(name, false);
    let mut found = false;
    for field in ty.fields() {
        found |= wanted(ty, field) | explore(field.type_ref(), wanted, known);
    }
    known.insert(name, found);
    found
}
