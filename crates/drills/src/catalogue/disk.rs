//! The disk of a node is full.

use super::workloads::running;
use crate::drill::{Drill, Needs};
use crate::failure::Outcome;
use crate::sight::NodeSight;
use crate::stage::{Broken, Stage};
use crate::workload::Workload;

/// What the kubelet and the container runtime fill.
const FOLDER: &str = "/var/lib";
const CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";

pub(super) const DISK_FULL: Drill = Drill {
    name: "disk-full",
    purpose: "a node whose disk is full says so, gets no Pods and gives up those it has",
    done: "a node with a small disk of its own is added; a file fills the disk, and is removed again",
    seen: "the node reports DiskPressure and is tainted, the kubelet tries to free space and then \
           evicts the Pod, whose replacement waits; when there is space again it runs",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(disk_full(stage)),
};

async fn disk_full(stage: &mut Stage) -> Outcome {
    let name = stage.add_node("--disk 4Gi").await?;
    let node = name.as_str();
    // Five minutes by default: a node that had pressure is trusted again only after that.
    stage.append(node, CONFIGURATION, "evictionPressureTransitionPeriod: 5s")?;
    stage.ironclad(&format!("service restart kubelet --node {node}")).await?;
    stage.see("the node is Ready", |now| now.node(node).and_then(NodeSight::ready)).await?;
    let web = running(stage, &Workload::deployment("web", 1).on(node), 1).await?;

    stage.fill(node, FOLDER, 4)?;
    stage
        .figure("detection")
        .see("the node has DiskPressure", |now| {
            let pressure = "kubelet has disk pressure";
            let node_now = now.node(node)?;
            let seen =
                node_now.condition("DiskPressure", "True", "KubeletHasDiskPressure", pressure)?;
            Ok((seen, now.event("Node", node, "NodeHasDiskPressure")?))
        })
        .await?;
    stage
        .see("it is tainted, and the kubelet tries to free space", |now| {
            let seen = now.node(node)?.tainted("node.kubernetes.io/disk-pressure", "NoSchedule")?;
            let event = now.event("Node", node, "EvictionThresholdMet")?;
            Ok((seen, event.saying("Attempting to reclaim ephemeral-storage")?))
        })
        .await?;
    stage
        .figure("eviction")
        .see("the Pod is evicted, and its replacement waits for a node", |now| {
            let evicted = now.pods("web").among(&web).exactly(1)?.failed("Evicted")?;
            let waiting = now.pods("web").alive().exactly(1)?.pending()?.unassigned()?;
            let event = now.event_about_each(&web, "Evicted")?;
            let event = event.saying("The node was low on resource: ephemeral-storage.")?;
            Ok((evicted, waiting, event))
        })
        .await?;

    stage.empty(node, FOLDER)?;
    stage
        .figure("recovery")
        .see("the pressure is over", |now| {
            let over = "kubelet has no disk pressure";
            let seen = now.node(node)?;
            seen.condition("DiskPressure", "False", "KubeletHasNoDiskPressure", over)?.untainted()
        })
        .await?;
    stage.see("the replacement runs", |now| now.pods("web").alive().exactly(1)?.ready()).await?;
    stage.mend(&Broken::Added { node: name.clone() }).await
}
