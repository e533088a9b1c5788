//! The two kinds that the replica engine serves.

use std::fmt::Debug;

use client::{Informer, Resource};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use kube::core::NamespaceResourceScope;
use machinery::selector::ParseError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plan::{Desired, Failure, Observed};
use crate::informers::Informers;
use crate::object::Meta;
use crate::selector;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// A kind that keeps a number of Pods running.
pub(crate) trait Replicated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Default
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Upstream's name of the controller, source of its events.
    const CONTROLLER: &'static str;

    fn informer(informers: &Informers) -> &Informer<Self>;
    fn desired(&self) -> Result<Desired, ParseError>;
    fn observed(&self) -> Observed;
    /// This object with another status.
    fn with_status(&self, status: &Observed) -> Self;
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";

    fn informer(informers: &Informers) -> &Informer<Self> {
        &informers.replica_sets
    }

    fn desired(&self) -> Result<Desired, ParseError> {
        let spec = self.spec.clone().unwrap_or_default();
        Ok(Desired {
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            selector: selector::compile(Some(&spec.selector))?,
            template: spec.template.unwrap_or_default(),
            generation: self.generation(),
            deleting: self.is_deleting(),
        })
    }

    fn observed(&self) -> Observed {
        let status = self.status.clone().unwrap_or_default();
        let failure = status.conditions.into_iter().flatten().find(|c| c.type_ == REPLICA_FAILURE);
        Observed {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            terminating: status.terminating_replicas.unwrap_or(-1),
            generation: status.observed_generation.unwrap_or(0),
            failure: failure.map(|c| Failure {
                reason: c.reason.unwrap_or_default(),
                message: c.message.unwrap_or_default(),
                since: c.last_transition_time,
            }),
        }
    }

    fn with_status(&self, status: &Observed) -> Self {
        let mut new = self.clone();
        let old = self.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.unwrap_or_default();
        conditions.retain(|c| c.type_ != REPLICA_FAILURE);
        conditions.extend(status.failure.clone().map(|f| ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(f.reason),
            message: Some(f.message),
            last_transition_time: f.since,
        }));
        new.status = Some(ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: Some(status.fully_labeled),
            ready_replicas: Some(status.ready),
            available_replicas: Some(status.available),
            terminating_replicas: Some(status.terminating),
            observed_generation: Some(status.generation),
            conditions: (!conditions.is_empty()).then_some(conditions),
        });
        new
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";

    fn informer(informers: &Informers) -> &Informer<Self> {
        &informers.replication_controllers
    }

    fn desired(&self) -> Result<Desired, ParseError> {
        let spec = self.spec.clone().unwrap_or_default();
        Ok(Desired {
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            selector: selector::of_map(spec.selector.as_ref()),
            template: spec.template.unwrap_or_default(),
            generation: self.generation(),
            deleting: self.is_deleting(),
        })
    }

    fn observed(&self) -> Observed {
        let status = self.status.clone().unwrap_or_default();
        let failure = status.conditions.into_iter().flatten().find(|c| c.type_ == REPLICA_FAILURE);
        Observed {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            // This kind does not report them.
            terminating: 0,
            generation: status.observed_generation.unwrap_or(0),
            failure: failure.map(|c| Failure {
                reason: c.reason.unwrap_or_default(),
                message: c.message.unwrap_or_default(),
                since: c.last_transition_time,
            }),
        }
    }

    fn with_status(&self, status: &Observed) -> Self {
        let mut new = self.clone();
        let old = self.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.unwrap_or_default();
        conditions.retain(|c| c.type_ != REPLICA_FAILURE);
        conditions.extend(status.failure.clone().map(|f| ReplicationControllerCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(f.reason),
            message: Some(f.message),
            last_transition_time: f.since,
        }));
        new.status = Some(ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: Some(status.fully_labeled),
            ready_replicas: Some(status.ready),
            available_replicas: Some(status.available),
            observed_generation: Some(status.generation),
            conditions: (!conditions.is_empty()).then_some(conditions),
        });
        new
    }
}
