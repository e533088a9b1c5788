//! A few bits of an object that tell, without a look at it, what it surely has not.
//!
//! A list by label must find a few among many objects. Each label and each selectable field sets
//! two bits of its object's mark; an object that lacks one of the bits of what is wanted is passed
//! over. The marks of neighbours lie together, so that thousands cost what a few objects do.

use machinery::selector::{FieldSelector, LabelSelector, Operator};

/// The bits of an object, or those that a selector demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// Adds a name with its value.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        // FNV-1a: the texts are short.
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step);
        let hash = value.as_bytes().iter().fold(step(hash, &b'='), step);
        let hash = hash ^ (hash >> 32);
        self.0 |= 1 << (hash & 63) | 1 << (hash >> 6 & 63);
    }

    /// What objects must have that are selected.
    pub(super) fn demanded(labels: &LabelSelector, fields: &FieldSelector) -> Self {
        let mut mark = Self::default();
        for requirement in labels.requirements() {
            let exact = match requirement.operator() {
                Operator::Equals | Operator::DoubleEquals | Operator::In => requirement.values(),
                _ => &[],
            };
            if let [value] = exact {
                mark.add(requirement.key(), value);
            }
        }
        for requirement in fields.requirements() {
            // The key of an object says these two. An empty value may mean that there is no such
            // field.
            let in_key = matches!(&*requirement.field, "metadata.name" | "metadata.namespace");
            if !in_key && !requirement.negated && !requirement.value.is_empty() {
                mark.add(&requirement.field, &requirement.value);
            }
        }
        mark
    }

    /// Whether an object with these bits can have what is `demanded`.
    pub(super) fn may_have(self, demanded: Self) -> bool {
        self.0 & demanded.0 == demanded.0
    }

    /// Whether nothing is demanded.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demanded(labels: &str, fields: &str) -> Mark {
        let labels = LabelSelector::parse(labels).unwrap();
        Mark::demanded(&labels, &FieldSelector::parse(fields).unwrap())
    }

    #[test]
    fn only_what_must_be_there_is_demanded() {
        let of = |pairs: &[(&str, &str)]| {
            let mut mark = Mark::default();
            pairs.iter().for_each(|(name, value)| mark.add(name, value));
            mark
        };
        assert_eq!(demanded("a=1,b in (2)", "c.d=3"), of(&[("a", "1"), ("b", "2"), ("c.d", "3")]));
        let open = "a!=1,b,!c,d in (1,2),e notin (1),f>1";
        assert!(demanded(open, "x!=1,y=,metadata.name=n").is_empty());
    }

    #[test]
    fn what_an_object_has_is_never_passed_over_and_little_else_is_looked_at() {
        let mut found = 0;
        for number in 0..10_000 {
            let (app, hash) = (format!("app-{}", number % 100), number.to_string());
            let mut mark = Mark::default();
            for (name, value) in [("app", &*app), ("hash", &hash), ("tier", "back"), ("x", "")] {
                mark.add(name, value);
            }
            assert!(mark.may_have(demanded(&format!("app={app},hash={hash},x="), "")));
            assert!(mark.may_have(Mark::default()));
            found += usize::from(mark.may_have(demanded("app=app-7", "")));
        }
        assert!((100..500).contains(&found), "{found} of 100");
    }
}
