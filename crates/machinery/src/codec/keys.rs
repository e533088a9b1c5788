//! Keys of objects.

use serde::de::{DeserializeSeed, Deserializer, Visitor};

use crate::schema::TypeRef;

pub(super) enum Name {
    Known(usize),
    Unknown(String),
}

/// Finds a member by name without copying it.
pub(super) struct Member<'s> {
    pub(super) ty: TypeRef<'s>,
    pub(super) guess: usize,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Name, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(match self.ty.position(name, self.guess) {
            Some(position) => Name::Known(position),
            None => Name::Unknown(name.to_owned()),
        })
    }

    // YAML keys may be of other types; as JSON keys they are text.
    fn visit_bool<E>(self, key: bool) -> Result<Name, E> {
        Ok(Name::Unknown(key.to_string()))
    }

    fn visit_i64<E>(self, key: i64) -> Result<Name, E> {
        Ok(Name::Unknown(key.to_string()))
    }

    fn visit_u64<E>(self, key: u64) -> Result<Name, E> {
        Ok(Name::Unknown(key.to_string()))
    }

    fn visit_f64<E>(self, key: f64) -> Result<Name, E> {
        Ok(Name::Unknown(key.to_string()))
    }
}

/// The key of a map, as text.
pub(super) struct Key(pub(super) String);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(Key(key.to_owned()))
            }
            fn visit_string<E>(self, key: String) -> Result<Key, E> {
                Ok(Key(key))
            }
            fn visit_bool<E>(self, key: bool) -> Result<Key, E> {
                Ok(Key(key.to_string()))
            }
            fn visit_i64<E>(self, key: i64) -> Result<Key, E> {
                Ok(Key(key.to_string()))
            }
            fn visit_u64<E>(self, key: u64) -> Result<Key, E> {
                Ok(Key(key.to_string()))
            }
            fn visit_f64<E>(self, key: f64) -> Result<Key, E> {
                Ok(Key(key.to_string()))
            }
        }
        source.deserialize_any(KeyVisitor)
    }
}
