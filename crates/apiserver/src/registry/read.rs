//! `get`, `list` and `watch`: answered by the watch cache, at the revision asked for.

use std::sync::Arc;
use std::time::Duration;

use machinery::selector::{FieldSelector, LabelSelector};
use machinery::status::{self, Status};
use machinery::{Value, meta};
use store::RangeRequest;

use super::token::Token;
use super::write::store_failure;
use super::{Body, Failure, ListOptions, Registry, Resource, Target};
use crate::cache::{Exact, List, Object, Selection, Snapshot, Watcher};

/// Objects that are shown at once to see which of them are selected.
const SHOWN_AT_ONCE: usize = 500;
/// How long a read waits for a revision that is not there yet.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

impl Registry {
    /// One object, or what a subresource shows of it.
    ///
    /// # Errors
    /// As [`Registry::get`].
    pub async fn show(&self, target: &Target, resource_version: &str) -> Result<Body, Failure> {
        let object = self.get(target, resource_version).await?;
        Ok(match target.subresource.as_str() {
            "scale" => Body::Value(super::subresource::shown_scale(&target.resource, &object)?),
            _ => Body::Object(object),
        })
    }

    /// One object. A `resource_version` other than empty is the oldest that will do.
    ///
    /// # Errors
    /// Not found, or the version is not there in time.
    pub async fn get(
        &self,
        target: &Target,
        resource_version: &str,
    ) -> Result<Arc<Object>, Failure> {
        if resource_version.is_empty() {
            self.catch_up().await?;
        } else {
            let options = ListOptions {
                resource_version: resource_version.to_owned(),
                ..ListOptions::default()
            };
            options.check(false)?;
            self.wait_for(options.revision()).await?;
        }
        self.current(target).await
    }

    /// One object as the cache has it.
    pub(super) async fn current(&self, target: &Target) -> Result<Arc<Object>, Failure> {
        let resource = &target.resource;
        match resource.cache().get(&target.key()) {
            Some(object) => resource.present(object).await,
            None => Err(not_found(target)),
        }
    }

    /// The objects of a collection.
    ///
    /// # Errors
    /// When options contradict each other, or the revision asked for is gone or not there.
    pub async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, Failure> {
        options.check(false)?;
        let resource = &target.resource;
        let selection = selection(target, options)?;
        if !options.continue_token.is_empty() {
            return self.next_page(resource, &selection, options).await;
        }
        let wanted = options.revision();
        // A page of an older list without a token is taken for a list at exactly that revision.
        let exact = options.resource_version_match == "Exact"
            || (options.resource_version_match.is_empty() && options.limit > 0 && wanted > 0);
        if exact {
            self.wait_for(wanted).await?;
            let snapshot = self.exact(resource, &selection, wanted, wanted).await?;
            return page(resource, &snapshot, wanted, &selection, "", options.limit).await;
        }
        if options.resource_version.is_empty() {
            self.catch_up().await?;
        } else {
            self.wait_for(wanted).await?;
        }
        list_now(resource, &selection, options).await
    }

    /// The changes of a collection. A watch that is to begin with the state at a revision which
    /// does not come says so in its first event.
    ///
    /// # Errors
    /// When options contradict each other.
    pub async fn watch(&self, target: &Target, options: &ListOptions) -> Result<Watcher, Failure> {
        options.check(true)?;
        let resource = &target.resource;
        let selection = Arc::new(selection(target, options)?);
        let start = match (options.send_initial_events, options.revision()) {
            (Some(true), _) => crate::cache::Start::State { announce_end: true },
            (Some(false), 0) => crate::cache::Start::Now,
            (None, 0) => crate::cache::Start::State { announce_end: false },
            (_, revision) => crate::cache::Start::After(revision),
        };
        let manner = crate::cache::Manner {
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            bookmarks: options.allow_watch_bookmarks,
            presentation: resource.presentation().cloned(),
        };
        if let crate::cache::Start::State { .. } = start {
            let fresh = match options.resource_version.as_str() {
                "" => self.catch_up().await,
                _ => self.wait_for(options.revision()).await,
            };
            if let Err(status) = fresh {
                return Ok(resource.cache().failed_watch(&status, manner));
            }
        }
        Ok(resource.cache().watch(start, selection, manner))
    }

