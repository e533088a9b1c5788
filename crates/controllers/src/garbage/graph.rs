//! Who owns whom. Pure: events go in, keys that deserve a look come out.
//!
//! The graph only says where to look; whether an owner exists is asked of the server before
//! anything is deleted, so a graph that is behind does no harm.
//!
//! It has a node for every object of the cluster, so a node holds little: texts are shared, and of
//! references to owners only what later events are compared with.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// The UID of an object, shared by all who name it.
pub(super) type Uid = Arc<str>;

/// A kind, as owner references name it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) api_version: String,
    pub(super) kind: String,
}

/// Where an object is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) kind: Arc<Kind>,
    /// `namespace/name`, with an empty namespace for cluster-scoped objects.
    key: Arc<str>,
}

/// A resource that is followed, and the kind of its objects.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `group/resource`
    pub(super) resource: Arc<str>,
    pub(super) kind: Arc<Kind>,
}

/// An object, or one that another object merely names as its owner.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) identity: Identity,
    owners: Box<[Reference]>,
    pub(super) dependents: BTreeSet<Uid>,
    /// The resource whose watch told of it; `None` while it is only known by references.
    resource: Option<Arc<str>>,
    deleting: bool,
    foreground: bool,
    orphaning: bool,
}

/// What is kept of a reference to an owner.
#[derive(Debug, Clone)]
struct Reference {
    owner: Uid,
    /// Whether it holds up the owner's foreground deletion.
    blocks: bool,
}

impl Identity {
    pub(super) fn new(kind: Arc<Kind>, namespace: &str, name: &str) -> Self {
        Self { kind, key: format!("{namespace}/{name}").into() }
    }

    /// What a reference in an object of `namespace` names.
    pub(super) fn of(reference: &OwnerReference, namespace: &str) -> Self {
        let OwnerReference { api_version, kind, name, .. } = reference;
        let kind = Kind { api_version: api_version.clone(), kind: kind.clone() };
        Self::new(Arc::new(kind), namespace, name)
    }

    /// Empty for cluster-scoped objects.
    pub(super) fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(super) fn name(&self) -> &str {
        self.key.split_once('/').map_or("", |(_, name)| name)
    }
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
        self.owners.iter().any(|reference| &*reference.owner == owner && reference.blocks)
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
    gone_order: VecDeque<Uid>,
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

    /// A UID as the graph has it, if it does.
    fn uid(&self, uid: &str) -> Uid {
        let known = self.nodes.get_key_value(uid).map(|(known, _)| known);
        known.or_else(|| self.gone.get(uid)).cloned().unwrap_or_else(|| uid.into())
    }

