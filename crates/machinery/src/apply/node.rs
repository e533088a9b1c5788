//! What apply makes of a type: which values have one owner and which have owners inside.
//!
//! [`Place::node`] is the only place that decides this, for built-in and custom types alike.

use serde_json::Value;
use smallvec::SmallVec;

use super::element::Element;
use crate::schema::{self, Field, Kind, ListType, Raw, StructType, TypeRef};

/// A type where it stands: a list says how its items are told apart by the field it is in.
#[derive(Clone, Copy, Debug)]
pub struct Place<'s> {
    /// None: nothing is known, the value itself shows what it is.
    ty: Option<TypeRef<'s>>,
    field: Option<Field<'s>>,
}

/// How a value merges.
#[derive(Clone, Debug)]
pub(super) struct Node<'s> {
    pub(super) shape: Shape<'s>,
    /// It has one owner, whatever is inside.
    pub(super) atomic: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Shape<'s> {
    Scalar(Scalar),
    List {
        items: Place<'s>,
        identity: Identity<'s>,
    },
    Map(Place<'s>),
    Struct {
        ty: TypeRef<'s>,
        /// What members are that the type does not declare; none: they may not be.
        rest: Option<Place<'s>>,
    },
    Untyped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Numeric,
    String,
    Boolean,
    Any,
}

/// What tells the items of a list apart.
#[derive(Clone, Debug)]
pub(super) enum Identity<'s> {
    Index,
    Value,
    Keys(SmallVec<[(&'s str, Absent); 2]>),
}

/// What an item without a key field is told by.
#[derive(Clone, Debug)]
pub(super) enum Absent {
    /// Nothing: the field must be there.
    Refused,
    /// The remaining keys.
    Skipped,
    /// The field's default.
    Default(Value),
}

impl<'s> From<TypeRef<'s>> for Place<'s> {
    fn from(ty: TypeRef<'s>) -> Self {
        Self { ty: Some(ty), field: None }
    }
}

impl<'s> From<Field<'s>> for Place<'s> {
    fn from(field: Field<'s>) -> Self {
        Self { ty: Some(field.type_ref()), field: Some(field) }
    }
}

impl<'s> Place<'s> {
    /// The type, where one is known.
    pub(super) fn type_ref(self) -> Option<TypeRef<'s>> {
        self.ty
    }

    const UNTYPED: Self = Self { ty: None, field: None };

    /// How values here merge.
    pub(super) fn node(self) -> Node<'s> {
        let Some(ty) = self.ty else { return Node { shape: Shape::Untyped, atomic: false } };
        let scalar = |scalar| Node { shape: Shape::Scalar(scalar), atomic: true };
        let struct_type = self.field.and_then(Field::struct_type).or_else(|| ty.struct_type());
        let atomic = struct_type == Some(StructType::Atomic);
        match ty.kind() {
            Kind::Bool => scalar(Scalar::Boolean),
            Kind::Int32 | Kind::Int64 | Kind::Double => scalar(Scalar::Numeric),
            Kind::String | Kind::Bytes | Kind::Duration => scalar(Scalar::String),
            Kind::Quantity | Kind::Time | Kind::MicroTime | Kind::IntOrString => {
                scalar(Scalar::Any)
            }
            // Without a type in OpenAPI, so whole, unless anything may be there.
            Kind::Any
            | Kind::Raw(Raw::Json)
            | Kind::SchemaOrBool(_)
            | Kind::SchemaOrArray(_)
            | Kind::SchemaOrStrings(_) => {
                Node { shape: Shape::Untyped, atomic: !ty.preserves_unknown_fields() }
            }
            Kind::Raw(Raw::Extension | Raw::FieldsV1) => {
                Node { shape: Shape::Map(Self::UNTYPED), atomic }
            }
            Kind::Struct => {
                let rest = ty.preserves_unknown_fields().then_some(Self::UNTYPED);
                Node { shape: Shape::Struct { ty, rest }, atomic }
            }
            Kind::Map(item) => {
                // What a built-in type says is said of the values, not of their map.
                let own = ty.struct_type().filter(|_| ty.is_custom());
                let struct_type = self.field.and_then(Field::struct_type).or(own);
                let atomic = struct_type == Some(StructType::Atomic);
                Node { shape: Shape::Map(item.into()), atomic }
            }
            Kind::List(item) => {
                let by_field = self.field.and_then(|field| Some((field.list_type()?, field)));
                let list_type = by_field.map(|(list_type, _)| list_type).or_else(|| ty.list_type());
                let keys: SmallVec<[&str; 2]> = match by_field {
                    Some((_, field)) => field.list_keys().collect(),
                    None => ty.list_keys().collect(),
                };
                let identity = match list_type {
                    None | Some(ListType::Atomic) => Identity::Index,
                    Some(ListType::Set) => Identity::Value,
                    Some(ListType::Map) => Identity::Keys(
                        keys.into_iter()
                            .map(|key| match ty.key_default(key) {
                                Some(default) => (key, Absent::Default(default)),
                                None => (key, absent(item.field(key))),
                            })
                            .collect(),
                    ),
                };
                let atomic = matches!(identity, Identity::Index);
                Node { shape: Shape::List { items: item.into(), identity }, atomic }
            }
        }
    }
}

