//! Parts of the control plane are deleted, taken away or stopped.

use std::time::Duration;

use super::CONTROL_PLANE;
use super::workloads::running;
use crate::drill::{Drill, Needs};
use crate::failure::Outcome;
use crate::sight::{NodeSight, Pods};
use crate::stage::{Broken, Stage};
use crate::workload::Workload;

/// How long something must not happen for it to count as not happening.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
const SCHEDULER: &str = "kube-scheduler";
const CONTROLLERS: &str = "kube-controller-manager";
const API_SERVER: &str = "kube-apiserver";

async fn scheduler(stage: &mut Stage) -> Outcome<Pods> {
    stage.see("the scheduler runs", |now| now.static_pod(SCHEDULER, CONTROL_PLANE).exactly(1)).await
}

/// Waits for the scheduler's Pod to be made anew.
async fn scheduler_again(stage: &mut Stage, before: &Pods) -> Outcome {
    stage
        .figure("recovery")
        .see("it is there again, with another UID", |now| {
            let pod = now.static_pod(SCHEDULER, CONTROL_PLANE).exactly(1)?;
            pod.except(before).exactly(1)?.ready()
        })
        .await
        .map(drop)
}

pub(super) const SCHEDULER_DELETED: Drill = Drill {
    name: "scheduler-deleted",
    purpose: "a Pod of the control plane that is deleted comes back",
    done: "the Pod of the scheduler is deleted",
    seen: "its kubelet makes it again, with another UID; Pods are scheduled",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(scheduler_deleted(stage)),
};

async fn scheduler_deleted(stage: &mut Stage) -> Outcome {
    let before = scheduler(stage).await?;
    stage.delete(&before).await?;
    scheduler_again(stage, &before).await?;
    running(stage, &Workload::deployment("new", 2), 2).await.map(drop)
}

pub(super) const SCHEDULER_STOPPED: Drill = Drill {
    name: "scheduler-stopped",
    purpose: "without a scheduler new Pods wait for a node, and what runs runs on",
    done: "the scheduler is taken away, a Deployment is made, the scheduler is put back",
    seen: "the new Pods stay Pending without a node, the old ones run; once it is back all run",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(scheduler_stopped(stage)),
};

async fn scheduler_stopped(stage: &mut Stage) -> Outcome {
    let before = running(stage, &Workload::deployment("old", 2), 2).await?;
    stage.take_away(SCHEDULER, CONTROL_PLANE).await?;
    stage
        .see("the scheduler is gone", |now| now.static_pod(SCHEDULER, CONTROL_PLANE).none())
        .await?;
    stage.create(&Workload::deployment("new", 3)).await?;
    stage
        .see("the new Pods have no node", |now| now.pods("new").exactly(3)?.pending()?.unassigned())
        .await?;
    stage
        .stays("they stay so, and the old ones run", LONG_ENOUGH, |now| {
            now.pods("old").exactly(2)?.ready()?.same_containers_as(&before)?;
            now.pods("new").exactly(3)?.pending()?.unassigned()
        })
        .await?;
    stage.put_back(SCHEDULER, CONTROL_PLANE).await?;
    stage
        .figure("recovery")
        .see("the new Pods run", |now| now.pods("new").exactly(3)?.ready())
        .await
        .map(drop)
}

pub(super) const CONTROLLERS_STOPPED: Drill = Drill {
    name: "controller-manager-stopped",
    purpose: "without the controller manager nothing is replaced until it is back",
    done: "the controller manager is taken away, a Pod of a Deployment is deleted and the \
           Deployment is scaled up, the controller manager is put back",
    seen: "the Pod is gone and nothing comes; once it is back as many run as were asked for",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(controllers_stopped(stage)),
};