    /// Takes the current state of an object in.
    pub(super) fn apply(&mut self, source: &Source, meta: &ObjectMeta) -> Work {
        let mut work = Work::default();
        let uid = self.uid(meta.uid.as_deref().unwrap_or_default());
        if uid.is_empty() {
            return work;
        }
        let references = meta.owner_references.as_deref().unwrap_or_default();
        let owners = references.iter().map(|reference| Reference {
            owner: self.uid(&reference.uid),
            blocks: reference.block_owner_deletion == Some(true),
        });
        let owners: Box<[Reference]> = owners.collect();
        let has = |name: &str| meta.finalizers.iter().flatten().any(|f| f == name);
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        let before = self.nodes.remove(&uid);
        let awaited = before.as_ref().is_some_and(Node::awaits_dependents);
        let orphaned = before.as_ref().is_some_and(Node::awaits_orphaning);
        let (old_owners, dependents, known) = match before {
            Some(node) => (node.owners, node.dependents, Some(node.identity)),
            None => Default::default(),
        };
        let identity = known
            .filter(|known| known.kind == source.kind)
            .filter(|known| known.namespace() == namespace && known.name() == name)
            .map(|known| Identity { kind: source.kind.clone(), ..known })
            .unwrap_or_else(|| Identity::new(source.kind.clone(), namespace, name));
        let node = Node {
            identity,
            owners: owners.clone(),
            dependents,
            resource: Some(source.resource.clone()),
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
        self.gone.remove(&uid);
        self.nodes.insert(uid.clone(), node);
        self.unlink(&uid, &old_owners, &owners, &mut work);
        for (reference, Reference { owner, .. }) in references.iter().zip(&owners) {
            self.link(&uid, owner, &Identity::of(reference, namespace), &mut work);
        }
        work
    }

    /// Takes an object out of the dependents of owners that it does not name any more.
    fn unlink(&mut self, uid: &Uid, old: &[Reference], new: &[Reference], work: &mut Work) {
        for reference in old {
            let now = new.iter().find(|now| now.owner == reference.owner);
            let unblocked = reference.blocks && now.is_none_or(|now| !now.blocks);
            if let Some(owner) = self.nodes.get_mut(&reference.owner) {
                if now.is_none() {
                    owner.dependents.remove(uid);
                }
                if unblocked && owner.awaits_dependents() {
                    work.delete.insert(reference.owner.clone());
                }
                self.drop_if_unused(&reference.owner);
            }
        }
    }

    /// Makes an object one of the dependents of an owner, which it names as `identity`.
    fn link(&mut self, uid: &Uid, owner: &Uid, identity: &Identity, work: &mut Work) {
        if self.gone.contains(owner) && !self.nodes.contains_key(owner) {
            // Came too late: its owner is no more.
            work.delete.insert(uid.clone());
            return;
        }
        let node = self.nodes.entry(owner.clone()).or_insert_with(|| {
            work.delete.insert(owner.clone());
            Node {
                identity: identity.clone(),
                owners: Box::default(),
                dependents: BTreeSet::new(),
                resource: None,
                deleting: false,
                foreground: false,
                orphaning: false,
            }
        });
        let is_new = node.dependents.insert(uid.clone());
        if is_new && node.awaits_dependents() {
            work.delete.insert(uid.clone());
        }
        // A reference that does not fit the real owner (another namespace, say) must be
        // looked at although the owner's UID is known.
        if is_new && !node.is_virtual() && !fits(identity, &node.identity) {
            work.delete.insert(uid.clone());
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
        let uid = self.uid(uid);
        self.remember(&uid);
        let Some(node) = self.nodes.remove(&uid) else { return work };
        work.delete.extend(node.dependents.iter().filter(|d| self.nodes.contains_key(*d)).cloned());
        for reference in &node.owners {
            if let Some(owner) = self.nodes.get_mut(&reference.owner) {
                owner.dependents.remove(&uid);
                if owner.awaits_dependents() {
                    work.delete.insert(reference.owner.clone());
                }
            }
            self.drop_if_unused(&reference.owner);
        }
        // After a crowd is gone, its place is given back.
        if self.nodes.capacity() > 1024 && self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(2 * self.nodes.len());
        }
        work
    }

    fn remember(&mut self, uid: &Uid) {
        if self.gone.insert(uid.clone()) {
            self.gone_order.push_back(uid.clone());
        }
        while self.gone_order.len() > REMEMBERED {
            if let Some(oldest) = self.gone_order.pop_front() {
                self.gone.remove(&oldest);
            }
        }
    }

    /// Takes a complete list of a resource: what it told of before and no more is gone.
    pub(super) fn listed(&mut self, resource: &str, present: &HashSet<String>) -> Work {
        let gone: Vec<Uid> = self
            .nodes
            .iter()
            .filter(|(uid, node)| {
                node.resource.as_deref() == Some(resource) && !present.contains(&***uid)
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

/// Whether a reference names the owner that has its UID.
fn fits(named: &Identity, owner: &Identity) -> bool {
    named.kind.kind == owner.kind.kind
        && named.name() == owner.name()
        && (owner.namespace().is_empty() || owner.namespace() == named.namespace())
}
