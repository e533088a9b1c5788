//! The desired contents of one nftables table, and the script that turns one such state into another.
//!
//! Rules, elements and declarations are kept as nft text: what is compared is exactly what is
//! written, so an unchanged chain or element costs nothing in the transaction.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Address family of a table. Each family has a table of its own, as upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, nft family `ip`.
    V4,
    /// IPv6, nft family `ip6`.
    V6,
}

impl Family {
    /// The family's name in nft, also the keyword of its header expressions.
    pub fn keyword(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// The nft data type of an address.
    pub fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// `set` or `map`.
    pub kind: CollectionKind,
    /// The declaration between the braces, e.g. `type ipv4_addr ;`.
    pub declaration: String,
    /// Element key to element value (empty for sets), with the comment shown to administrators.
    pub elements: BTreeMap<String, Element>,
}

/// Whether a collection maps keys to verdicts or only holds keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionKind {
    /// Keys only.
    Set,
    /// Keys with a verdict.
    Map,
}

impl CollectionKind {
    fn keyword(self) -> &'static str {
        match self {
            CollectionKind::Set => "set",
            CollectionKind::Map => "map",
        }
    }
}

/// One element of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// What the key maps to; empty in sets.
    pub value: String,
    /// Shown by `nft list`; empty for none.
    pub comment: String,
}

/// A chain: base chains have a hook, the others are jumped to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `type nat hook prerouting priority dstnat ;` or empty.
    pub hook: String,
    /// The rules in order.
    pub rules: Vec<String>,
}

/// Everything in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The table's family.
    pub family: Family,
    /// The table's name.
    pub name: String,
    /// Sets and maps by name.
    pub collections: BTreeMap<String, Collection>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
}

// === impl Table ===

impl Table {
    /// A table with nothing in it.
    pub fn new(family: Family, name: &str) -> Self {
        Table {
            family,
            name: name.to_owned(),
            collections: BTreeMap::new(),
            chains: BTreeMap::new(),
        }
    }

    /// The chain called `name`, made on first use.
    pub fn chain(&mut self, name: &str) -> &mut Chain {
        self.chains.entry(name.to_owned()).or_default()
    }

    /// Declares a set or map.
    pub fn declare(&mut self, kind: CollectionKind, name: &str, declaration: impl Into<String>) {
        self.collections.insert(
            name.to_owned(),
            Collection { kind, declaration: declaration.into(), elements: BTreeMap::new() },
        );
    }

    /// Puts an element into a declared collection; the first element of a key stays.
    pub fn element(&mut self, collection: &str, key: String, value: String, comment: &str) {
        let collection = self.collections.get_mut(collection).expect("declared before use");
        collection
            .elements
            .entry(key)
            .or_insert_with(|| Element { value, comment: printable(comment) });
    }

    /// The script that writes the whole table, replacing whatever stands under its name.
    pub fn replace_script(&self) -> String {
        let table = self.reference();
        let mut script = format!("add table {table}\ndelete table {table}\nadd table {table}\n");
        script.push_str(&self.diff_script(&Table::new(self.family, &self.name)));
        script
    }

    /// The script that turns `old`, which is what the kernel has, into `self`. Empty when nothing
    /// changed. The order of its parts is what nft's references need: everything that is pointed to
    /// is made before and removed after what points to it.
    pub fn diff_script(&self, old: &Table) -> String {
        let table = self.reference();
        let mut script = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| {
            writeln!(script, "{text}").expect("writing to a String cannot fail");
        };

        for (name, new) in &self.collections {
            if old.collections.get(name).is_none_or(|o| !o.same_declaration(new)) {
                let (kind, declaration) = (new.kind.keyword(), &new.declaration);
                line(format_args!("add {kind} {table} {name} {{ {declaration} }}"));
            }
        }
        for (name, new) in &self.chains {
            match old.chains.get(name) {
                None if new.hook.is_empty() => line(format_args!("add chain {table} {name}")),
                None => line(format_args!("add chain {table} {name} {{ {} }}", new.hook)),
                Some(o) if o.rules != new.rules => {
                    line(format_args!("flush chain {table} {name}"));
                }
                Some(_) => {}
            }
        }
        let gone = |name: &str| !self.chains.contains_key(name);
        for name in old.chains.keys().filter(|name| gone(name)) {
            line(format_args!("flush chain {table} {name}"));
        }
        for (name, o) in &old.collections {
            let new = self.collections.get(name);
            let removed: Vec<&str> = o
                .elements
                .iter()
                .filter(|(key, element)| new.is_none_or(|n| n.elements.get(*key) != Some(element)))
                .map(|(key, _)| key.as_str())
                .collect();
            if !removed.is_empty() {
                line(format_args!("delete element {table} {name} {{ {} }}", removed.join(", ")));
            }
        }
        for (name, new) in &self.chains {
            if old.chains.get(name).is_none_or(|o| o.rules != new.rules) {
                for rule in &new.rules {
                    line(format_args!("add rule {table} {name} {rule}"));
                }
            }
        }
        for (name, new) in &self.collections {
            let before = old.collections.get(name);
            let added: Vec<String> = new
                .elements
                .iter()
                .filter(|(key, element)| {
                    before.is_none_or(|o| o.elements.get(*key) != Some(element))
                })
                .map(|(key, element)| element.text(key))
                .collect();
            // Long lines are fine for nft; a bounded number of elements keeps its errors readable.
            for part in added.chunks(256) {
                line(format_args!("add element {table} {name} {{ {} }}", part.join(", ")));
            }
        }
        for name in old.chains.keys().filter(|name| gone(name)) {
            line(format_args!("delete chain {table} {name}"));
        }
        for (name, o) in &old.collections {
            if !self.collections.contains_key(name) {
                line(format_args!("delete {} {table} {name}", o.kind.keyword()));
            }
        }
        script
    }