    /// Waits until the caches show what the store has now, so that the read that follows sees all
    /// that was written before it.
    pub(crate) async fn catch_up(&self) -> Result<(), Failure> {
        let now = self.0.store.revision().await.map_err(|error| store_failure(&error))?;
        self.wait_for(now).await
    }

    /// Waits until the caches show what other servers have acknowledged, if there can be any.
    ///
    /// # Errors
    /// When the store does not answer, or the caches do not get there in time.
    pub async fn catch_up_with_others(&self) -> Result<(), Failure> {
        if self.0.store.is_shared() { self.catch_up().await } else { Ok(()) }
    }

    /// Waits for a revision, which the client may have seen elsewhere.
    async fn wait_for(&self, revision: u64) -> Result<(), Failure> {
        let dispatcher = &self.0.dispatcher;
        if revision <= dispatcher.applied() {
            return Ok(());
        }
        match tokio::time::timeout(PATIENCE, dispatcher.reach(revision)).await {
            Ok(()) if dispatcher.applied() >= revision => Ok(()),
            Ok(()) => Err(Status::service_unavailable("the server is shutting down").into()),
            Err(_) => {
                let applied = dispatcher.applied();
                Err(Status::too_large_resource_version(revision, applied, 1).into())
            }
        }
    }

    /// The state at a revision that the cache has reached: by undoing changes, or else from the
    /// store. `oldest` is what the refusal calls the revision.
    async fn exact(
        &self,
        resource: &Resource,
        selection: &Selection,
        revision: u64,
        oldest: u64,
    ) -> Result<Snapshot, Failure> {
        let cache = resource.cache();
        if revision < self.0.dispatcher.applied() {
            // A revision ends with its compaction, even where the cache could still tell of it:
            // clients can count on that, and all servers say the same.
            let compacted = self.0.store.compacted().await.map_err(|e| store_failure(&e))?;
            if revision < compacted {
                return Err(Status::too_old_resource_version(oldest, compacted).into());
            }
        }
        if let Exact::Known(snapshot) = cache.at(revision) {
            return Ok(snapshot);
        }
        let prefix = format!("{}{}", cache.prefix(), selection.prefix());
        let range = self.0.store.range(RangeRequest::prefix(prefix).at(revision)).await;
        match range {
            Ok(range) => Ok(range.kvs.iter().filter_map(|kv| cache.object(kv)).collect()),
            Err(store::Error::Compacted { compacted, .. }) => {
                Err(Status::too_old_resource_version(oldest, compacted).into())
            }
            Err(error) => Err(store_failure(&error)),
        }
    }

    async fn next_page(
        &self,
        resource: &Resource,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<List, Failure> {
        if !options.resource_version.is_empty() && options.resource_version != "0" {
            let text = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(text).into());
        }
        let token = Token::decode(&options.continue_token)?;
        let start = format!("{}{}", selection.prefix(), token.start);
        match u64::try_from(token.rv) {
            // The client gave up on consistency after its token had expired.
            Err(_) => {
                self.catch_up().await?;
                let (snapshot, revision) = resource.cache().snapshot();
                page(resource, &snapshot, revision, selection, &start, options.limit).await
            }
            Ok(revision) => {
                self.wait_for(revision).await?;
                let snapshot = self.exact(resource, selection, revision, revision).await;
                let snapshot = snapshot.map_err(|failure| {
                    if failure.code == 410 { expired(&token) } else { failure }
                })?;
                page(resource, &snapshot, revision, selection, &start, options.limit).await
            }
        }
    }
}

impl ListOptions {
    /// The revision, 0 when none is given. The text has been checked.
    fn revision(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }
}

pub(super) fn not_found(target: &Target) -> Failure {
    Status::not_found(&target.resource.group_resource(), &target.name).into()
}

/// The refusal of a token whose revision is compacted, with one that goes on regardless.
fn expired(token: &Token) -> Failure {
    let mut status = Status::expired(status::CONTINUE_EXPIRED);
    let key = token.start.trim_end_matches('\0');
    let again = Token::after(key, None).encode();
    status.metadata.insert("continue".to_owned(), again.into());
    status.into()
}

