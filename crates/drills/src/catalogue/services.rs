//! The kubelet and the container runtime of a worker are stopped.

use std::time::Duration;

use super::workloads::running;
use super::{OTHER, WORKER};
use crate::drill::{Drill, Needs};
use crate::failure::Outcome;
use crate::sight::NodeSight;
use crate::stage::{Broken, Stage};
use crate::workload::Workload;

/// How long something must not happen for it to count as not happening.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

pub(super) const KUBELET_STOPPED: Drill = Drill {
    name: "kubelet-stopped",
    purpose: "without its kubelet a node runs on what it runs, and starts nothing",
    done: "the kubelet of w1 is stopped, a Deployment is scaled onto that node, the kubelet is started",
    seen: "the new Pods are assigned to w1 and stay Pending; once the kubelet is back they run, and \
           the old one was not restarted",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(kubelet_stopped(stage)),
};

async fn kubelet_stopped(stage: &mut Stage) -> Outcome {
    let before = running(stage, &Workload::deployment("web", 1).on(WORKER), 1).await?;
    let kubelet = Broken::service("kubelet", WORKER);
    stage.break_it(kubelet.clone()).await?;
    stage.scale("web", 3).await?;
    stage
        .see("two more Pods are assigned to the node", |now| {
            now.pods("web").except(&before).on(WORKER).exactly(2)?.pending()
        })
        .await?;
    stage
        .stays("they stay Pending, and the first one runs", LONG_ENOUGH, |now| {
            now.pods("web").among(&before).exactly(1)?.same_containers_as(&before)?;
            now.pods("web").except(&before).on(WORKER).exactly(2)?.pending()
        })
        .await?;
    stage.mend(&kubelet).await?;
    stage
        .figure("recovery")
        .see("all three run", |now| now.pods("web").exactly(3)?.ready())
        .await?;
    stage
        .see("the first one was not restarted", |now| {
            now.pods("web").among(&before).ready()?.same_containers_as(&before)
        })
        .await
        .map(drop)
}

pub(super) const RUNTIME_STOPPED: Drill = Drill {
    name: "runtime-stopped",
    purpose: "a node whose container runtime is down says so, gets no Pods, and recovers unharmed",
    done: "containerd of w1 is stopped, a Deployment is scaled up, containerd is started, the \
           Deployment is scaled up again",
    seen: "w1 reports Ready=False, `container runtime is down`, and is tainted; every new Pod goes \
           to w2; once containerd is back the old containers are adopted, not restarted, and the \
           next Pods go to w1 until both have as many",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(runtime_stopped(stage)),
};

async fn runtime_stopped(stage: &mut Stage) -> Outcome {
    let before = running(stage, &Workload::deployment("web", 4), 4).await?;
    let adopted = stage.expect("some of them on w1", before.on(WORKER).some())?;
    let containerd = Broken::service("containerd", WORKER);
    stage.break_it(containerd.clone()).await?;
    stage
        .figure("detection")
        .see("the node says why it is not ready", |now| {
            let down = "container runtime is down";
            let node = now.node(WORKER)?.condition("Ready", "False", "KubeletNotReady", down)?;
            Ok((node, now.event("Node", WORKER, "NodeNotReady")?))
        })
        .await?;
    stage
        .see("it is tainted, and what runs there is left alone", |now| {
            let node = now.node(WORKER)?.tainted("node.kubernetes.io/not-ready", "NoSchedule")?;
            Ok((node, now.pods("web").on(WORKER).same_containers_as(&adopted)?))
        })
        .await?;
    stage.scale("web", 8).await?;
    let more = stage
        .see("every new Pod runs on the other worker", |now| {
            let new = now.pods("web").except(&before).exactly(4)?;
            new.on(OTHER).exactly(4)?.ready()
        })
        .await?;
    stage.mend(&containerd).await?;
    stage
        .figure("recovery")
        .see("the node is Ready", |now| now.node(WORKER).and_then(NodeSight::ready))
        .await?;
    stage
        .see("its containers were adopted, not restarted", |now| {
            now.pods("web").on(WORKER).ready()?.same_containers_as(&adopted)
        })
        .await?;
    stage.see("it has no taint left", |now| now.node(WORKER)?.untainted()).await?;
    stage.scale("web", 12).await?;
    stage
        .see("the next Pods go where fewer are: the balance is restored", |now| {
            now.pods("web").exactly(12)?.ready()?.balanced([WORKER, OTHER], 2)?;
            Ok(now.pods("web").except(&before).except(&more))
        })
        .await
        .map(drop)
}
