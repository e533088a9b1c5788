//! Ownership, told by scenarios: writes in a row, and what the object and its owners are then.

use serde_json::{Value, json};

use super::*;
use crate::schema::{self, TypeRef};
use crate::{codec, meta};

mod algebra;
mod custom;
mod scenarios;

/// Only the version that the object is in.
struct OneVersion;

impl Versions for OneVersion {
    fn ty(&self, _api_version: &str) -> Option<TypeRef<'_>> {
        None
    }

    fn convert(&self, _object: &Value, _from: &str, _to: &str) -> Result<Value, ConvertError> {
        Err(ConvertError("no other version".to_owned()))
    }
}

fn ty(api_version: &str, kind: &str) -> TypeRef<'static> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    schema::builtin().kind(group, version, kind).unwrap()
}

/// An object and the writes to it.
struct Story {
    api_version: &'static str,
    kind: &'static str,
    reset: Reset,
    live: Option<Value>,
    seconds: u32,
}

impl Story {
    fn of(api_version: &'static str, kind: &'static str) -> Self {
        Self { api_version, kind, reset: Reset::default(), live: None, seconds: 0 }
    }

    fn request<'a>(&'a self, manager: &'a str, subresource: &'a str, now: &'a str) -> Request<'a> {
        Request {
            ty: ty(self.api_version, self.kind),
            api_version: self.api_version,
            kind: self.kind,
            manager,
            subresource,
            now,
            reset: &self.reset,
            versions: &OneVersion,
        }
    }

    fn typed(&self, body: Value) -> Value {
        let mut object = json!({"apiVersion": self.api_version, "kind": self.kind});
        object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        object
    }

    fn keep(&mut self, mut object: Value) {
        codec::normalize(&mut object, ty(self.api_version, self.kind)).unwrap();
        meta::set_uid(&mut object, "u");
        // As writes that change nothing but times are not made.
        if let Some(live) = &mut self.live {
            let (new, old) = (take(&mut object), take(live));
            let unchanged = *live == object && same_but_times(&new, &old);
            let list = if unchanged { old } else { new };
            put(&mut object, Some(list).filter(|list| !list.is_null()));
        }
        self.live = Some(object);
    }

    fn now(&mut self) -> String {
        self.seconds += 1;
        format!("2026-01-01T00:00:{:02}Z", self.seconds)
    }

    fn apply_with(&mut self, manager: &str, body: Value, force: bool) -> Result<(), Error> {
        let applied = self.typed(body);
        let now = self.now();
        let request = self.request(manager, "", &now);
        let object = apply(&request, self.live.as_ref(), &applied, force)?;
        self.keep(object);
        Ok(())
    }

    fn apply(&mut self, manager: &str, body: Value) -> &mut Self {
        self.apply_with(manager, body, false).unwrap();
        self
    }

    fn force(&mut self, manager: &str, body: Value) -> &mut Self {
        self.apply_with(manager, body, true).unwrap();
        self
    }

    #[track_caller]
    fn refused(&mut self, manager: &str, body: Value, text: &str) -> &mut Self {
        assert_eq!(self.apply_with(manager, body, false).unwrap_err().to_string(), text);
        self
    }

    /// A write of the whole object, without managed fields as simple clients send it.
    fn update(&mut self, manager: &str, body: Value) -> &mut Self {
        self.update_at(manager, "", body)
    }

    fn update_at(&mut self, manager: &str, subresource: &str, body: Value) -> &mut Self {
        let mut object = self.typed(body);
        codec::normalize(&mut object, ty(self.api_version, self.kind)).unwrap();
        let now = self.now();
        update(&self.request(manager, subresource, &now), self.live.as_ref(), &mut object);
        self.keep(object);
        self
    }

    /// What the object is, metadata of the server aside.
    #[track_caller]
    fn is(&mut self, body: Value) -> &mut Self {
        let mut live = self.live.clone().unwrap();
        take(&mut live);
        meta::set_uid(&mut live, "");
        let mut expected = self.typed(body);
        codec::normalize(&mut expected, ty(self.api_version, self.kind)).unwrap();
        assert_eq!(live, expected);
        self
    }

    /// Who owns what: `manager operation second: paths`.
    #[track_caller]
    fn owned(&mut self, lines: &[&str]) -> &mut Self {
        let managed = self.live.as_ref().unwrap()["metadata"]["managedFields"].clone();
        let list = managed.as_array().cloned().unwrap_or_default();
        let line = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            let paths = decode_fields(&entry["fieldsV1"]).unwrap().paths();
            let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
            let time = text("time");
            let second = if time.is_empty() { "-" } else { time[17..19].trim_start_matches('0') };
            let subresource = match text("subresource") {
                "" => String::new(),
                name => format!("/{name}"),
            };
            let operation = text("operation");
            let manager = text("manager");
            format!("{manager}{subresource} {operation} {second}: {}", paths.join(" "))
        };
        assert_eq!(list.iter().map(line).collect::<Vec<_>>(), lines);
        self
    }
}