    /// Whether `old` can be changed into `self` in place. A chain's hook or a collection's type
    /// cannot change under its name.
    pub fn can_follow(&self, old: &Table) -> bool {
        let same_hooks = self
            .chains
            .iter()
            .all(|(name, new)| old.chains.get(name).is_none_or(|o| o.hook == new.hook));
        let same_types = self
            .collections
            .iter()
            .all(|(name, new)| old.collections.get(name).is_none_or(|o| o.same_declaration(new)));
        same_hooks && same_types
    }

    fn reference(&self) -> String {
        format!("{} {}", self.family.keyword(), self.name)
    }
}

// === impl Collection ===

impl Collection {
    fn same_declaration(&self, other: &Collection) -> bool {
        self.kind == other.kind && self.declaration == other.declaration
    }
}

// === impl Element ===

impl Element {
    fn text(&self, key: &str) -> String {
        let mut text = key.to_owned();
        if !self.comment.is_empty() {
            text.push_str(" comment \"");
            text.push_str(&self.comment);
            text.push('"');
        }
        if !self.value.is_empty() {
            text.push_str(" : ");
            text.push_str(&self.value);
        }
        text
    }
}

/// nft takes at most 128 bytes of comment and no quotes in it.
fn printable(comment: &str) -> String {
    comment.chars().filter(|c| c.is_ascii_graphic() && *c != '"' && *c != '\\').take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(chains: &[(&str, &[&str])], elements: &[(&str, &str)]) -> Table {
        let mut table = Table::new(Family::V4, "t");
        table.declare(CollectionKind::Map, "m", "type inet_service : verdict ;");
        for (name, rules) in chains {
            table.chain(name).rules = rules.iter().map(|r| (*r).to_owned()).collect();
        }
        for (key, value) in elements {
            table.element("m", (*key).to_owned(), (*value).to_owned(), "");
        }
        table
    }

    #[test]
    fn unchanged_tables_write_nothing() {
        let a = table(&[("c", &["accept"])], &[("80", "goto c")]);
        assert_eq!(a.diff_script(&a.clone()), "");
    }

    #[test]
    fn only_what_changed_is_written_in_reference_order() {
        let old = table(
            &[("a", &["accept"]), ("b", &["drop"]), ("same", &["drop"])],
            &[("80", "goto a"), ("81", "goto b"), ("82", "goto same")],
        );
        let new = table(
            &[("a", &["return"]), ("c", &["accept"]), ("same", &["drop"])],
            &[("80", "goto a"), ("81", "goto c"), ("82", "goto same")],
        );
        assert_eq!(
            new.diff_script(&old),
            "flush chain ip t a\n\
             add chain ip t c\n\
             flush chain ip t b\n\
             delete element ip t m { 81 }\n\
             add rule ip t a return\n\
             add rule ip t c accept\n\
             add element ip t m { 81 : goto c }\n\
             delete chain ip t b\n"
        );
    }

    #[test]
    fn a_changed_type_cannot_follow_in_place() {
        let old = table(&[], &[]);
        let mut new = old.clone();
        assert!(new.can_follow(&old));
        new.declare(CollectionKind::Map, "m", "type ipv4_addr : verdict ;");
        assert!(!new.can_follow(&old));
    }
}
