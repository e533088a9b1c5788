//! Fields that a request cannot change, so that it neither owns them nor takes them from others:
//! status in a write of the whole object, spec in a write of status.

use super::element::Element;
use super::set::{Node, Set};

/// A step of a path to what a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This member.
    Member(&'static str),
    /// Any item.
    Any,
}

/// Which fields of a request count.
#[derive(Clone, Debug)]
pub enum Reset {
    /// All but these and what is below them.
    Except(Set),
    /// Only what is at and below one of these paths, and what leads there.
    Only(&'static [&'static [Step]]),
}

impl Default for Reset {
    fn default() -> Self {
        Self::Except(Set::default())
    }
}

impl Reset {
    /// The paths of a set that count.
    pub fn keep(&self, set: &Set) -> Set {
        match self {
            Self::Except(fields) if fields.is_empty() => set.clone(),
            Self::Except(fields) => set.recursive_difference(fields),
            Self::Only(paths) => only(set, paths),
        }
    }

    /// Whether every field counts.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Except(fields) if fields.is_empty())
    }
}

fn only(set: &Set, paths: &[&'static [Step]]) -> Set {
    let nodes = set.nodes().iter().filter_map(|node| {
        let matching: Vec<&'static [Step]> = paths
            .iter()
            .filter_map(|path| {
                let (first, rest) = path.split_first()?;
                let fits = match (first, &node.element) {
                    (Step::Any, _) => true,
                    (Step::Member(name), Element::Field(field)) => **name == **field,
                    _ => false,
                };
                fits.then_some(rest)
            })
            .collect();
        if matching.iter().any(|rest| rest.is_empty()) {
            return Some(node.clone());
        }
        let below = only(&node.below, &matching);
        (!matching.is_empty() && (node.member || !below.is_empty())).then(|| Node {
            element: node.element.clone(),
            member: node.member,
            below,
        })
    });
    Set::from_nodes(nodes.collect())
}
