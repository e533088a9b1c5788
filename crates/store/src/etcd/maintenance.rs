//! How much room the cluster's members take, their alarms, and what is left of leases.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::transport::Channel;

use super::failure::{Failure, Refusal, unavailable};
use super::members::Repeat;
use super::wire::alarm_request::AlarmAction;
use super::wire::lease_client::LeaseClient;
use super::wire::maintenance_client::MaintenanceClient;
use super::{PROBE, Shared, watch, wire};
use crate::snapshot::Lease;
use crate::types::{Alarm, Error, LeaseId, Status};

/// For a member to write its file anew.
const DEFRAGMENTING: Duration = Duration::from_secs(600);

impl Shared {
    pub(super) async fn status(self: &Arc<Self>) -> Result<Status, Error> {
        let status = self.members.call(Repeat::Always, |channel| async move {
            MaintenanceClient::new(channel).status(wire::StatusRequest {}).await
        });
        let status = status.await.map_err(Failure::into_error)?;
        let alarms = self.alarms().await?;
        let mut kinds = Vec::new();
        for alarm in &alarms {
            let kind = match alarm.alarm() {
                wire::AlarmType::None => continue,
                wire::AlarmType::Nospace => Alarm::NoSpace,
                wire::AlarmType::Corrupt => Alarm::Corrupt,
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Ok(Status {
            engine: "etcd",
            revision: self.revision().await?,
            allocated_bytes: wire::unsigned(status.db_size),
            used_bytes: wire::unsigned(status.db_size_in_use),
            quota_bytes: None,
            alarms: kinds,
        })
    }

    /// The compacted revision, which only a refusal tells.
    pub(super) async fn compacted(&self) -> Result<u64, Error> {
        let request = wire::RangeRequest {
            key: Bytes::from_static(PROBE),
            revision: 1,
            count_only: true,
            ..wire::RangeRequest::default()
        };
        match self.read_range(request).await {
            Ok(_) => Ok(0),
            Err(Failure::Refused(Refusal::Compacted)) => watch::compacted(self, 1).await,
            Err(failure) => Err(failure.into_error()),
        }
    }

    pub(super) async fn leases(&self, ids: Vec<LeaseId>) -> Result<Vec<Lease>, Error> {
        let mut leases = Vec::new();
        for id in ids {
            let asked = self.members.call(Repeat::Always, |channel| async move {
                let request = wire::LeaseTimeToLiveRequest { id: id.0.cast_signed() };
                LeaseClient::new(channel).lease_time_to_live(request).await
            });
            let told = asked.await.map_err(Failure::into_error)?;
            // One that is not there any more has -1 left.
            if let Ok(left) = u64::try_from(told.ttl) {
                let ttl = Duration::from_secs(wire::unsigned(told.granted_ttl));
                leases.push(Lease { id, ttl, remaining: Duration::from_secs(left) });
            }
        }
        Ok(leases)
    }

    /// Has every member write its file anew, one after the other: each serves nobody meanwhile.
    /// Then their alarms end; whoever has too little room still raises it with the next write.
    pub(super) async fn defragment(&self) -> Result<(), Error> {
        for (_, channel) in self.each_member().await? {
            let mut client = MaintenanceClient::new(channel);
            let asked = client.defragment(wire::DefragmentRequest {});
            match tokio::time::timeout(DEFRAGMENTING, asked).await {
                Ok(answer) => answer.map_err(|status| unavailable(&status))?,
                Err(_) => return Err(Error::Unavailable("context deadline exceeded".to_owned())),
            };
        }
        for alarm in self.alarms().await? {
            let request = wire::AlarmRequest {
                action: AlarmAction::Deactivate.into(),
                member_id: alarm.member_id,
                alarm: alarm.alarm,
            };
            self.alarm(request).await?;
        }
        Ok(())
    }

    async fn alarms(&self) -> Result<Vec<wire::AlarmMember>, Error> {
        let request = wire::AlarmRequest {
            action: AlarmAction::Get.into(),
            member_id: 0,
            alarm: wire::AlarmType::None.into(),
        };
        Ok(self.alarm(request).await?.alarms)
    }

    async fn alarm(&self, request: wire::AlarmRequest) -> Result<wire::AlarmResponse, Error> {
        let asked = self.members.call(Repeat::Always, |channel: Channel| async move {
            MaintenanceClient::new(channel).alarm(request).await
        });
        asked.await.map_err(Failure::into_error)
    }
}
