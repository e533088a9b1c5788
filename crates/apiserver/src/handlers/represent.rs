//! Objects in the form that the client takes: whole, as rows of a Table, or only their metadata.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use machinery::status::Status;
use machinery::time::Timestamp;
use machinery::{Value, meta};
use resources::columns::row_conditions;
use serde_json::{Map, json};

use crate::cache::{List, Object};
use crate::http::body::Body;
use crate::http::negotiate::{self, Accepted, Format, Offer, Transform};
use crate::http::respond::{self, Reply};
use crate::pipeline::{Call, Failure};
use crate::registry::{self, Resource};

/// Objects that are taken apart before others get their turn.
const TURN: usize = 64;

/// How much of an object comes along with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

/// The form of a response, worked out from the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) accepted: Accepted,
    pub(super) pretty: bool,
    include: Include,
}

impl Form {
    /// The form that a request asks for.
    pub(super) fn of(call: &Call<'_>, resource: &Resource) -> Result<Self, Failure> {
        let watch = call.info.verb == "watch";
        let protobuf = resource.has_protobuf() || !call.info.subresource.is_empty();
        let offer = Offer { transforms: true, protobuf, watch };
        let accepted = Accepted::choose(call.headers(), offer)?;
        let include = match call.query.non_empty("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) => {
                return Err(Box::new(Status::bad_request(format!(
                    "unrecognized includeObject value: {other:?}"
                ))));
            }
        };
        Ok(Self { accepted, pretty: call.pretty() || accepted.pretty, include })
    }

    /// Whether bytes that are kept can be sent as they are.
    pub(super) fn is_verbatim(self) -> bool {
        let pretty = self.pretty && self.accepted.format == Format::Json;
        self.accepted.transform == Transform::None
            && self.accepted.format != Format::Yaml
            && !pretty
    }

    fn encode(self, code: StatusCode, value: &Value) -> Reply {
        respond::encoded(code, value, self.accepted.format, self.pretty)
    }

    /// Whatever an operation gave.
    pub(super) async fn body(
        self,
        code: StatusCode,
        resource: &Resource,
        body: registry::Body,
    ) -> Reply {
        match body {
            registry::Body::Object(object) => self.object(code, resource, &object),
            registry::Body::Value(value) => self.value(code, resource, value),
            registry::Body::List(list) => Box::pin(self.list(resource, list)).await,
            registry::Body::Status(status) => self.encode(code, &status.to_value()),
        }
    }

    /// One object's metadata cannot be had of a list.
    pub(super) fn refuse_metadata_of_list(self, resource: &Resource) -> Option<Failure> {
        let Transform::Metadata { list: false, .. } = self.accepted.transform else { return None };
        let (version, kind) = (&resource.version, resource.list_kind());
        Some(not_acceptable(format!(
            "you requested PartialObjectMetadata, but the requested object is a list \
             (*{version}.{kind})"
        )))
    }

    /// Nor a list's of one object.
    pub(super) fn refuse_metadata_list(self, resource: &Resource) -> Option<Failure> {
        let Transform::Metadata { list: true, .. } = self.accepted.transform else { return None };
        let (version, kind) = (&resource.version, &resource.kind);
        Some(not_acceptable(format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list \
             (*{version}.{kind})"
        )))
    }

    /// A cached object.
    fn object(self, code: StatusCode, resource: &Resource, object: &Arc<Object>) -> Reply {
        if self.is_verbatim() {
            let message = match self.accepted.format {
                Format::Protobuf => object.protobuf(),
                Format::Cbor => return respond::cbor_bytes(code, object.cbor()),
                _ => None,
            };
            return match message {
                Some(message) => respond::protobuf_bytes(code, message),
                None => respond::json_bytes(code, object.json()),
            };
        }
        self.value(code, resource, object.value())
    }

    /// An object that is not in the cache, such as the result of a dry run.
    pub(super) fn value(self, code: StatusCode, resource: &Resource, value: Value) -> Reply {
        let value = match self.accepted.transform {
            Transform::None => value,
            Transform::Table { beta } => self.table_of_one(resource, value, beta, true),
            Transform::Metadata { beta, .. } => partial(value, beta),
        };
        self.encode(code, &value)
    }

    /// A list. Where each object has to be taken apart, others get their turn in between.
    pub(super) async fn list(self, resource: &Resource, list: List) -> Reply {
        if self.is_verbatim() {
            if self.accepted.format == Format::Protobuf
                && let Some(body) = list.protobuf(resource, &list_meta(&list)).await
            {
                let reply = respond::protobuf_bytes(StatusCode::OK, &b""[..]);
                let len = body.len();
                return in_pieces(reply, body, len);
            }
            if self.accepted.format == Format::Cbor {
                let body = list.cbor(resource, &list_meta(&list));
                let len = body.len();
                return in_pieces(respond::cbor_bytes(StatusCode::OK, &b""[..]), body, len);
            }
            let body = list.into_json(resource);
            let reply = respond::json_bytes(StatusCode::OK, &b""[..]);
            let len = body.len();
            return in_pieces(reply, body, len);
        }
        let (metadata, now) = (list_meta(&list), Timestamp::now());
        let mut items = Vec::with_capacity(list.items.len());
        for (number, object) in list.items.iter().enumerate() {
            if number % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            let item = object.value();
            items.push(match self.accepted.transform {
                Transform::Table { beta } => row(resource, item, now, beta, self.include),
                Transform::Metadata { beta, .. } => partial(item, beta),
                Transform::None => without_type(item),
            });
        }
        let value = match self.accepted.transform {
            Transform::Table { beta } => table(definitions(resource), items, metadata, beta),
            Transform::Metadata { beta, .. } => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": meta_version(beta),
                "metadata": metadata,
                "items": items,
            }),
            Transform::None => json!({
                "kind": format!("{}List", resource.kind),
                "apiVersion": resource.api_version(),
                "metadata": metadata,
                "items": items,
            }),
        };
        self.encode(StatusCode::OK, &value)
    }

    /// The object of a watch event; `first` says whether to name the columns.
    pub(super) fn event(self, resource: &Resource, object: Value, first: bool) -> Value {
        match self.accepted.transform {
            Transform::None => object,
            Transform::Table { beta } => self.table_of_one(resource, object, beta, first),
            Transform::Metadata { beta, .. } => partial(object, beta),
        }
    }

    fn table_of_one(self, resource: &Resource, object: Value, beta: bool, named: bool) -> Value {
        let metadata = meta_of_one(&object);
        let columns = if named { definitions(resource) } else { Vec::new() };
        let row = row(resource, object, Timestamp::now(), beta, self.include);
        table(columns, vec![row], metadata, beta)
    }

    /// The content type of a watch.
    pub(super) fn watch_type(self) -> &'static str {
        match self.accepted.format {
            Format::Json | Format::Yaml => "application/json",
            Format::Cbor => negotiate::CBOR_SEQUENCE,
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

fn not_acceptable(message: String) -> Failure {
    Box::new(Status::failure(406, machinery::status::reason::NOT_ACCEPTABLE, message))
}

/// A list as the cache writes it, chunk by chunk.
fn in_pieces<B>(mut reply: Reply, body: B, len: u64) -> Reply
where
    B: Iterator<Item = Bytes> + Send + 'static,
{
    *reply.body_mut() = Body::lazy(body, len);
    reply
}

fn list_meta(list: &List) -> Value {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), list.resource_version.to_string().into());
    if !list.continue_token.is_empty() {
        metadata.insert("continue".to_owned(), list.continue_token.as_str().into());
    }
    if let Some(remaining) = list.remaining {
        metadata.insert("remainingItemCount".to_owned(), remaining.into());
    }
    Value::Object(metadata)
}

