//! Lists of type map: items by their keys.

use std::collections::HashMap;

use machinery::Value as Json;

/// The items of a list by the values of their key fields; the first of several with the same.
#[derive(Debug)]
pub struct Keyed<'a> {
    keys: &'a [String],
    items: HashMap<String, &'a Json>,
}

impl<'a> Keyed<'a> {
    /// Takes in a list whose items have these key fields.
    pub fn new(items: &'a [Json], keys: &'a [String]) -> Self {
        let mut all = Self { keys, items: HashMap::with_capacity(items.len()) };
        for item in items {
            all.items.entry(all.key(item)).or_insert(item);
        }
        all
    }

    /// The item with the same keys as another one.
    pub fn find(&self, like: &Json) -> Option<&'a Json> {
        self.items.get(&self.key(like)).copied()
    }

    fn key(&self, item: &Json) -> String {
        let absent = Json::Null;
        let mut text = String::new();
        for key in self.keys {
            text.push_str(&item.get(key).unwrap_or(&absent).to_string());
            text.push(',');
        }
        text
    }
}
