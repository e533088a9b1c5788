//! Where two values differ, for people whose change is refused.

use machinery::Value;

use crate::cursor::same;

/// What was there in lines with a minus, and what is instead in lines with a plus.
pub(super) fn between(new: &Value, old: &Value) -> String {
    let mut out = String::new();
    walk(&mut out, "", new, old);
    out
}

fn walk(out: &mut String, path: &str, new: &Value, old: &Value) {
    let null = Value::Null;
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            for name in b.keys().chain(a.keys().filter(|name| !b.contains_key(*name))) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let (a, b) = (a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null));
                if !same(a, b) {
                    walk(out, &path, a, b);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                if !same(a, b) {
                    walk(out, &format!("{path}[{i}]"), a, b);
                }
            }
        }
        (a, b) => {
            for (sign, value) in [('-', b), ('+', a)] {
                if !value.is_null() {
                    out.push_str(&format!("{sign} {path}: {value}\n"));
                }
            }
        }
    }
}
