//! JSON pointers, RFC 6901, and the place in an object that one names.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// Why something cannot be done at a place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misfit {
    #[error("missing value")]
    Missing,
    #[error("Unable to remove nonexistent key: {0}: missing value")]
    NoMember(String),
    #[error("Unable to access invalid index: {0}: invalid index referenced")]
    NoItem(i64),
    #[error(
        "value was not a proper array index: '{0}': strconv.Atoi: parsing \"{0}\": invalid syntax"
    )]
    NotAnIndex(String),
}

/// A pointer as written.
#[derive(Clone, Copy)]
pub(super) struct Pointer<'a>(pub &'a str);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'p> Pointer<'p> {
    /// Whether it names the whole object.
    pub(super) const fn is_whole(self) -> bool {
        self.0.is_empty()
    }

    /// What holds the place. None if there is no such thing, and for the whole, which nothing holds.
    pub(super) fn holder<'v>(self, object: &'v mut Value) -> Option<Container<'v>>
    where
        'p: 'v,
    {
        let mut steps = self.0.split('/').skip(1);
        let mut key = steps.next()?;
        let mut at = object;
        for next in steps {
            let key_of = unescaped(key);
            at = match at {
                Value::Object(members) => members.get_mut(key_of.as_ref())?,
                Value::Array(items) => {
                    let at = index(&key_of, items.len()).ok()?;
                    items.get_mut(at)?
                }
                _ => return None,
            };
            key = next;
        }
        match at {
            Value::Object(members) => Some(Container::Members(members, unescaped(key))),
            Value::Array(items) => Some(Container::Items(items, unescaped(key))),
            _ => None,
        }
    }
}

fn unescaped(step: &str) -> Cow<'_, str> {
    if step.contains('~') {
        return step.replace("~1", "/").replace("~0", "~").into();
    }
    step.into()
}

/// The index that a step means in a list of some length; negative ones count from the end.
fn index(step: &str, length: usize) -> Result<usize, Misfit> {
    let index: i64 = step.parse().map_err(|_| Misfit::NotAnIndex(step.to_owned()))?;
    let from_start = match index {
        0.. => usize::try_from(index).ok(),
        _ => usize::try_from(index.unsigned_abs()).ok().and_then(|back| length.checked_sub(back)),
    };
    from_start.filter(|at| *at < length).ok_or(Misfit::NoItem(index))
}

/// What holds a place, and what the place is called in it.
pub(super) enum Container<'v> {
    Members(&'v mut Map<String, Value>, Cow<'v, str>),
    Items(&'v mut Vec<Value>, Cow<'v, str>),
}

impl Container<'_> {
    /// The value at the place; an object may have none there.
    pub(super) fn get(&self) -> Result<Option<&Value>, Misfit> {
        match self {
            Self::Members(members, name) => Ok(members.get(name.as_ref())),
            Self::Items(items, step) => Ok(items.get(index(step, items.len())?)),
        }
    }

    /// Sets a member, or puts an item in before the one at the place.
    pub(super) fn add(self, value: Value) -> Result<(), Misfit> {
        match self {
            Self::Members(members, name) => {
                members.insert(name.into_owned(), value);
            }
            Self::Items(items, step) if step == "-" => items.push(value),
            Self::Items(items, step) => {
                let at = index(&step, items.len() + 1)?;
                items.insert(at, value);
            }
        }
        Ok(())
    }

    /// Sets a member or an item that exists.
    pub(super) fn set(self, value: Value) -> Result<(), Misfit> {
        match self {
            Self::Members(members, name) => {
                members.insert(name.into_owned(), value);
            }
            Self::Items(items, step) => {
                let at = index(&step, items.len())?;
                items[at] = value;
            }
        }
        Ok(())
    }

    pub(super) fn remove(self) -> Result<Value, Misfit> {
        match self {
            Self::Members(members, name) => members
                .shift_remove(name.as_ref())
                .ok_or_else(|| Misfit::NoMember(name.into_owned())),
            Self::Items(items, step) => {
                let at = index(&step, items.len())?;
                Ok(items.remove(at))
            }
        }
    }
}
