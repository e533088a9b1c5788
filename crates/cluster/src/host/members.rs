//! The members of the cluster's etcd, through the API server, which alone touches the store: a
//! control plane that joins is made a member that learns before it has a vote, and one that leaves is
//! removed, or the others would count on it for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use kube::Client;
use serde::Deserialize;

use super::HostError;
use crate::etcd::{self, Member};

/// Where members are asked about.
const PATH: &str = "/store/members";

/// Between attempts, and how many of them may fail.
const AGAIN: Duration = Duration::from_millis(500);
const FAILURES: usize = 40;

/// A member as the API server tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Known {
    /// Its number, in hexadecimal.
    id: String,
    /// Its name; empty until it has started.
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default)]
    is_learner: bool,
}

#[derive(Deserialize)]
struct All {
    members: Vec<Known>,
}

/// All members.
pub(crate) async fn list(client: &Client) -> Result<Vec<Known>, HostError> {
    ask(client, Method::GET, PATH).await
}

/// Makes the member at `url` known to the others, unless it is already and has not started yet, and
/// gives its number and all members. Tried again for as long as the caller waits: the others agree to
/// a change only when they have been in touch for some seconds.
pub(crate) async fn add(client: &Client, url: &str) -> Result<(String, Vec<Known>), HostError> {
    insist(async || {
        let all = list(client).await?;
        match find(&all, url) {
            Some(known) if known.name.is_empty() => return Ok(Some((known.id.clone(), all))),
            // What it held is gone: nothing is on this host.
            Some(known) => remove(client, &known.id).await?,
            None => ask(client, Method::POST, &format!("{PATH}?peerURL={url}")).await.map(drop)?,
        }
        Ok(None)
    })
    .await
}

/// Takes the member called `name` out, unless it is the only one; tells whether it did. Tried again
/// as with [`add`].
pub(crate) async fn leave(client: &Client, name: &str) -> Result<bool, HostError> {
    leave_if(client, |member| member.name == name).await
}

/// As [`leave`], also for one that was made known and never started: it is to be reached at `url`.
pub(crate) async fn leave_at(client: &Client, name: &str, url: &str) -> Result<bool, HostError> {
    let at = |member: &Known| member.name.is_empty() && member.peer_urls.iter().any(|u| u == url);
    leave_if(client, |member| member.name == name || at(member)).await
}

async fn leave_if(client: &Client, own: impl Fn(&Known) -> bool) -> Result<bool, HostError> {
    insist(async || {
        let all = list(client).await?;
        let Some(own) = all.iter().find(|member| own(member) && all.len() > 1) else {
            return Ok(Some(false));
        };
        // Not asked about again: this host's own API server has nobody to ask any more.
        remove(client, &own.id).await.map(|()| Some(true))
    })
    .await
}

/// Why the member called `leaving` has to stay, if the others could not go on without it; `well` are
/// the names of those that work. A majority of those that are left has to work: etcd itself asks only
/// whether the change can be agreed to.
pub(crate) fn needed(all: &[Known], leaving: &str, well: &BTreeSet<String>) -> Option<String> {
    let left = all.iter().filter(|member| !member.is_learner && member.name != leaving);
    let left: Vec<_> = left.collect();
    let majority = left.len() / 2 + 1;
    let working = left.iter().filter(|member| well.contains(&member.name)).count();
    (working < majority).then(|| {
        format!(
            "{working} of the {} members that would be left work, and {majority} have to",
            left.len()
        )
    })
}

/// Does `work` until it says that nothing is left to do. Failures are borne a number of times.
async fn insist<T>(
    mut work: impl AsyncFnMut() -> Result<Option<T>, HostError>,
) -> Result<T, HostError> {
    let mut failures = 0;
    loop {
        match work().await {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(error) if failures >= FAILURES => return Err(error),
            Err(_) => {
                failures += 1;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn find<'a>(all: &'a [Known], url: &str) -> Option<&'a Known> {
    all.iter().find(|member| member.peer_urls.iter().any(|known| known == url))
}

/// What the one at `url`, which is to be called `name`, is started with.
pub(crate) fn joining(all: &[Known], name: &str, url: &str, image: String) -> Member {
    let members = all.iter().flat_map(|member| {
        member.peer_urls.iter().map(move |known| {
            let own = if known == url { name } else { &member.name };
            (own, known.clone())
        })
    });
    Member { image, initial_cluster: etcd::initial_cluster(members), joins: true }
}

/// Gives a member a vote, once it has learned what the others hold.
pub(crate) async fn promote(client: &Client, id: &str) -> Result<bool, HostError> {
    let all = list(client).await?;
    if all.iter().any(|member| member.id == id && !member.is_learner) {
        return Ok(true);
    }
    // It is refused for as long as it has not learned enough.
    Ok(ask(client, Method::POST, &format!("{PATH}/{id}/promote")).await.is_ok())
}

/// Removes a member.
async fn remove(client: &Client, id: &str) -> Result<(), HostError> {
    ask(client, Method::DELETE, &format!("{PATH}/{id}")).await.map(drop)
}

async fn ask(client: &Client, method: Method, path: &str) -> Result<Vec<Known>, HostError> {
    let request = http::Request::builder().method(method).uri(path).body(Vec::new());
    let request = request.expect("the path is made of numbers and addresses");
    let answer: Result<All, _> = client.request(request).await;
    answer.map(|all| all.members).map_err(|source| HostError::Api {
        what: "the members of the etcd cluster",
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_is_started_with_the_names_of_the_others_and_its_own() {
        let all: All = serde_json::from_value(serde_json::json!({"members": [
            {"id": "1", "name": "a", "peerURLs": ["https://a:2380"]},
            {"id": "2", "name": "", "peerURLs": ["https://b:2380"], "isLearner": true},
        ]}))
        .unwrap();
        let member = joining(&all.members, "b", "https://b:2380", "i".to_owned());
        assert_eq!(member.initial_cluster, "a=https://a:2380,b=https://b:2380");
        assert!(member.joins);
        assert_eq!(find(&all.members, "https://b:2380").unwrap().id, "2");
    }

    #[test]
    fn nobody_leaves_whom_the_others_need() {
        let known = |name: &&str| Known {
            id: String::new(),
            name: (*name).trim_end_matches('?').to_owned(),
            peer_urls: Vec::new(),
            is_learner: name.ends_with('?'),
        };
        let check = |all: &[&str], well: &[&str], leaving: &str| {
            let all: Vec<_> = all.iter().map(known).collect();
            let well = well.iter().map(|name| (*name).to_owned()).collect();
            needed(&all, leaving, &well)
        };
        assert_eq!(check(&["a", "b", "c"], &["a", "b", "c"], "a"), None);
        // The broken one may go, and none of the others.
        assert_eq!(check(&["a", "b", "c"], &["a", "b"], "c"), None);
        let reason = check(&["a", "b", "c"], &["a", "b"], "a").unwrap();
        assert_eq!(reason, "1 of the 2 members that would be left work, and 2 have to");
        assert_eq!(check(&["a", "b"], &["a", "b"], "a"), None);
        assert!(check(&["a", "b"], &["a"], "a").is_some());
        assert!(check(&["a"], &["a"], "a").is_some());
        // One that only learns counts for nothing.
        assert!(check(&["a", "b?"], &["a", "b"], "a").is_some());
        assert_eq!(check(&["a", "b?"], &["a", "b"], "b"), None);
    }
}
