//! A node loses power.

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
    let web = Workload::deployment("web", 2).preferring(WORKER).tolerating(2);
    let web = running(stage, &web, 2).await?;
    let db = Workload::stateful_set("db", 1).preferring(WORKER).tolerating(2);
    let db = running(stage, &db, 1).await?;
    let (lost, db) = (web.on(WORKER).exactly(2), db.on(WORKER).exactly(1));
    let (lost, db) = (stage.expect("both are on w1", lost)?, stage.expect("it is on w1", db)?);
    let node = stage.wait("the node", |now| now.node(WORKER)).await?;

    let power = Broken::power(WORKER);
    stage.break_it(power.clone()).await?;
    stage
        .figure("detection")
        .see("the node is Unknown", |now| {
            let silent = "Kubelet stopped posting node status.";
            let node = now.node(WORKER)?;
            let node = node.condition("Ready", "Unknown", "NodeStatusUnknown", silent)?;
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
