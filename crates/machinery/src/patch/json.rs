//! JSON patch: RFC 6902 as API servers have always read it, which is laxer in places. A `replace` of
//! a member that is not there adds it, a `test` for null passes where there is none, list indices
//! count from the end when negative, and an operation without a value has the value null.

mod pointer;

use serde_json::Value;

use super::Error;
use crate::codec::json_type;
use pointer::{Container, Misfit, Pointer};

/// More operations than this are refused.
pub const MAX_OPERATIONS: usize = 10_000;

/// What the copies of a patch may add up to, in bytes of JSON. A few copies of the whole into itself
/// would otherwise grow it without bounds.
pub const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies the operations in order; on an error the object is as before.
///
/// # Errors
/// When the patch is malformed, too long, or does not fit the object.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), Error> {
    let Some(operations) = patch.as_array() else {
        return Err(unreadable(patch, "jsonpatch.Patch"));
    };
    if let Some(operation) = operations.iter().find(|o| !(o.is_object() || o.is_null())) {
        return Err(unreadable(operation, "jsonpatch.Operation"));
    }
    let got = operations.len();
    if got > MAX_OPERATIONS {
        return Err(Error::TooManyOperations { max: MAX_OPERATIONS, got });
    }
    let mut patched = Patched { object: object.clone(), copied: 0 };
    for operation in operations {
        patched.apply(&Operation(operation))?;
    }
    *object = patched.object;
    Ok(())
}

fn unreadable(value: &Value, wanted: &str) -> Error {
    let got = json_type(value);
    Error::Malformed(format!("json: cannot unmarshal {got} into Go value of type {wanted}"))
}

/// One operation, of which anything may be absent.
struct Operation<'a>(&'a Value);

impl<'a> Operation<'a> {
    fn kind(&self) -> &'a str {
        self.0.get("op").and_then(Value::as_str).unwrap_or("unknown")
    }

    fn pointer(&self, field: &str) -> Result<Pointer<'a>, Error> {
        let text = self.0.get(field).and_then(Value::as_str);
        text.map(Pointer).ok_or_else(|| {
            let kind = self.kind();
            misfit(format!("{kind} operation failed to decode {field}"), &Misfit::Missing)
        })
    }

    fn value(&self) -> Value {
        self.0.get("value").cloned().unwrap_or_default()
    }
}

fn misfit(what: String, why: &Misfit) -> Error {
    Error::Unprocessable(format!("{what}: {why}"))
}

/// The object so far.
struct Patched {
    object: Value,
    /// What copies have added, in bytes of JSON.
    copied: usize,
}

impl Patched {
    fn apply(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        match operation.kind() {
            "add" => self.add(operation),
            "remove" => self.remove(operation),
            "replace" => self.replace(operation),
            "move" => self.relocate(operation),
            "test" => self.test(operation),
            "copy" => self.copy(operation),
            kind => Err(Error::Unprocessable(format!("Unexpected kind: {kind}"))),
        }
    }

    /// What holds the place that a pointer names; `what` words the error if there is no such thing.
    fn holder<'a>(
        &'a mut self,
        at: Pointer<'a>,
        what: impl FnOnce() -> String,
    ) -> Result<Container<'a>, Error> {
        at.holder(&mut self.object).ok_or_else(|| misfit(what(), &Misfit::Missing))
    }

    fn add(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let path = operation.pointer("path")?;
        self.holder(path, || {
            format!("add operation does not apply: doc is missing path: \"{path}\"")
        })?
        .add(operation.value())
        .map_err(|why| misfit(format!("error in add for path: '{path}'"), &why))
    }

    fn remove(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let path = operation.pointer("path")?;
        self.holder(path, || {
            format!("remove operation does not apply: doc is missing path: \"{path}\"")
        })?
        .remove()
        .map(drop)
        .map_err(|why| misfit(format!("error in remove for path: '{path}'"), &why))
    }

    fn replace(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let path = operation.pointer("path")?;
        let value = operation.value();
        if path.is_whole() {
            if !(value.is_object() || value.is_array()) {
                let text = "replace operation hit impossible case";
                return Err(Error::Unprocessable(text.to_owned()));
            }
            self.object = value;
            return Ok(());
        }
        self.holder(path, || {
            format!("replace operation does not apply: doc is missing path: {path}")
        })?
        .set(value)
        .map_err(|_| {
            let text = format!("replace operation does not apply: doc is missing key: {path}");
            misfit(text, &Misfit::Missing)
        })
    }

    fn relocate(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let from = operation.pointer("from")?;
        let value = self
            .holder(from, || {
                format!("move operation does not apply: doc is missing from path: {from}")
            })?
            .remove()
            .map_err(|why| misfit(format!("error in move for path: '{from}'"), &why))?;
        let path = operation.pointer("path")?;
        self.holder(path, || {
            format!("move operation does not apply: doc is missing destination path: {path}")
        })?
        .add(value)
        .map_err(|why| misfit(format!("error in move for path: '{path}'"), &why))
    }

    fn copy(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let from = operation.pointer("from")?;
        let value = self
            .holder(from, || {
                format!("copy operation does not apply: doc is missing from path: {from}")
            })?
            .get()
            .and_then(|value| value.cloned().ok_or(Misfit::Missing))
            .map_err(|why| misfit(format!("error in copy for from: '{from}'"), &why))?;
        let path = operation.pointer("path")?;
        self.copied += value.to_string().len();
        if self.copied > MAX_COPIED {
            return Err(Error::Unprocessable(format!(
                "Unable to complete the copy, the accumulated size increase of JSON patch copy is {}, exceeding the limit {MAX_COPIED}",
                self.copied
            )));
        }
        self.holder(path, || {
            format!("copy operation does not apply: doc is missing destination path: {path}")
        })?
        .add(value)
        .map_err(|why| misfit("error while adding value during copy".to_owned(), &why))
    }

    fn test(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let path = operation.pointer("path")?;
        let expected = operation.value();
        let passes = if path.is_whole() {
            self.object == expected
        } else {
            self.holder(path, || format!("test operation does not apply: is missing path: {path}"))?
                .get()
                .map_err(|why| misfit(format!("error in test for path: '{path}'"), &why))?
                .map_or(expected.is_null(), |value| *value == expected)
        };
        if passes {
            return Ok(());
        }
        Err(Error::TestFailed(format!("testing value {path} failed: test failed")))
    }
}

#[cfg(test)]
mod tests;