/// What the options select, with the fields' canonical names.
fn selection(target: &Target, options: &ListOptions) -> Result<Selection, Failure> {
    let fields = canonical(&target.resource, &options.field_selector)?;
    let labels: LabelSelector = options.label_selector.clone();
    Ok(target.resource.judged(Selection::new(&target.namespace, labels, fields)))
}

fn canonical(resource: &Resource, selector: &FieldSelector) -> Result<FieldSelector, Failure> {
    if selector.is_everything() {
        return Ok(FieldSelector::everything());
    }
    let selectable = &resource.selectable_fields;
    let refuse = |error: &dyn std::fmt::Display| -> Failure {
        Status::bad_request(error.to_string()).into()
    };
    selectable.check(selector).map_err(|error| refuse(&error))?;
    let renamed = selector
        .requirements()
        .iter()
        .any(|r| selectable.find(&r.field).is_some_and(|field| field.canonical != r.field));
    if !renamed {
        return Ok(selector.clone());
    }
    let terms = selector.requirements().iter().map(|r| {
        let name = selectable.find(&r.field).map_or(r.field.as_str(), |field| &field.canonical);
        let operator = if r.negated { "!=" } else { "=" };
        let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        format!("{name}{operator}{value}")
    });
    let text = terms.collect::<Vec<_>>().join(",");
    FieldSelector::parse(&text).map_err(|error| refuse(&error))
}

async fn list_now(
    resource: &Resource,
    selection: &Selection,
    options: &ListOptions,
) -> Result<List, Failure> {
    let (snapshot, revision) = resource.cache().candidates(selection);
    let Some(key) = selection.single_key(resource.namespaced) else {
        return page(resource, &snapshot, revision, selection, "", options.limit).await;
    };
    let object = snapshot.get(&key).filter(|object| selection.matches(object));
    let mut items = resource.present_all(object.into_iter().cloned().collect()).await?;
    items.retain(|object| selection.matches_shown(object));
    Ok(List { items: items.into(), resource_version: revision, ..List::default() })
}

/// Up to `limit` selected objects with keys from `start` on, as the resource shows them.
async fn page(
    resource: &Resource,
    snapshot: &Snapshot,
    revision: u64,
    selection: &Selection,
    start: &str,
    limit: u64,
) -> Result<List, Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut list = List { resource_version: revision, ..List::default() };
    let candidates = snapshot.items(start, selection.prefix());
    if selection.is_everything() {
        list.items = candidates;
        let left_out = if limit > 0 { list.items.truncate(limit) } else { 0 };
        if left_out > 0
            && let Some(last) = list.items.last()
        {
            list.continue_token = continuation(last, selection, revision);
            list.remaining = Some(left_out as u64);
        }
        list.items = resource.present_list(list.items).await?;
        return Ok(list);
    }
    // No more is selected than has to be looked at.
    let at_once = match selection.judges_what_is_shown() {
        true => SHOWN_AT_ONCE,
        false if limit > 0 => limit.saturating_add(1),
        false => usize::MAX,
    };
    let mut selected = candidates.selected(selection).cloned();
    let mut items: Vec<Arc<Object>> = Vec::new();
    'pages: loop {
        let batch: Vec<Arc<Object>> = selected.by_ref().take(at_once).collect();
        if batch.is_empty() {
            break;
        }
        for object in resource.present_all(batch).await? {
            if !selection.matches_shown(&object) {
                continue;
            }
            if limit > 0
                && items.len() == limit
                && let Some(last) = items.last()
            {
                // How many follow, nobody knows without looking at all of them.
                list.continue_token = continuation(last, selection, revision);
                break 'pages;
            }
            items.push(object);
        }
    }
    list.items = items.into();
    Ok(list)
}

/// The token of the page behind `last`.
fn continuation(last: &Object, selection: &Selection, revision: u64) -> String {
    let key = &last.key()[selection.prefix().len()..];
    Token::after(key, Some(revision)).encode()
}

/// The resourceVersion that an object from a client has; `None` when it has none.
pub(super) fn revision_of(object: &Value) -> Option<&str> {
    Some(meta::resource_version(object)).filter(|version| !version.is_empty() && *version != "0")
}
