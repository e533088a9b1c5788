//! Forms of names, and of lists and maps that have a largest size.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::names;

use crate::cursor::At;
use crate::kinds::storage::driver_name;

const MAX_DOMAIN: usize = 63;
const MAX_ID: usize = 32;
const MAX_POOL_NAME: usize = 253;

/// Checks each item of a list that is not too long. Of a list that is, nothing else is said.
pub(super) fn items(
    list: &At<'_>,
    max: usize,
    errors: &mut ErrorList,
    mut check: impl FnMut(&At<'_>, &mut ErrorList),
) -> bool {
    if list.len() > max {
        errors.push(Error::too_many(&list.path, list.len(), max));
        return false;
    }
    for item in list.list() {
        check(&item, errors);
    }
    true
}

/// As [`items`], and no two items have the same key; `shown` says what the key of an item is, both
/// to compare and to show.
pub(super) fn set(
    list: &At<'_>,
    max: usize,
    errors: &mut ErrorList,
    check: impl FnMut(&At<'_>, &mut ErrorList),
    key: impl Fn(&At<'_>) -> String,
) {
    if items(list, max, errors, check) {
        duplicates(list, errors, |item| (key(item), Value::from(key(item))));
    }
}

/// Reports the items whose key an earlier one has; the key comes with what is shown of it.
pub(super) fn duplicates(
    list: &At<'_>,
    errors: &mut ErrorList,
    key: impl Fn(&At<'_>) -> (String, Value),
) {
    let mut taken = BTreeSet::new();
    for item in list.list() {
        let (key, shown) = key(&item);
        if !taken.insert(key) {
            errors.push(Error::duplicate(&item.path, shown));
        }
    }
}

/// Checks the keys and values of a map that has at most `max` entries. Keys are reported at the
/// map, and shortened in the paths of what they lead to.
pub(super) fn map(
    map: &At<'_>,
    max: Option<usize>,
    longest_key: usize,
    errors: &mut ErrorList,
    check_key: impl Fn(&str, &Path, &mut ErrorList),
    mut check: impl FnMut(&At<'_>, &mut ErrorList),
) {
    if let Some(max) = max
        && map.len() > max
    {
        errors.push(Error::too_many(&map.path, map.len(), max));
        return;
    }
    for (key, entry) in map.entries() {
        check_key(key, &map.path, errors);
        let path = map.path.key(shortened(key, longest_key));
        check(&At::new(entry.value, path), errors);
    }
}

/// A text without its middle when it is longer than `max` bytes.
fn shortened(text: &str, max: usize) -> String {
    const DOTS: &str = "...";
    if text.len() <= max {
        return text.to_owned();
    }
    let rest = max - DOTS.len();
    let head = text.floor_char_boundary(rest.div_ceil(2));
    let tail = text.ceil_char_boundary(text.len() - rest / 2);
    format!("{}{DOTS}{}", &text[..head], &text[tail..])
}

/// The longest key of a map from qualified names.
pub(super) const MAX_QUALIFIED: usize = MAX_DOMAIN + 1 + MAX_ID;

/// The longest key of a map from labels.
pub(super) const MAX_LABEL: usize = 63;

/// One error per message about a text.
pub(super) fn form(text: &str, path: &Path, errors: &mut ErrorList, rule: fn(&str) -> Vec<String>) {
    for message in rule(text) {
        errors.push(Error::invalid(path, text, message));
    }
}

/// The name of a pool: names of domains between slashes.
pub(super) fn pool_name(name: &At<'_>, errors: &mut ErrorList) {
    if !name.must(errors) {
        return;
    }
    if name.str().len() > MAX_POOL_NAME {
        errors.push(Error::too_long(&name.path, MAX_POOL_NAME));
    }
    for part in name.str().split('/') {
        form(part, &name.path, errors, names::dns1123_subdomain);
    }
}

/// The name of an attribute or a capacity: an identifier, which may stand under a domain.
pub(super) fn qualified_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(Error::invalid(path, "", "the domain must not be empty"));
            } else {
                let domain = Value::from(domain);
                driver_name(&At::new(&domain, path.clone()), errors);
            }
            if id.is_empty() {
                errors.push(Error::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(id, path, errors);
            }
        }
        _ => errors.push(Error::invalid(path, name, "must not contain more than one slash")),
    }
}

/// The name of an attribute together with its domain.
pub(super) fn fully_qualified_name(name: &At<'_>, errors: &mut ErrorList) {
    qualified_name(name.str(), &name.path, errors);
    if !name.str().contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(&name.path, name.str(), detail));
    }
}

fn identifier(id: &str, path: &Path, errors: &mut ErrorList) {
    if id.len() > MAX_ID {
        errors.push(Error::too_long(path, MAX_ID));
    }
    form(id, path, errors, names::c_identifier);
}

/// A UUID in its one form.
pub(super) fn uid(uid: &At<'_>, errors: &mut ErrorList) {
    let text = uid.str();
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let has_groups = || {
        let parts: Vec<&str> = text.split('-').collect();
        parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
            && parts.iter().all(|part| is_hex(part))
    };
    match text.len() {
        36 if has_groups() => {
            if text.bytes().any(|b| b.is_ascii_uppercase()) {
                uid.invalid(errors, NORMALIZED);
            }
        }
        // Other texts of a UUID: as a URN, in braces, without dashes.
        45 | 38 | 32 if uuid_text(text) => uid.invalid(errors, NORMALIZED),
        45 if !text.to_lowercase().starts_with("urn:uuid:") => {
            let prefix = machinery::field::quote(text.get(..9).unwrap_or_default());
            uid.invalid(errors, format!("error validating uid: invalid urn prefix: {prefix}"));
        }
        36 | 45 | 38 | 32 => uid.invalid(errors, "error validating uid: invalid UUID format"),
        other => {
            let detail = format!("error validating uid: invalid UUID length: {other}");
            errors.push(Error::invalid(&uid.path, text, detail));
        }
    }
}

const NORMALIZED: &str = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";

fn uuid_text(text: &str) -> bool {
    let lower = text.to_lowercase();
    let inner = lower
        .strip_prefix("urn:uuid:")
        .or_else(|| lower.strip_prefix('{')?.strip_suffix('}'))
        .unwrap_or(&lower);
    let digits: String = inner.split('-').collect();
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A JSON object that is at most `max` bytes long; where one is `stored` it may be longer.
pub(super) fn json_object(at: &At<'_>, stored: bool, max: usize, errors: &mut ErrorList) {
    if !at.is_set() {
        at.required(errors, "");
    } else if !stored && at.value.to_string().len() > max {
        errors.push(Error::too_long(&at.path, max));
    } else if !at.value.is_object() {
        let detail = "must be a valid JSON object";
        errors.push(Error::invalid(&at.path, "<value omitted>", detail));
    }
}

/// Tells the errors of an item to look at its own text.
pub(super) fn text_key(item: &At<'_>) -> String {
    item.str().to_owned()
}
