//! JSON text, written as it is thought of.

use crate::codec::write_untyped;
use serde_json::Value;

/// A document in the making. Commas take care of themselves.
pub(super) struct Json(Vec<u8>);

impl Json {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(64 * 1024))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn comma(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
    }

    pub(super) fn object(&mut self, content: impl FnOnce(&mut Self)) {
        self.0.push(b'{');
        content(self);
        self.0.push(b'}');
    }

    pub(super) fn list(&mut self, content: impl FnOnce(&mut Self)) {
        self.0.push(b'[');
        content(self);
        self.0.push(b']');
    }

    /// A member of an object; `value` must write exactly one value.
    pub(super) fn member(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.comma();
        self.string(name);
        self.0.push(b':');
        value(self);
    }

    /// An element of a list; `value` must write exactly one value.
    pub(super) fn item(&mut self, value: impl FnOnce(&mut Self)) {
        self.comma();
        value(self);
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.member(name, |out| out.string(value));
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.value(name, &Value::Bool(value));
    }

    pub(super) fn value(&mut self, name: &str, value: &Value) {
        self.member(name, |out| write_untyped(&mut out.0, value));
    }

    /// A whole value, in the place of a member or item.
    pub(super) fn whole(&mut self, value: &Value) {
        write_untyped(&mut self.0, value);
    }

    pub(super) fn texts<'t>(&mut self, name: &str, values: impl IntoIterator<Item = &'t str>) {
        self.member(name, |out| {
            out.list(|out| {
                for value in values {
                    out.item(|out| out.string(value));
                }
            });
        });
    }

    pub(super) fn empty_list(&mut self, name: &str) {
        self.texts(name, []);
    }

    fn string(&mut self, text: &str) {
        crate::codec::write_string(&mut self.0, text);
    }
}
