//! The members of a shared store, for control planes that come and go: `/store/members` shows them,
//! and adds one, gives it a vote or removes it; `/store/check` tells whether they hold the same. Who
//! may do so is decided as for all of `/store/`.

use http::{Method, StatusCode};
use machinery::status::Status;
use serde_json::json;
use store::{Member, MemberChange};

use crate::http::respond::{self, Reply};
use crate::pipeline::{Call, Failure};
use crate::registry::store_failure;

/// Where they are.
const PATH: &str = "/store/members";
/// Where they are compared.
const CHECK: &str = "/store/check";

/// Answers what is asked of the members; `None` when that is not what is asked.
pub(crate) async fn answer(call: &Call<'_>) -> Option<Result<Reply, Failure>> {
    if call.info.path == CHECK {
        return Some(check(call).await);
    }
    let rest = call.info.path.strip_prefix(PATH)?;
    let url = call.query.non_empty("peerURL");
    let change = match change(&call.parts.method, rest, url)? {
        Ok(change) => change,
        Err(failure) => return Some(Err(failure)),
    };
    let members = call.api.registry.store().members(change).await;
    Some(match members {
        Ok(members) => {
            let members: Vec<_> = members.iter().map(document).collect();
            Ok(respond::json(StatusCode::OK, &json!({"members": members})))
        }
        Err(error) => Err(store_failure(&error)),
    })
}

async fn check(call: &Call<'_>) -> Result<Reply, Failure> {
    if call.parts.method != Method::GET {
        return Err(Box::new(Status::method_not_allowed()));
    }
    let digests = call.api.registry.store().digests().await;
    let digests = digests.map_err(|error| store_failure(&error))?;
    let same = digests.iter().all(|digest| digest.hash == digests[0].hash);
    let members = digests
        .iter()
        .map(|digest| json!({"name": digest.member, "hash": format!("{:08x}", digest.hash)}));
    let members: Vec<_> = members.collect();
    let revision = digests.first().map(|digest| digest.revision);
    let document = json!({"revision": revision, "same": same, "members": members});
    Ok(respond::json(StatusCode::OK, &document))
}

/// What is asked for; `None` when there is no such path.
fn change(
    method: &Method,
    rest: &str,
    url: Option<&str>,
) -> Option<Result<Option<MemberChange>, Failure>> {
    let number = |text: &str| {
        let wrong = || Status::bad_request(format!("{text:?} is not the number of a member"));
        u64::from_str_radix(text, 16).map_err(|_| Failure::from(wrong()))
    };
    let missing = || Failure::from(Status::bad_request("peerURL: Required value"));
    let refused = || Failure::from(Status::method_not_allowed());
    let words: Vec<&str> = rest.split('/').skip(1).collect();
    Some(match (words.as_slice(), method) {
        (_, _) if !rest.is_empty() && !rest.starts_with('/') => return None,
        ([], &Method::GET) => Ok(None),
        ([], &Method::POST) => {
            url.map(|url| Some(MemberChange::Add(url.to_owned()))).ok_or_else(missing)
        }
        ([id], &Method::DELETE) => number(id).map(|id| Some(MemberChange::Remove(id))),
        ([id, "promote"], &Method::POST) => number(id).map(|id| Some(MemberChange::Promote(id))),
        ([] | [_] | [_, "promote"], _) => Err(refused()),
        _ => return None,
    })
}

fn document(member: &Member) -> serde_json::Value {
    json!({
        "id": format!("{:x}", member.id),
        "name": member.name,
        "peerURLs": member.peer_urls,
        "clientURLs": member.client_urls,
        "isLearner": member.learner,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_say_what_is_to_change() {
        let check = |method: Method, rest: &str, want: Result<Option<MemberChange>, u16>| {
            let got = change(&method, rest, Some("https://a:2380")).unwrap();
            let got = got.map_err(|status| status.code);
            assert_eq!(got, want, "{method} {rest}");
        };
        check(Method::GET, "", Ok(None));
        check(Method::POST, "", Ok(Some(MemberChange::Add("https://a:2380".into()))));
        check(Method::DELETE, "/1f", Ok(Some(MemberChange::Remove(31))));
        check(Method::POST, "/1f/promote", Ok(Some(MemberChange::Promote(31))));
        check(Method::DELETE, "/xyz", Err(400));
        check(Method::DELETE, "", Err(405));
        check(Method::GET, "/1f", Err(405));
        assert!(change(&Method::POST, "", None).unwrap().is_err());
        assert!(change(&Method::GET, "hip", None).is_none());
        assert!(change(&Method::GET, "/1/2/3", None).is_none());
    }
}
