//! The clocks of nodes jump.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use super::workloads::running;
use super::{CONTROL_PLANE, OTHER, WORKER};
use crate::drill::{Drill, Needs};
use crate::failure::Outcome;
use crate::sight::{NodeSight, Pods, Seen};
use crate::stage::{Broken, Stage};
use crate::view::View;
use crate::workload::Workload;

/// How long nothing must happen: the node controller looks every five seconds.
const LONG_ENOUGH: Duration = Duration::from_secs(15);

pub(super) const CLOCK_JUMP: Drill = Drill {
    name: "clock-jump",
    purpose: "nodes whose clocks are wrong stay in as long as certificates allow, and come back",
    done: "the clock of w1 is set two hours ahead, four minutes back and an hour back, that of m1 two \
           hours ahead, and each right again",
    seen: "leases that are renewed in the future or long ago cost nobody a Pod, since whoever watches \
           them goes by a clock of its own; certificates made just now are good for who is behind by \
           less than five minutes; who is behind by an hour makes no new connection, is lost like a \
           node that is cut off, and comes back by itself; Pods are made whatever the control plane's clock \
           says, and nothing is restarted",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(clock_jump(stage)),
};

async fn clock_jump(stage: &mut Stage) -> Outcome {
    // They would leave a lost node soon.
    let web = running(stage, &Workload::deployment("web", 4).tolerating(2), 4).await?;
    let own = stage
        .see("the control plane and the add-ons run", |now| now.system_pods().some()?.ready())
        .await?;
    let nodes: Vec<_> = stage.view.nodes().iter().filter_map(|n| n.metadata.name.clone()).collect();
    let calm = |now: &View| -> Seen<Pods> {
        for node in &nodes {
            now.node(node).and_then(NodeSight::ready).and_then(NodeSight::untainted)?;
        }
        now.system_pods().among(&own).exactly(own.len())?.same_containers_as(&own)?;
        now.pods("web").among(&web).exactly(web.len())?.ready()?.same_containers_as(&web)
    };

    stage.break_it(Broken::clock(WORKER, "2h")).await?;
    let hour = SignedDuration::from_hours(1);
    stage.lease("its lease is renewed in the future", WORKER, |ahead| ahead > hour).await?;
    stage.stays("nobody loses a Pod by it", LONG_ENOUGH, calm).await?;
    stage.scale("web", 6).await?;
    stage
        .see("new Pods run there too", |now| {
            now.pods("web").exactly(6)?.ready()?.balanced([WORKER, OTHER], 2)
        })
        .await?;
    stage.mend(&Broken::clock(WORKER, "2h")).await?;
    let near = SignedDuration::from_secs(20);
    stage.lease("its lease is renewed now", WORKER, |ahead| ahead.abs() < near).await?;

    stage.break_it(Broken::clock(WORKER, "-4m")).await?;
    let grace = SignedDuration::from_secs(60);
    stage.lease("its lease looks older than is allowed", WORKER, |ahead| ahead < -grace).await?;
    stage.stays("nobody loses a Pod by it", LONG_ENOUGH, calm).await?;
    stage.ironclad("certs renew apiserver").await?;
    stage.ironclad(&format!("service restart kubelet --node {WORKER}")).await?;
    stage.renewed("its new connections accept the new certificate", WORKER).await?;
    stage.stays("and no container is another one", LONG_ENOUGH, calm).await?;
    stage.mend(&Broken::clock(WORKER, "-4m")).await?;

    behind(stage, &web).await?;
    ahead(stage).await
}

/// The worker is behind by more than certificates are backdated.
async fn behind(stage: &mut Stage, web: &Pods) -> Outcome {
    let there = web.on(WORKER);
    let clock = Broken::clock(WORKER, "-1h");
    stage.break_it(clock.clone()).await?;
    // A connection that was made before is not looked at again, and may outlive a cut of a minute.
    stage.ironclad(&format!("service restart kubelet --node {WORKER}")).await?;
    let services = stage.services().await?;
    stage.figure("detection").see("the node is Unknown", |now| now.node(WORKER)?.silent()).await?;
    stage
        .see("its Pods are replaced", |now| {
            now.pods("web").among(&there).terminating()?;
            now.pods("web").on(OTHER).exactly(6)?.ready()
        })
        .await?;
    stage.mend(&clock).await?;
    stage
        .figure("recovery")
        .see("the node is Ready", |now| {
            now.node(WORKER).and_then(NodeSight::ready).and_then(NodeSight::untainted)
        })
        .await?;
    stage
        .see("what was replaced has ended", |now| {
            now.pods("web").among(&there).none()?;
            now.pods("web").exactly(6)?.ready()
        })
        .await?;
    let now = stage.services().await?;
    let restarted: Vec<_> = services.symmetric_difference(&now).cloned().collect();
    let same = if restarted.is_empty() { Ok(()) } else { Err(restarted.join(", ")) };
    stage.expect("no kubelet and no container runtime was restarted", same)
}

/// The control plane is ahead.
async fn ahead(stage: &mut Stage) -> Outcome {
    let clock = Broken::clock(CONTROL_PLANE, "2h");
    stage.break_it(clock.clone()).await?;
    let hour = SignedDuration::from_hours(1);
    stage.api_server_ahead("the API server follows it", hour).await?;
    let late = running(stage, &Workload::deployment("late", 2), 2).await?;
    stage.expect("they are from the future", late.clone().created_ahead(hour))?;
    stage
        .stays("no node and no Pod is lost", LONG_ENOUGH, |now| {
            for node in [CONTROL_PLANE, WORKER, OTHER] {
                now.node(node).and_then(NodeSight::ready).and_then(NodeSight::untainted)?;
            }
            now.pods("late").exactly(2)?.ready()?.same_containers_as(&late)
        })
        .await?;
    stage.kubelets_answer(&late).await?;
    stage.mend(&clock).await?;
    stage.scale("late", 4).await?;
    let late = stage
        .figure("convergence")
        .see("controllers, scheduler and kubelets go on", |now| {
            now.pods("late").exactly(4)?.ready()
        })
        .await?;
    stage.kubelets_answer(&late).await
}
