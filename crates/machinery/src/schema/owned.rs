//! A type together with the table it is in.

use std::fmt;
use std::sync::Arc;

use super::{Form, Schema, TypeRef};

/// A type that can be kept: a built-in one, or one of a table made at run time, which lives as
/// long as the last of its types.
#[derive(Clone)]
pub struct Type {
    table: Table,
    form: Form,
}

#[derive(Clone)]
enum Table {
    Builtin(&'static Schema),
    Made(Arc<Schema>),
}

impl Type {
    /// The view that codecs, patches and documents work on.
    pub fn type_ref(&self) -> TypeRef<'_> {
        let schema: &Schema = match &self.table {
            Table::Builtin(schema) => schema,
            Table::Made(schema) => schema,
        };
        TypeRef::new(schema, self.form)
    }

    pub(super) fn made(schema: Arc<Schema>, form: Form) -> Self {
        Self { table: Table::Made(schema), form }
    }
}

impl From<TypeRef<'static>> for Type {
    fn from(ty: TypeRef<'static>) -> Self {
        Self { table: Table::Builtin(ty.schema), form: ty.form }
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.type_ref().fmt(f)
    }
}
