//! Who owns whom. Pure: events go in, keys that deserve a look come out.
//!
//! The graph only says where to look; whether an owner exists is asked of the server before
//! anything is deleted, so a graph that is behind does no harm.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// The UID of an object.
pub(super) type Uid = String;

/// Where an object is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// Empty for cluster-scoped objects.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object, or one that another object merely names as its owner.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: HashSet<Uid>,
    /// The resource whose watch told of it; `None` while it is only known by references.
    resource: Option<String>,
    deleting: bool,
    foreground: bool,
    orphaning: bool,
}

impl Node {
    pub(super) fn is_virtual(&self) -> bool {
        self.resource.is_none()
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.deleting
    }

    /// Whether it is being deleted and waits for its dependents to go first.
    pub(super) fn awaits_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    fn awaits_orphaning(&self) -> bool {
        self.deleting && self.orphaning
    }

    /// Whether its reference to `owner` holds up the owner's foreground deletion.
    pub(super) fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|r| r.uid == owner && r.block_owner_deletion == Some(true))
    }
}

/// What deserves a look after an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Perhaps to be deleted.
    pub(super) delete: HashSet<Uid>,
    /// To have its dependents orphaned.
    pub(super) orphan: HashSet<Uid>,
}

/// All objects by UID.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    /// UIDs that were seen to go; references to them dangle for certain.
    gone: HashSet<Uid>,
    gone_order: std::collections::VecDeque<Uid>,
}

/// How many of the departed are remembered, as upstream's absent owner cache.
const REMEMBERED: usize = 2000;

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// The dependents of an object that still exist.
    pub(super) fn dependents<'a>(
        &'a self,
        node: &'a Node,
    ) -> impl Iterator<Item = (&'a Uid, &'a Node)> {
        node.dependents.iter().filter_map(|uid| self.nodes.get_key_value(uid))
    }

    /// Takes the current state of an object in.
    pub(super) fn apply(
        &mut self,
        resource: &str,
        api_version: &str,
        kind: &str,
        meta: &ObjectMeta,
    ) -> Work {
        let mut work = Work::default();
        let Some(uid) = meta.uid.clone() else { return work };
        let owners = meta.owner_references.clone().unwrap_or_default();
        let has = |name: &str| meta.finalizers.iter().flatten().any(|f| f == name);
        let before = self.nodes.get(&uid);
        let (old_owners, awaited, orphaned) = before.map_or_else(
            || (Vec::new(), false, false),
            |n| (n.owners.clone(), n.awaits_dependents(), n.awaits_orphaning()),
        );
        let node = Node {
            identity: Identity {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
            },
            owners: owners.clone(),
            dependents: before.map(|n| n.dependents.clone()).unwrap_or_default(),
            resource: Some(resource.to_owned()),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphaning: has(ORPHAN),
        };
        if node.awaits_orphaning() && !orphaned {
            work.orphan.insert(uid.clone());
        }
        if node.awaits_dependents() && !awaited {
            work.delete.extend(node.dependents.iter().cloned());
            work.delete.insert(uid.clone());
        }
        let namespace = node.identity.namespace.clone();
        self.gone.remove(&uid);
        self.nodes.insert(uid.clone(), node);
        self.relink(&uid, &namespace, &old_owners, &owners, &mut work);
        work
    }

    /// Keeps the owners' lists of dependents in line with an object's references.
    fn relink(
        &mut self,
        uid: &Uid,
        namespace: &str,
        old: &[OwnerReference],
        new: &[OwnerReference],
        work: &mut Work,
    ) {
        for reference in old {
            let now = new.iter().find(|r| r.uid == reference.uid);
            let unblocked = reference.block_owner_deletion == Some(true)
                && now.is_none_or(|r| r.block_owner_deletion != Some(true));
            if let Some(owner) = self.nodes.get_mut(&reference.uid) {
                if now.is_none() {
                    owner.dependents.remove(uid);
                }
                if unblocked && owner.awaits_dependents() {
                    work.delete.insert(reference.uid.clone());
                }
                self.drop_if_unused(&reference.uid);
            }
        }
        for reference in new {
            if self.gone.contains(&reference.uid) && !self.nodes.contains_key(&reference.uid) {
                // Came too late: its owner is no more.
                work.delete.insert(uid.clone());
                continue;
            }
            let owner = self.nodes.entry(reference.uid.clone()).or_insert_with(|| {
                work.delete.insert(reference.uid.clone());
                Node {
                    identity: Identity {
                        api_version: reference.api_version.clone(),
                        kind: reference.kind.clone(),
                        namespace: namespace.to_owned(),
                        name: reference.name.clone(),
                    },
                    owners: Vec::new(),
                    dependents: HashSet::new(),
                    resource: None,
                    deleting: false,
                    foreground: false,
                    orphaning: false,
                }
            });
            let is_new = owner.dependents.insert(uid.clone());
            if is_new && owner.awaits_dependents() {
                work.delete.insert(uid.clone());
            }
            // A reference that does not fit the real owner (another namespace, say) must be
            // looked at although the owner's UID is known.
            if is_new && !owner.is_virtual() && !fits(reference, namespace, &owner.identity) {
                work.delete.insert(uid.clone());
            }
        }
    }

    fn drop_if_unused(&mut self, uid: &str) {
        if self.nodes.get(uid).is_some_and(|n| n.is_virtual() && n.dependents.is_empty()) {
            self.nodes.remove(uid);
        }
    }

    /// Takes in that an object is gone: its dependents have lost an owner, and its owners may
    /// have waited for it.
    pub(super) fn remove(&mut self, uid: &str) -> Work {
        let mut work = Work::default();
        self.remember(uid);
        let Some(node) = self.nodes.remove(uid) else { return work };
        work.delete.extend(node.dependents.iter().filter(|d| self.nodes.contains_key(*d)).cloned());
        for reference in &node.owners {
            if let Some(owner) = self.nodes.get_mut(&reference.uid) {
                owner.dependents.remove(uid);
                if owner.awaits_dependents() {
                    work.delete.insert(reference.uid.clone());
                }
            }
            self.drop_if_unused(&reference.uid);
        }
        work
    }

    fn remember(&mut self, uid: &str) {
        if self.gone.insert(uid.to_owned()) {
            self.gone_order.push_back(uid.to_owned());
        }
        while self.gone_order.len() > REMEMBERED {
            if let Some(oldest) = self.gone_order.pop_front() {
                self.gone.remove(&oldest);
            }
        }
    }

    /// Takes a complete list of a resource: what it told of before and no more is gone.
    pub(super) fn listed(&mut self, resource: &str, present: &HashSet<Uid>) -> Work {
        let gone: Vec<Uid> = self
            .nodes
            .iter()
            .filter(|(uid, node)| {
                node.resource.as_deref() == Some(resource) && !present.contains(*uid)
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        let mut work = Work::default();
        for uid in gone {
            let more = self.remove(&uid);
            work.delete.extend(more.delete);
        }
        work
    }
}

fn fits(reference: &OwnerReference, namespace: &str, owner: &Identity) -> bool {
    reference.kind == owner.kind
        && reference.name == owner.name
        && (owner.namespace.is_empty() || owner.namespace == namespace)
}
