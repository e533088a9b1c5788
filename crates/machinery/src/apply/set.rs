//! Sets of fields: which paths into an object somebody owns.
//!
//! A set is a tree of steps in order. A node that is a member stands for its own path; nodes below
//! stand for longer paths. A path may be a member while paths through it are not, and the other
//! way round: a manager that set one label owns that label and not the map it is in.
//!
//! Invariant: a node is a member or has nodes below it.

use std::cmp::Ordering;
use std::fmt;

use super::element::Element;
use super::node::{Place, Shape};

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) element: Element,
    pub(super) member: bool,
    pub(super) below: Set,
}

/// A path of fields, from the root of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Element>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}

/// What a walk found at and below one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    pub(super) member: bool,
    pub(super) below: Set,
}

impl Mark {
    pub(super) fn leaf() -> Self {
        Self { member: true, below: Set::default() }
    }
}

impl Set {
    /// The set of the given paths.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p [&'p str]>) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(path.iter().map(|name| Element::field(name)));
        }
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Takes nodes in any order.
    pub(super) fn from_nodes(mut nodes: Vec<Node>) -> Self {
        if !nodes.is_sorted_by(|a, b| a.element < b.element) {
            nodes.sort_by(|a, b| a.element.cmp(&b.element));
            nodes.dedup_by(|next, first| {
                let same = next.element == first.element;
                if same {
                    first.member |= next.member;
                    first.below = first.below.union(&next.below);
                }
                same
            });
        }
        Self { nodes }
    }

    /// Adds a path.
    pub fn insert(&mut self, path: impl IntoIterator<Item = Element>) {
        let mut path = path.into_iter();
        let Some(mut element) = path.next() else { return };
        let mut set = self;
        for next in path {
            set = &mut set.node_mut(element).below;
            element = next;
        }
        set.node_mut(element).member = true;
    }

    fn node_mut(&mut self, element: Element) -> &mut Node {
        let at = match self.nodes.binary_search_by(|node| node.element.cmp(&element)) {
            Ok(at) => at,
            Err(at) => {
                self.nodes.insert(at, Node { element, member: false, below: Self::default() });
                at
            }
        };
        &mut self.nodes[at]
    }

    pub(super) fn node(&self, element: &Element) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| node.element.cmp(element)).ok()?;
        Some(&self.nodes[at])
    }

    /// Whether the path itself is in the set.
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((last, way)) = path.split_last() else { return false };
        let mut set = self;
        for element in way {
            match set.node(element) {
                Some(node) => set = &node.below,
                None => return false,
            }
        }
        set.node(last).is_some_and(|node| node.member)
    }

    /// All paths, a path before those through it.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect(&mut Path::default(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Path, paths: &mut Vec<Path>) {
        for node in &self.nodes {
            prefix.0.push(node.element.clone());
            if node.member {
                paths.push(prefix.clone());
            }
            node.below.collect(prefix, paths);
            prefix.0.pop();
        }
    }

    /// Paths that no other path of the set goes through.
    pub fn leaves(&self) -> Self {
        let nodes = self.nodes.iter().map(|node| Node {
            element: node.element.clone(),
            member: node.member && node.below.is_empty(),
            below: node.below.leaves(),
        });
        Self { nodes: nodes.collect() }
    }

    /// Paths of either set.
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(Node {
                element: a.element.clone(),
                member: a.member || b.member,
                below: a.below.union(&b.below),
            }),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        })
    }

    /// Paths of any of the sets: in pairs, so that a path is copied few times however many sets.
    pub(super) fn union_of(mut sets: Vec<Self>) -> Self {
        while sets.len() > 1 {
            let pairs = sets.chunks(2).map(|pair| match pair {
                [a, b] => a.union(b),
                one => one.first().cloned().unwrap_or_default(),
            });
            sets = pairs.collect();
        }
        sets.pop().unwrap_or_default()
    }

    /// Paths of both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |a, b| {
            let (a, b) = (a?, b?);
            let member = a.member && b.member;
            let below = a.below.intersection(&b.below);
            (member || !below.is_empty()).then(|| Node {
                element: a.element.clone(),
                member,
                below,
            })
        })
    }

    /// Whether a path is in both sets.
    pub fn intersects(&self, other: &Self) -> bool {
        let (few, many) =
            if self.nodes.len() <= other.nodes.len() { (self, other) } else { (other, self) };
        few.nodes.iter().any(|a| {
            many.node(&a.element)
                .is_some_and(|b| a.member && b.member || a.below.intersects(&b.below))
        })
    }

    /// Paths of this set that are not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| {
            let a = a?;
            let Some(b) = b else { return Some(a.clone()) };
            let member = a.member && !b.member;
            let below = a.below.difference(&b.below);
            (member || !below.is_empty()).then(|| Node {
                element: a.element.clone(),
                member,
                below,
            })
        })
    }

    /// Paths of this set that are neither in the other nor go through a path of it.
    pub fn recursive_difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| {
            let a = a?;
            let Some(b) = b else { return Some(a.clone()) };
            if b.member {
                return None;
            }
            let below = a.below.recursive_difference(&b.below);
            (a.member || !below.is_empty()).then(|| Node {
                element: a.element.clone(),
                member: a.member,
                below,
            })
        })
    }

    fn zip(
        &self,
        other: &Self,
        mut choose: impl FnMut(Option<&Node>, Option<&Node>) -> Option<Node>,
    ) -> Self {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order.is_le() { left.next() } else { None };
            let b = if order.is_ge() { right.next() } else { None };
            nodes.extend(choose(a, b));
        }
        Self { nodes }
    }

    /// The set with all named members of structs on the way to its paths: who owns
    /// `spec.template.x` is taken to own `spec.template` too, though not entries of maps.
    pub(super) fn with_named_fields(&self, place: Place<'_>) -> Self {
        let node = place.node();
        let nodes = self.nodes.iter().map(|entry| {
            let (declared, inner) = match (&entry.element, &node.shape) {
                (Element::Field(name), _) => (node.declares(name), node.member(name)),
                (_, Shape::List { items, .. }) => (false, Some(*items)),
                _ => (false, None),
            };
            Node {
                element: entry.element.clone(),
                member: entry.member || (declared && !entry.below.is_empty()),
                below: match inner {
                    Some(inner) => entry.below.with_named_fields(inner),
                    None => entry.below.clone(),
                },
            }
        });
        Self { nodes: nodes.collect() }
    }

    /// The set as it would have been written under the type of today, where something that had
    /// owners inside may have become one whole. None if it is as it was.
    pub(super) fn reconciled(&self, place: Place<'_>) -> Option<Self> {
        let node = place.node();
        let mut changed = None;
        for (at, entry) in self.nodes.iter().enumerate() {
            if entry.below.is_empty() {
                continue;
            }
            let inner = match (&entry.element, &node.shape) {
                (Element::Field(name), _) => node.member(name),
                (_, Shape::List { items, .. }) => Some(*items),
                _ => None,
            };
            let Some(inner) = inner else { continue };
            let inner_node = inner.node();
            let replaced = if inner_node.atomic && !matches!(inner_node.shape, Shape::Untyped) {
                Some(Node { element: entry.element.clone(), member: true, below: Self::default() })
            } else {
                entry.below.reconciled(inner).map(|below| Node { below, ..entry.clone() })
            };
            if let Some(replaced) = replaced {
                changed.get_or_insert_with(|| self.clone()).nodes[at] = replaced;
            }
        }
        changed
    }
}