fn meta_of_one(object: &Value) -> Value {
    match meta::resource_version(object) {
        "" => json!({}),
        version => json!({"resourceVersion": version}),
    }
}

fn meta_version(beta: bool) -> &'static str {
    if beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
}

fn partial(mut object: Value, beta: bool) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take);
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": meta_version(beta),
        "metadata": metadata.unwrap_or_else(|| json!({})),
    })
}

fn without_type(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("kind");
        fields.shift_remove("apiVersion");
    }
    object
}

/// The columns of a Table.
fn definitions(resource: &Resource) -> Vec<Value> {
    let definition = |column: &resources::columns::ColumnDefinition| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    };
    resource.columns.definitions.iter().map(definition).collect()
}

/// An object as a row of a Table.
fn row(resource: &Resource, object: Value, now: Timestamp, beta: bool, include: Include) -> Value {
    let mut row = Map::new();
    row.insert("cells".to_owned(), (resource.columns.cells)(&object, now).into());
    let conditions = row_conditions(&resource.group, &resource.kind, &object);
    if !conditions.is_empty() {
        row.insert("conditions".to_owned(), conditions.into());
    }
    match include {
        Include::None => {}
        Include::Metadata => {
            row.insert("object".to_owned(), partial(object, beta));
        }
        Include::Object => {
            row.insert("object".to_owned(), object);
        }
    }
    Value::Object(row)
}

fn table(columns: Vec<Value>, rows: Vec<Value>, metadata: Value, beta: bool) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": meta_version(beta),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}
