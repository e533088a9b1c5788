//! Which members the cluster has, and whether they hold the same.

use std::time::Duration;

use tonic::transport::Channel;

use super::failure::{Failure, Refusal};
use super::members::Repeat;
use super::wire::cluster_client::ClusterClient;
use super::wire::maintenance_client::MaintenanceClient;
use super::{Shared, wire};
use crate::types::{Digest, Error, Member, MemberChange};

/// For a member to read all that it holds.
const READING: Duration = Duration::from_secs(60);
/// Until a member is asked again that does not have a revision yet, or another compacted one.
const AGAIN: Duration = Duration::from_millis(200);
/// How often that is done.
const TIMES: usize = 50;

impl Shared {
    /// The cluster's members, after `change`. A change that may have been made is not made again.
    pub(super) async fn change_members(
        &self,
        change: Option<MemberChange>,
    ) -> Result<Vec<Member>, Error> {
        let repeat = if change.is_some() { Repeat::Unmade } else { Repeat::Always };
        let change = &change;
        let asked = self.members.call(repeat, |channel| async move {
            let mut cluster = ClusterClient::new(channel);
            let answer = match change.clone() {
                None => cluster.member_list(wire::MemberListRequest {}).await?,
                Some(MemberChange::Add(url)) => {
                    let request =
                        wire::MemberAddRequest { peer_ur_ls: vec![url], is_learner: true };
                    let added = cluster.member_add(request).await?;
                    added.map(|added| wire::MembersResponse { members: added.members })
                }
                Some(MemberChange::Promote(id)) => {
                    cluster.member_promote(wire::MemberRequest { id }).await?
                }
                Some(MemberChange::Remove(id)) => {
                    cluster.member_remove(wire::MemberRequest { id }).await?
                }
            };
            Ok(answer)
        });
        let answer = asked.await.map_err(Failure::into_error)?;
        let member = |member: wire::Member| Member {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_ur_ls,
            client_urls: member.client_ur_ls,
            learner: member.is_learner,
        };
        Ok(answer.members.into_iter().map(member).collect())
    }

    /// Every member that has started, by name, whoever of them this store was told of.
    pub(super) async fn each_member(&self) -> Result<Vec<(String, Channel)>, Error> {
        let started = self.change_members(None).await?.into_iter().filter_map(|member| {
            let url = member.client_urls.into_iter().next()?;
            Some((member.name, url))
        });
        started.map(|(name, url)| Ok((name, self.members.connect(&url)?))).collect()
    }

    /// What each member holds, all at one revision.
    pub(super) async fn digests(&self) -> Result<Vec<Digest>, Error> {
        for _ in 0..TIMES {
            match self.digests_now().await {
                // They have not all compacted the same yet.
                Ok(digests) if digests.iter().any(|d| d.compacted != digests[0].compacted) => {}
                Err(Failure::Refused(Refusal::Future | Refusal::Compacted)) => {}
                Err(failure) => return Err(failure.into_error()),
                Ok(digests) => return Ok(digests),
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(Error::Unavailable("a member does not keep up with the others".to_owned()))
    }

    async fn digests_now(&self) -> Result<Vec<Digest>, Failure> {
        let other = |error| Failure::Refused(Refusal::Other(error));
        let revision = self.read_revision().await.map_err(other)?;
        let mut digests = Vec::new();
        for (member, channel) in self.each_member().await.map_err(other)? {
            let request = wire::HashKvRequest { revision: wire::signed(revision) };
            let mut client = MaintenanceClient::new(channel);
            let asked = tokio::time::timeout(READING, client.hash_kv(request)).await;
            let late = |_| tonic::Status::deadline_exceeded("context deadline exceeded");
            let answer = asked.map_err(late).flatten()?.into_inner();
            let compacted = wire::unsigned(answer.compact_revision);
            digests.push(Digest { member, revision, compacted, hash: answer.hash });
        }
        Ok(digests)
    }
}
