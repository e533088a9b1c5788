//! `$(NAME)` references in values, commands and arguments.

use std::collections::BTreeSet;

/// Replaces references to the variables of `env`; unknown ones stay as they are, `$$` is a dollar.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    expand_with(text, |name| find(env, name))
}

/// As [`expand`], for texts that need every variable: without one that has a value it fails with the
/// names of those, in order.
pub fn expand_all(text: &str, env: &[(String, String)]) -> Result<String, BTreeSet<String>> {
    let mut missing = BTreeSet::new();
    let expanded = expand_with(text, |name| {
        let value = find(env, name).filter(|value| !value.is_empty());
        if value.is_none() {
            missing.insert(name.to_owned());
        }
        value
    });
    if missing.is_empty() { Ok(expanded) } else { Err(missing) }
}

fn find<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

pub(super) fn expand_with<'a>(
    text: &str,
    mut lookup: impl FnMut(&str) -> Option<&'a str>,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) =
            after.strip_prefix('(').and_then(|body| body.split_once(')'))
        {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_as_upstream_replaces_them() {
        let env = [("VAR_A".to_owned(), "A".to_owned()), ("EMPTY".to_owned(), String::new())];
        let check = |text: &str, expected: &str| assert_eq!(expand(text, &env), expected, "{text}");
        check("$(VAR_A)", "A");
        check("x-$(VAR_A)-$(VAR_A)", "x-A-A");
        check("$(UNKNOWN)", "$(UNKNOWN)");
        check("$$(VAR_A)", "$(VAR_A)");
        check("$$$(VAR_A)", "$A");
        check("$$$$(VAR_A)", "$$(VAR_A)");
        check("a$(EMPTY)b", "ab");
        check("$VAR_A", "$VAR_A");
        check("$(VAR_A", "$(VAR_A");
        check("cost: 5$", "cost: 5$");
        check("$()", "$()");
    }

    #[test]
    fn a_reference_to_nothing_fails_where_all_are_needed() {
        let env = [("VAR_A".to_owned(), "A".to_owned()), ("EMPTY".to_owned(), String::new())];
        assert_eq!(expand_all("x/$(VAR_A)", &env), Ok("x/A".to_owned()));
        let missing = expand_all("$(UNKNOWN)/$(VAR_A)/$(EMPTY)", &env).unwrap_err();
        assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["EMPTY", "UNKNOWN"]);
    }
}
