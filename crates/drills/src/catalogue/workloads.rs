//! Pods and Deployments are deleted.

use std::time::Duration;

use crate::drill::{Drill, Needs};
use crate::failure::Outcome;
use crate::sight::Pods;
use crate::stage::Stage;
use crate::workload::Workload;

/// How long something must not happen for it to count as not happening.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

pub(super) const POD_DELETED: Drill = Drill {
    name: "pod-deleted",
    purpose: "a Pod that belongs to nobody is gone for good when it is deleted",
    done: "a bare Pod is deleted",
    seen: "it ends, and nothing comes in its place",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(pod_deleted(stage)),
};

async fn pod_deleted(stage: &mut Stage) -> Outcome {
    stage.create(&Workload::pod("lonely")).await?;
    let pod = stage.figure("start").see("it runs", |now| now.pods("lonely").exactly(1)?.ready());
    let pod = pod.await?;
    stage.delete(&pod).await?;
    stage.figure("end").see("it is gone", |now| now.pods("lonely").none()).await?;
    stage.stays("nothing comes in its place", LONG_ENOUGH, |now| now.pods("lonely").none()).await
}

pub(super) const DEPLOYMENT_POD_DELETED: Drill = Drill {
    name: "deployment-pod-deleted",
    purpose: "a Deployment replaces a Pod that is deleted by another one",
    done: "one of three Pods of a Deployment is deleted",
    seen: "another Pod, with a name and UID of its own, runs in its place; the other two stay",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(deployment_pod_deleted(stage)),
};

async fn deployment_pod_deleted(stage: &mut Stage) -> Outcome {
    stage.create(&Workload::deployment("web", 3)).await?;
    let before = stage.see("its Pods run", |now| now.pods("web").exactly(3)?.ready()).await?;
    let victim = before.first();
    stage.delete(&victim).await?;
    stage
        .figure("replacement")
        .see("a new Pod runs, with another name", |now| {
            let new = now.pods("web").except(&before).exactly(1)?.ready()?;
            if new.names() == victim.names() { Err("it has the old name".into()) } else { Ok(new) }
        })
        .await?;
    stage
        .see("the old one is gone, the others are as they were", |now| {
            let others = before.except(&victim);
            now.pods("web").among(&victim).none()?;
            now.pods("web").among(&others).ready()?.same_containers_as(&others)
        })
        .await
        .map(drop)
}

/// As many as two workers take beside what runs there.
const MANY: usize = 100;

pub(super) const HUNDRED_PODS_DELETED: Drill = Drill {
    name: "hundred-pods-deleted",
    purpose: "a Deployment replaces a hundred Pods that are deleted at once",
    done: "all 100 Pods of a Deployment are deleted at once",
    seen: "100 other Pods run, and never more than were asked for",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(hundred_pods_deleted(stage)),
};

async fn hundred_pods_deleted(stage: &mut Stage) -> Outcome {
    stage.create(&Workload::deployment("many", MANY)).await?;
    let before = stage
        .figure("start of 100")
        .see("its Pods run", |now| now.pods("many").exactly(MANY)?.ready())
        .await?;
    stage.delete(&before).await?;
    stage
        .figure("replacement of 100")
        .see("100 others run", |now| {
            now.pods("many").among(&before).none()?;
            now.pods("many").exactly(MANY)?.ready()
        })
        .await?;
    stage
        .stays("there are just as many as were asked for", LONG_ENOUGH, |now| {
            now.pods("many").exactly(MANY)?.ready()
        })
        .await
        .map(drop)
}

pub(super) const DEPLOYMENT_DELETED: Drill = Drill {
    name: "deployment-deleted",
    purpose: "a Deployment that is deleted takes its Pods along",
    done: "a Deployment with Pods is deleted",
    seen: "its ReplicaSet and all its Pods end, and nothing comes in their place",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(deployment_deleted(stage)),
};

async fn deployment_deleted(stage: &mut Stage) -> Outcome {
    stage.create(&Workload::deployment("web", 5)).await?;
    stage.see("its Pods run", |now| now.pods("web").exactly(5)?.ready()).await?;
    stage.delete_deployment("web").await?;
    stage
        .figure("end")
        .see("ReplicaSet and Pods are gone", |now| {
            now.no_replica_sets()?;
            now.pods("web").none()
        })
        .await?;
    stage
        .stays("nothing comes in their place", LONG_ENOUGH, |now| {
            now.no_replica_sets()?;
            now.pods("web").none()
        })
        .await
}

/// Used by drills that need a Deployment of which every Pod runs.
pub(super) async fn running(stage: &mut Stage, workload: &Workload, count: usize) -> Outcome<Pods> {
    stage.create(workload).await?;
    let name = workload.name;
    stage.see("its Pods run", |now| now.pods(name).exactly(count)?.ready()).await
}
