//! Lists: what is selected, and a response body made of shared bytes.

use bytes::Bytes;
use machinery::selector::{FieldSelector, LabelSelector};

use super::items::{Items, Run};
use super::mark::Mark;
use super::object::Object;

const TAIL: &str = "]}\n";
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
    /// What objects must be like as they are shown, rather than as they are stored.
    shown: Option<Shown>,
    demanded: Mark,
}

#[derive(Debug, Clone)]
struct Shown {
    labels: LabelSelector,
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
        let demanded = Mark::demanded(&labels, &fields);
        Self { prefix, labels, fields, shown: None, demanded }
    }

    /// The same where objects may be shown with other fields than they are stored with, and with
    /// other labels if `labels` says so.
    #[must_use]
    pub(crate) fn of_what_is_shown(mut self, labels: bool) -> Self {
        let is_name = |field: &str| matches!(field, "metadata.name" | "metadata.namespace");
        let (names, fields) = std::mem::take(&mut self.fields).split(is_name);
        self.fields = names;
        let labels =
            if labels { std::mem::take(&mut self.labels) } else { LabelSelector::everything() };
        if !(labels.is_everything() && fields.is_everything()) {
            self.shown = Some(Shown { labels, fields });
        }
        self.demanded = Mark::demanded(&self.labels, &self.fields);
        self
    }

    /// Whether objects have to be shown before it is known whether they are selected.
    pub(crate) fn judges_what_is_shown(&self) -> bool {
        self.shown.is_some()
    }

    /// What keys must begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the mark of an object must have that is selected.
    pub(super) fn demanded(&self) -> Mark {
        self.demanded
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
        self.labels.is_everything() && self.fields.is_everything() && self.shown.is_none()
    }

    /// Whether an object is selected, as far as can be told from what is stored.
    pub fn matches(&self, object: &Object) -> bool {
        object.key().starts_with(&self.prefix) && satisfies(object, &self.labels, &self.fields)
    }

    /// Whether an object that [`Selection::matches`] is selected as it is shown.
    pub fn matches_shown(&self, object: &Object) -> bool {
        self.shown.as_ref().is_none_or(|shown| satisfies(object, &shown.labels, &shown.fields))
    }
}

fn satisfies(object: &Object, labels: &LabelSelector, fields: &FieldSelector) -> bool {
    (fields.is_everything() || fields.matches(|name| object.field(name)))
        && (labels.is_everything() || labels.matches(object))
}

/// The objects of a list, at one revision.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// In key order.
    pub items: Items,
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
        // Each item gets back its opening brace, and a comma between two.
        let of_run = |run: &Run| match run.is_whole() {
            true => run.chunk.json_len(with_type),
            false => {
                run.objects().iter().map(|object| object.item(with_type).len() as u64 + 2).sum()
            }
        };
        let items: u64 = self.items.as_runs().iter().map(of_run).sum();
        let left = (head.len() + TAIL.len()) as u64 + items.saturating_sub(1);
        let mut runs = self.items.runs();
        ListBody { head: Some(head), run: runs.next(), runs, first: true, with_type, left }
    }
}

/// A list's JSON in pieces, put together while it is sent.
#[derive(Debug)]
pub struct ListBody {
    head: Option<String>,
    /// What is left of the run that is being sent.
    run: Option<Run>,
    runs: std::vec::IntoIter<Run>,
    /// Whether no item has been sent yet.
    first: bool,
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

    fn piece(&mut self) -> Bytes {
        let mut out = self.head.take().map(String::into_bytes).unwrap_or_default();
        while out.len() < PIECE {
            let Some(run) = &mut self.run else {
                out.extend_from_slice(TAIL.as_bytes());
                break;
            };
            if run.is_whole() && run.chunk.is_shared() {
                if !out.is_empty() {
                    break;
                }
                let json = run.chunk.json(self.with_type);
                self.run = self.runs.next();
                let comma = usize::from(std::mem::take(&mut self.first));
                return json.slice(comma..);
            }
            let Some(at) = run.range.next() else {
                self.run = self.runs.next();
                continue;
            };
            if out.capacity() < PIECE {
                let fits = usize::try_from(self.left).unwrap_or(usize::MAX);
                out.reserve(fits.min(PIECE + PIECE / 4));
            }
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            out.push(b'{');
            out.extend_from_slice(run.chunk[at].item(self.with_type));
        }
        out.into()
    }
}

impl Iterator for ListBody {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let piece = self.piece();
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece)
    }
}
