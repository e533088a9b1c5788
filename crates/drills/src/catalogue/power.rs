//! A node loses power, a worker or one of several control planes.

use super::workloads::running;
use super::{OTHER, WORKER};
use crate::drill::{Drill, Needs};
use crate::failure::Outcome;
use crate::sight::NodeSight;
use crate::stage::{Broken, Stage};
use crate::workload::Workload;

pub(super) const NODE_OFF: Drill = Drill {
    name: "node-off",
    purpose: "a node that loses power is noticed, its Pods are replaced, and it can come back",
    done: "w1 is switched off; it is declared out of service; it is switched on again",
    seen: "w1 is Unknown and tainted, its Pods are not ready and then replaced, except for that of a \
           StatefulSet, which stays Terminating until the node is declared out of service; when w1 \
           is back it is Ready, without taints and without the old Pods",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(node_off(stage)),
};

async fn node_off(stage: &mut Stage) -> Outcome {
    // So that all that is made now runs on the other one.
    stage.cordon(OTHER).await?;
    stage
        .see("it takes no Pods", |now| {
            now.node(OTHER)?.tainted("node.kubernetes.io/unschedulable", "NoSchedule")
        })
        .await?;
    let lost = running(stage, &Workload::deployment("web", 2).tolerating(2), 2).await?;
    let db = running(stage, &Workload::stateful_set("db", 1).tolerating(2), 1).await?;
    stage.uncordon(OTHER).await?;
    stage.see("it takes Pods again", |now| now.node(OTHER)?.untainted()).await?;
    let node = stage.wait("the node", |now| now.node(WORKER)).await?;

    let power = Broken::power(WORKER);
    stage.break_it(power.clone()).await?;
    stage
        .figure("detection")
        .see("the node is Unknown", |now| {
            let node = now.node(WORKER)?.silent()?;
            Ok((node, now.event("Node", WORKER, "NodeNotReady")?))
        })
        .await?;
    stage
        .see("its Pods are not ready, and their events say why", |now| {
            let pods = now.pods("web").among(&lost).not_ready()?;
            let event = now.event_about_each(&lost, "NodeNotReady")?.saying("Node is not ready")?;
            Ok((pods, event))
        })
        .await?;
    stage
        .see("it is tainted", |now| {
            let unreachable = "node.kubernetes.io/unreachable";
            now.node(WORKER)?.tainted(unreachable, "NoSchedule")?.tainted(unreachable, "NoExecute")
        })
        .await?;
    stage
        .figure("replacement")
        .see("its Pods are being deleted, and others run in their place", |now| {
            let old = now.pods("web").among(&lost).terminating()?;
            let event = now.event_about_each(&lost, "TaintManagerEviction")?;
            let new = now.pods("web").except(&lost).on(OTHER).exactly(2)?.ready()?;
            Ok((old, new, event))
        })
        .await?;
    stage
        .see(
            "the StatefulSet's Pod is Terminating, and may still run for all that is known",
            |now| now.pods("db").exactly(1)?.among(&db).exactly(1)?.terminating(),
        )
        .await?;

    stage.declare_out_of_service(WORKER).await?;
    stage
        .figure("release")
        .see("its Pods are removed, and the StatefulSet's Pod runs elsewhere", |now| {
            now.pods("web").among(&lost).none()?;
            now.pods("db").except(&db).on(OTHER).exactly(1)?.ready()
        })
        .await?;

    stage.mend(&power).await?;
    stage.mend(&Broken::OutOfService { node: WORKER.to_owned() }).await?;
    stage
        .figure("recovery")
        .see("the node has booted and is Ready", |now| {
            now.node(WORKER)?.rebooted_since(&node).and_then(NodeSight::ready)
        })
        .await?;
    stage
        .see("it has no taint, and none of the old Pods", |now| {
            now.node(WORKER)?.untainted()?;
            now.pods("web").among(&lost).none()?;
            now.pods("web").exactly(2)?.ready()
        })
        .await
        .map(drop)
}

pub(super) const CONTROL_PLANE_LOST: Drill = Drill {
    name: "control-plane-lost",
    purpose: "the loss of one of three control planes interrupts the API for seconds, and nothing else",
    done: "the control plane that has the virtual address is switched off, a Deployment is scaled up, \
           the node is switched on again",
    seen: "the API answers at the same address and others lead; the new Pods run; the node is Unknown; \
           when it is back it is Ready and its member of the store is well",
    needs: Needs::THREE_CONTROL_PLANES,
    script: |stage| Box::pin(control_plane_lost(stage)),
};

async fn control_plane_lost(stage: &mut Stage) -> Outcome {
    let before = running(stage, &Workload::deployment("web", 2), 2).await?;
    let lost = stage.leader("virtual-ip").await?;
    let node = stage.wait("the node", |now| now.node(&lost)).await?;

    let power = Broken::power(&lost);
    stage.break_it(power.clone()).await?;
    stage.figure("failover").api_answers().await?;
    for lease in ["virtual-ip", "kube-controller-manager", "kube-scheduler"] {
        stage.figure(lease).another_leads(lease, &lost).await?;
    }
    stage.scale("web", 4).await?;
    stage
        .figure("scheduling")
        .see("the new Pods run, and the old ones ran on", |now| {
            now.pods("web").among(&before).exactly(2)?.ready()?.same_containers_as(&before)?;
            now.pods("web").exactly(4)?.ready()
        })
        .await?;
    stage.figure("detection").see("the node is Unknown", |now| now.node(&lost)?.silent()).await?;

    stage.mend(&power).await?;
    stage
        .figure("recovery")
        .see("the node has booted and is Ready, and its control plane too", |now| {
            let node = now.node(&lost)?.rebooted_since(&node).and_then(NodeSight::ready)?;
            let pods = ["etcd", "kube-apiserver"].map(|name| now.static_pod(name, &lost));
            for pod in pods {
                pod.exactly(1)?.ready()?;
            }
            Ok(node)
        })
        .await?;
    stage.store_agrees().await
}