/// What an object within an object has without its type saying so.
fn embedded<'s>(ty: TypeRef<'_>, name: &str) -> Option<Place<'s>> {
    if !ty.is_embedded_resource() {
        return None;
    }
    let metadata =
        schema::builtin().named_type("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")?;
    match name {
        "metadata" => Some(metadata.into()),
        "apiVersion" | "kind" => metadata.field("name").map(Place::from),
        _ => None,
    }
}

fn absent(key: Option<Field<'_>>) -> Absent {
    match key {
        Some(field) => match field.default_value() {
            Some(default) => Absent::Default(default),
            None if field.is_pointer() => Absent::Skipped,
            None => Absent::Refused,
        },
        None => Absent::Refused,
    }
}

impl<'s> Node<'s> {
    /// What a member or entry is; none for members that may not be.
    pub(super) fn member(&self, name: &str) -> Option<Place<'s>> {
        match &self.shape {
            Shape::Struct { ty, rest } => {
                ty.field(name).map(Place::from).or_else(|| embedded(*ty, name)).or(*rest)
            }
            Shape::Map(entries) => Some(*entries),
            Shape::Untyped => Some(Place::UNTYPED),
            Shape::Scalar(_) | Shape::List { .. } => None,
        }
    }

    /// Whether the type names the member, so that its presence needs no owner.
    pub(super) fn declares(&self, name: &str) -> bool {
        matches!(&self.shape, Shape::Struct { ty, .. }
            if ty.field(name).is_some() || embedded(*ty, name).is_some())
    }

    /// What an item of a list is; of an untyped value, untyped.
    pub(super) fn items(&self) -> Place<'s> {
        match &self.shape {
            Shape::List { items, .. } => *items,
            _ => Place::UNTYPED,
        }
    }

    /// Whether a value here is owned as a whole.
    pub(super) fn is_leaf(&self, value: &Value) -> bool {
        match self.shape {
            Shape::Untyped => self.atomic || !value.is_object(),
            _ => self.atomic,
        }
    }

    /// The step to an item of a list that is no leaf.
    pub(super) fn step(&self, item: &Value) -> Result<Element, ItemError> {
        let Shape::List { identity, .. } = &self.shape else { return Err(ItemError::NoIdentity) };
        match identity {
            Identity::Index => Err(ItemError::NoIdentity),
            Identity::Value => match item {
                Value::Object(_) => Err(ItemError::MapInSet),
                Value::Array(_) => Err(ItemError::ListInSet),
                Value::Null => Err(ItemError::NullInSet),
                scalar => Ok(Element::Value(scalar.clone())),
            },
            Identity::Keys(keys) => {
                let item = match item {
                    Value::Object(item) => item,
                    Value::Null => return Err(ItemError::NullItem),
                    _ => return Err(ItemError::NoMap),
                };
                let mut fields = Vec::with_capacity(keys.len());
                for (name, absent) in keys {
                    let value = match (item.get(*name), absent) {
                        (Some(value), _) | (None, Absent::Default(value)) => value,
                        (None, Absent::Skipped) => continue,
                        (None, Absent::Refused) => {
                            return Err(ItemError::NoKey((*name).to_owned()));
                        }
                    };
                    fields.push(((*name).into(), value.clone()));
                }
                Ok(Element::key(fields))
            }
        }
    }
}

/// Why an item cannot be told from the others.
#[derive(Debug, thiserror::Error)]
pub(super) enum ItemError {
    #[error("the list is owned as a whole")]
    NoIdentity,
    #[error("associative list without keys has an element that's a map type")]
    MapInSet,
    #[error("not supported: associative list with lists as elements")]
    ListInSet,
    #[error("associative list without keys has an element that's an explicit null")]
    NullInSet,
    #[error("associative list with keys may not have a null element")]
    NullItem,
    #[error("associative list with keys may not have non-map elements")]
    NoMap,
    #[error(
        "associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
        .0
    )]
    NoKey(String),
}