async fn controllers_stopped(stage: &mut Stage) -> Outcome {
    let before = running(stage, &Workload::deployment("web", 3), 3).await?;
    stage.take_away(CONTROLLERS, CONTROL_PLANE).await?;
    stage
        .see("the controller manager is gone", |now| {
            now.static_pod(CONTROLLERS, CONTROL_PLANE).none()
        })
        .await?;
    stage.delete(&before.first()).await?;
    stage.see("the Pod is gone", |now| now.pods("web").exactly(2)).await?;
    stage.scale("web", 4).await?;
    stage
        .stays("nothing comes in its place", LONG_ENOUGH, |now| now.pods("web").exactly(2)?.ready())
        .await?;
    stage.put_back(CONTROLLERS, CONTROL_PLANE).await?;
    stage
        .figure("recovery")
        .see("four Pods run", |now| now.pods("web").exactly(4)?.ready())
        .await
        .map(drop)
}

pub(super) const KUBELET_STOPPED: Drill = Drill {
    name: "control-plane-kubelet-stopped",
    purpose: "without the kubelet of its node the control plane works on, and is not brought back",
    done: "the kubelet of m1 is stopped, the scheduler's Pod is deleted, Pods are made, the kubelet \
           is started",
    seen: "the scheduler's Pod stays Terminating while the scheduler still schedules; once the \
           kubelet is back the Pod is made anew",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(kubelet_stopped(stage)),
};

async fn kubelet_stopped(stage: &mut Stage) -> Outcome {
    let before = scheduler(stage).await?;
    let kubelet = Broken::service("kubelet", CONTROL_PLANE);
    stage.break_it(kubelet.clone()).await?;
    stage.delete(&before).await?;
    stage
        .see("nobody ends it: it stays Terminating", |now| {
            now.static_pod(SCHEDULER, CONTROL_PLANE).exactly(1)?.terminating()
        })
        .await?;
    running(stage, &Workload::deployment("new", 2), 2).await?;
    stage
        .see("it is still Terminating", |now| {
            now.static_pod(SCHEDULER, CONTROL_PLANE).among(&before).exactly(1)?.terminating()
        })
        .await?;
    stage.mend(&kubelet).await?;
    scheduler_again(stage, &before).await?;
    stage.scale("new", 4).await?;
    stage.see("Pods are scheduled", |now| now.pods("new").exactly(4)?.ready()).await.map(drop)
}

pub(super) const RUNTIME_STOPPED: Drill = Drill {
    name: "control-plane-runtime-stopped",
    purpose: "without the container runtime of its node the control plane works on",
    done: "containerd of m1 is stopped, Pods are made and deleted, containerd is started",
    seen: "m1 reports Ready=False, `container runtime is down`; the API answers, Pods are scheduled, \
           replaced and run on the workers; afterwards the very containers of the control plane are \
           adopted",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(runtime_stopped(stage)),
};

async fn runtime_stopped(stage: &mut Stage) -> Outcome {
    let before = stage
        .see("the control plane runs", |now| {
            let all = [API_SERVER, CONTROLLERS, SCHEDULER];
            let pods = all.map(|name| now.static_pod(name, CONTROL_PLANE).0);
            Pods(pods.into_iter().flatten().collect()).exactly(3)?.ready()
        })
        .await?;
    let containerd = Broken::service("containerd", CONTROL_PLANE);
    stage.break_it(containerd.clone()).await?;
    stage
        .figure("detection")
        .see("the node says why it is not ready", |now| {
            let down = "container runtime is down";
            now.node(CONTROL_PLANE)?.condition("Ready", "False", "KubeletNotReady", down)
        })
        .await?;
    stage.api_answers().await?;
    let web = running(stage, &Workload::deployment("web", 2), 2).await?;
    stage.delete(&web.first()).await?;
    stage
        .see("the Pod is replaced", |now| {
            now.pods("web").except(&web).exactly(1)?.ready()?;
            now.pods("web").exactly(2)?.ready()
        })
        .await?;
    stage.mend(&containerd).await?;
    stage
        .figure("recovery")
        .see("the node is Ready", |now| now.node(CONTROL_PLANE).and_then(NodeSight::ready))
        .await?;
    stage
        .see("the control plane's containers were adopted, not restarted", |now| {
            now.system_pods().among(&before).exactly(3)?.ready()?.same_containers_as(&before)
        })
        .await
        .map(drop)
}
