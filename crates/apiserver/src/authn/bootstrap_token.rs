//! Bootstrap tokens, with which new nodes introduce themselves: Secrets of a type of their own in
//! `kube-system`. <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::bootstrap_token::{GROUP, TYPE};
pub use component::bootstrap_token::{NAME_PREFIX, NAMESPACE, parse};
use machinery::time::Timestamp;
use machinery::{Value, meta, time};
use ring::digest::{SHA256, digest};

use super::user::User;

/// What the names of the tokens' users begin with.
const USER_PREFIX: &str = "system:bootstrap:";

/// Whom a token with this id and secret stands for, by the Secret that is kept for the id.
#[must_use]
pub fn user(kept: &Value, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    let field = |name: &str| {
        let encoded = kept.get("data")?.get(name)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    let is_token = kept.get("type").and_then(Value::as_str) == Some(TYPE);
    if !is_token || meta::deletion_timestamp(kept).is_some() {
        return None;
    }
    // Digests are compared, so that time tells nothing of the secret.
    let same = |a: &str, b: &str| {
        digest(&SHA256, a.as_bytes()).as_ref() == digest(&SHA256, b.as_bytes()).as_ref()
    };
    if !same(&field("token-secret")?, secret) || field("token-id")? != id {
        return None;
    }
    if let Some(expiration) = field("expiration") {
        // What cannot be read has passed.
        time::parse(&expiration).filter(|expiration| *expiration > now)?;
    }
    if field("usage-bootstrap-authentication")? != "true" {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in field("auth-extra-groups").unwrap_or_default().split(',') {
        if group.is_empty() {
            continue;
        }
        let rest = group.strip_prefix(GROUP)?.strip_prefix(':')?;
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = !rest.is_empty()
            && rest.bytes().all(|byte| inner(byte) || matches!(byte, b':' | b'-'))
            && rest.bytes().next_back().is_some_and(inner);
        if !fits {
            return None;
        }
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    Some(User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() }.authenticated())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn check(changes: &[(&str, Option<&str>)], want: Option<&[&str]>) {
        let mut data = json!({
            "token-id": STANDARD.encode("abcdef"),
            "token-secret": STANDARD.encode(SECRET),
            "usage-bootstrap-authentication": STANDARD.encode("true"),
        });
        for (name, value) in changes {
            data[name] = value.map_or(Value::Null, |value| STANDARD.encode(value).into());
        }
        let kept = json!({"metadata": {}, "type": TYPE, "data": data});
        let user = user(&kept, "abcdef", SECRET, time::parse("2026-06-01T00:00:00Z").unwrap());
        let groups = user.map(|user| {
            assert_eq!(user.name, "system:bootstrap:abcdef");
            user.groups
        });
        let want = want.map(|w| w.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>());
        assert_eq!(groups, want, "{changes:?}");
    }

    #[test]
    fn tokens_are_good_as_long_as_their_secrets_say() {
        const PLAIN: [&str; 2] = ["system:bootstrappers", "system:authenticated"];
        check(&[], Some(&PLAIN));
        check(&[("token-secret", Some("0123456789abcdee"))], None);
        check(&[("token-secret", None)], None);
        check(&[("token-id", Some("abcdeg"))], None);
        check(&[("usage-bootstrap-authentication", Some("false"))], None);
        check(&[("usage-bootstrap-authentication", None)], None);
        check(&[("expiration", Some("2026-06-01T00:00:01Z"))], Some(&PLAIN));
        check(&[("expiration", Some("2026-06-01T00:00:00Z"))], None);
        check(&[("expiration", Some("soon"))], None);
        let joined = ["system:bootstrappers", "system:bootstrappers:a:b-c", "system:authenticated"];
        check(&[("auth-extra-groups", Some("system:bootstrappers:a:b-c"))], Some(&joined));
        check(&[("auth-extra-groups", Some("system:masters"))], None);
        check(&[("auth-extra-groups", Some("system:bootstrappers:a-"))], None);
    }

    #[test]
    fn other_secrets_are_no_tokens() {
        let kept = json!({"type": "Opaque", "data": {
            "token-id": STANDARD.encode("abcdef"), "token-secret": STANDARD.encode(SECRET),
            "usage-bootstrap-authentication": STANDARD.encode("true"),
        }});
        assert_eq!(user(&kept, "abcdef", SECRET, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn tokens_have_a_form() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", SECRET)));
        for bad in ["abcdef", "abcde.0123456789abcdef", "ABCDEF.0123456789abcdef", "abcdef.0", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
