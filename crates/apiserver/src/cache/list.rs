//! Lists: what is selected, and a response body made of shared bytes.

use std::sync::Arc;

use bytes::Bytes;
use machinery::selector::{FieldSelector, LabelSelector};

use super::object::Object;

/// Bytes handed out at once.
pub(super) const PIECE: usize = 64 << 10;

/// Which objects of a resource a list or watch is about.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// `namespace/`, or empty for all.
    prefix: String,
    labels: LabelSelector,
    /// With canonical field names.
    fields: FieldSelector,
}

impl Selection {
    /// Objects in a namespace (empty: in all, or in cluster scope) that selectors select. The
    /// field selector has canonical names.
    pub fn new(namespace: &str, labels: LabelSelector, fields: FieldSelector) -> Self {
        let mut prefix = String::new();
        let namespace = match namespace {
            "" => fields.exact("metadata.namespace").unwrap_or_default(),
            namespace => namespace,
        };
        if !namespace.is_empty() {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        Self { prefix, labels, fields }
    }

    /// What keys must begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The one namespace of all that is selected, if there is one.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.prefix.strip_suffix('/')
    }

    /// The one value that a field must have, if the selector says so.
    pub(super) fn exact(&self, field: &str) -> Option<&str> {
        self.fields.exact(field)
    }

    /// The key of the only object that can be selected, if the selectors name it. In all
    /// namespaces a name says nothing.
    pub(crate) fn single_key(&self, namespaced: bool) -> Option<String> {
        let name = self.fields.exact("metadata.name")?;
        let known = !namespaced || !self.prefix.is_empty();
        known.then(|| format!("{}{name}", self.prefix))
    }

    /// Whether labels and fields select everything.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Object) -> bool {
        object.key().starts_with(&self.prefix)
            && (self.fields.is_everything() || self.fields.matches(|name| object.field(name)))
            && (self.labels.is_everything() || self.labels.matches(object))
    }
}

/// The objects of a list, at one revision.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// In key order.
    pub items: Vec<Arc<Object>>,
    /// The revision whose state is shown.
    pub resource_version: u64,
    /// Where the next page starts; empty at the end.
    pub continue_token: String,
    /// How many objects follow on later pages, if known.
    pub remaining: Option<u64>,
}

impl List {
    /// The list as JSON. `with_type` keeps kind and apiVersion on each item, as custom resources
    /// have it.
    pub fn json_of(self, api_version: &str, list_kind: &str, with_type: bool) -> ListBody {
        let mut head = format!(
            r#"{{"kind":"{list_kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{}""#,
            self.resource_version
        );
        if !self.continue_token.is_empty() {
            head.push_str(r#","continue":""#);
            head.push_str(&self.continue_token);
            head.push('"');
        }
        if let Some(remaining) = self.remaining {
            head.push_str(&format!(r#","remainingItemCount":{remaining}"#));
        }
        head.push_str(r#"},"items":["#);
        const TAIL: &str = "]}\n";
        // Each item gets back its opening brace, and a comma between two.
        let items: usize = self.items.iter().map(|object| object.item(with_type).len() + 1).sum();
        let len = head.len() + items + self.items.len().saturating_sub(1) + TAIL.len();
        ListBody { head: Some(head), items: self.items, at: 0, with_type, left: len as u64 }
    }
}

/// A list's JSON in pieces, put together while it is sent.
#[derive(Debug)]
pub struct ListBody {
    head: Option<String>,
    items: Vec<Arc<Object>>,
    at: usize,
    with_type: bool,
    left: u64,
}

impl ListBody {
    /// Bytes that are still to come.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all was handed out.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl Iterator for ListBody {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut out = Vec::with_capacity(fits.min(PIECE + PIECE / 4));
        if let Some(head) = self.head.take() {
            out.extend_from_slice(head.as_bytes());
        }
        while out.len() < PIECE
            && let Some(object) = self.items.get(self.at)
        {
            if self.at > 0 {
                out.push(b',');
            }
            out.push(b'{');
            out.extend_from_slice(object.item(self.with_type));
            self.at += 1;
        }
        if self.at == self.items.len() {
            out.extend_from_slice(b"]}\n");
        }
        self.left = self.left.saturating_sub(out.len() as u64);
        Some(out.into())
    }
}
