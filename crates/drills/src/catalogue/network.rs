//! A node loses its network.

use super::workloads::running;
use super::{OTHER, WORKER};
use crate::drill::{Drill, Needs};
use crate::failure::Outcome;
use crate::sight::NodeSight;
use crate::stage::{Broken, Stage};
use crate::workload::Workload;

pub(super) const NETWORK_CUT: Drill = Drill {
    name: "network-cut",
    purpose: "a node that is cut off keeps what it runs, and gives up what was replaced meanwhile",
    done: "the network cable of w1 is pulled, and put in again",
    seen: "w1 is Unknown and tainted; Pods that leave a lost node are replaced, patient ones are \
           left; when the cable is in, w1 is Ready, what was replaced ends, and the patient Pod is \
           ready with the container it always had",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(network_cut(stage)),
};

async fn network_cut(stage: &mut Stage) -> Outcome {
    // So that all that is made now runs on the other one.
    stage.cordon(OTHER).await?;
    stage
        .see("it takes no Pods", |now| {
            now.node(OTHER)?.tainted("node.kubernetes.io/unschedulable", "NoSchedule")
        })
        .await?;
    let hasty = running(stage, &Workload::deployment("hasty", 2).tolerating(2), 2).await?;
    let patient = running(stage, &Workload::deployment("patient", 1).on(WORKER), 1).await?;
    stage.uncordon(OTHER).await?;
    stage.see("it takes Pods again", |now| now.node(OTHER)?.untainted()).await?;

    let cable = Broken::cable(WORKER);
    stage.break_it(cable.clone()).await?;
    stage.figure("detection").see("the node is Unknown", |now| now.node(WORKER)?.silent()).await?;
    stage
        .figure("replacement")
        .see("the hasty Pods are replaced", |now| {
            now.pods("hasty").among(&hasty).exactly(2)?.terminating()?;
            now.pods("hasty").except(&hasty).on(OTHER).exactly(2)?.ready()
        })
        .await?;
    stage
        .see("the patient one is left, and shown as not ready", |now| {
            now.pods("patient").exactly(1)?.among(&patient).exactly(1)?.not_ready()
        })
        .await?;

    stage.mend(&cable).await?;
    stage
        .figure("recovery")
        .see("the node is Ready", |now| {
            let node = now.node(WORKER).and_then(NodeSight::ready)?;
            Ok((node, now.event("Node", WORKER, "NodeReady")?))
        })
        .await?;
    stage
        .see("what was replaced has ended", |now| {
            now.node(WORKER)?.untainted()?;
            now.pods("hasty").among(&hasty).none()?;
            now.pods("hasty").exactly(2)?.ready()
        })
        .await?;
    stage
        .see("the patient Pod is ready, with the container it had", |now| {
            now.pods("patient").exactly(1)?.ready()?.same_containers_as(&patient)
        })
        .await
        .map(drop)
}
