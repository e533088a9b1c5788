//! The members of the cluster's etcd, through the API server, which alone touches the store: a
//! control plane that joins is made a member that learns before it has a vote, and one that leaves is
//! removed, or the others would count on it for ever.

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
pub(super) struct Known {
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
async fn list(client: &Client) -> Result<Vec<Known>, HostError> {
    ask(client, Method::GET, PATH).await
}

/// Makes the member at `url` known to the others, unless it is already and has not started yet, and
/// gives its number and all members. Tried again for as long as the caller waits: the others agree to
/// a change only when they have been in touch for some seconds.
pub(super) async fn add(client: &Client, url: &str) -> Result<(String, Vec<Known>), HostError> {
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
pub(super) async fn leave(client: &Client, name: &str) -> Result<bool, HostError> {
    insist(async || {
        let all = list(client).await?;
        let Some(own) = all.iter().find(|member| member.name == name && all.len() > 1) else {
            return Ok(Some(false));
        };
        // Not asked about again: this host's own API server has nobody to ask any more.
        remove(client, &own.id).await.map(|()| Some(true))
    })
    .await
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
pub(super) fn joining(all: &[Known], name: &str, url: &str, image: String) -> Member {
    let members = all.iter().flat_map(|member| {
        member.peer_urls.iter().map(move |known| {
            let own = if known == url { name } else { &member.name };
            (own, known.clone())
        })
    });
    Member { image, initial_cluster: etcd::initial_cluster(members), joins: true }
}

/// Gives a member a vote, once it has learned what the others hold.
pub(super) async fn promote(client: &Client, id: &str) -> Result<bool, HostError> {
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
}
