//! The copy itself: objects by key, and indexes over them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use kube::Resource;

use super::{Event, key_of};

type IndexKeys<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// Objects by key with secondary indexes that always agree with them.
pub(super) struct Store<K> {
    objects: BTreeMap<Arc<str>, Arc<K>>,
    indexes: Vec<Index<K>>,
}

struct Index<K> {
    name: &'static str,
    keys: IndexKeys<K>,
    entries: HashMap<String, BTreeSet<Arc<str>>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), indexes: Vec::new() }
    }
}

pub(super) fn key(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

impl<K> Store<K> {
    pub(super) fn add_index(&mut self, name: &'static str, keys: IndexKeys<K>) {
        self.indexes.push(Index { name, keys, entries: HashMap::new() });
    }

    pub(super) fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        self.objects.get(key(namespace, name).as_str()).cloned()
    }

    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = format!("{namespace}/");
        // `0` follows `/`: the range holds exactly the keys that begin with `from`.
        let to = format!("{namespace}0");
        self.objects
            .range::<str, _>((Bound::Included(from.as_str()), Bound::Excluded(to.as_str())))
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    pub(super) fn by_index(&self, index: &str, key: &str) -> Vec<Arc<K>> {
        self.indexes
            .iter()
            .find(|candidate| candidate.name == index)
            .and_then(|index| index.entries.get(key))
            .into_iter()
            .flatten()
            .filter_map(|key| self.objects.get(key).cloned())
            .collect()
    }

    fn insert(&mut self, key: &str, object: Arc<K>) -> Option<Arc<K>> {
        let key: Arc<str> = match self.objects.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(key),
        };
        let old = self.objects.insert(Arc::clone(&key), Arc::clone(&object));
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            for entry in (index.keys)(&object) {
                index.entries.entry(entry).or_default().insert(Arc::clone(&key));
            }
        }
        old
    }

    fn remove(&mut self, key: &str) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for index in &mut self.indexes {
            index.remove(key, &old);
        }
        Some(old)
    }
}

impl<K> Index<K> {
    fn remove(&mut self, key: &str, object: &K) {
        for entry in (self.keys)(object) {
            if let Some(keys) = self.entries.get_mut(&entry) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&entry);
                }
            }
        }
    }
}

impl<K: Resource> Store<K> {
    /// Takes a new state of an object. A replay of the state that is already here is silent; an
    /// object that took the name of another one, which went unnoticed, is told as both.
    pub(super) fn apply(&mut self, object: K) -> Vec<Event<K>> {
        let key = key_of(&object);
        let new = Arc::new(object);
        match self.insert(&key, Arc::clone(&new)) {
            None => vec![Event::Added(new)],
            Some(old) if old.meta().uid != new.meta().uid => {
                vec![Event::Deleted(old), Event::Added(new)]
            }
            Some(old) if same_version(&*old, &*new) => Vec::new(),
            Some(old) => vec![Event::Updated { old, new }],
        }
    }

    /// Drops an object; tells with the last state that the server sent.
    pub(super) fn delete(&mut self, object: K) -> Option<Event<K>> {
        self.remove(&key_of(&object)).map(|_| Event::Deleted(Arc::new(object)))
    }

    /// Takes a complete list: what is not in it is gone.
    pub(super) fn replace(&mut self, objects: Vec<K>) -> Vec<Event<K>> {
        let listed: BTreeSet<String> = objects.iter().map(key_of).collect();
        let gone: Vec<Arc<str>> =
            self.objects.keys().filter(|key| !listed.contains(&***key)).cloned().collect();
        let mut events: Vec<Event<K>> =
            gone.iter().filter_map(|key| self.remove(key)).map(Event::Deleted).collect();
        events.extend(objects.into_iter().flat_map(|object| self.apply(object)));
        events
    }
}

fn same_version<K: Resource>(old: &K, new: &K) -> bool {
    let (old, new) = (old.meta(), new.meta());
    old.resource_version.is_some() && old.resource_version == new.resource_version
}
