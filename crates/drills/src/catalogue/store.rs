//! The API server, and with it the store, is killed while it is being written to.

use std::time::Duration;

use super::CONTROL_PLANE;
use super::workloads::running;
use crate::drill::{Drill, Needs};
use crate::failure::{Failure, Outcome};
use crate::load::{Ledger, Writers};
use crate::stage::{Broken, Stage};
use crate::workload::Workload;

const API_SERVER: &str = "kube-apiserver";
/// How its command line begins.
const COMMAND: &str = "/ironclad kube-apiserver";
/// Writes between two deaths.
const WRITES: u64 = 200;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) const API_SERVER_KILLED: Drill = Drill {
    name: "api-server-killed",
    purpose: "the API server is killed under load, comes back, and everybody goes on",
    done: "the API server is killed with signal 9 while eight clients write",
    seen: "its kubelet starts it again; Pods ran on meanwhile; a Deployment that is scaled then gets \
           its Pods; whatever was acknowledged is there",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(api_server_killed(stage)),
};

async fn api_server_killed(stage: &mut Stage) -> Outcome {
    let web = running(stage, &Workload::deployment("web", 2), 2).await?;
    forget_crashes(stage).await?;
    let mut writers = Writers::start(&stage.client, &stage.namespace);
    written(stage, &mut writers).await?;
    kill_and_return(stage).await?;
    stage.scale("web", 4).await?;
    stage
        .figure("scaling after")
        .see("the controllers go on: four Pods run", |now| now.pods("web").exactly(4)?.ready())
        .await?;
    stage
        .see("the first two were not touched", |now| {
            now.pods("web").among(&web).exactly(2)?.same_containers_as(&web)
        })
        .await?;
    written(stage, &mut writers).await?;
    let ledger = writers.stop().await;
    nothing_lost(stage, &ledger).await
}

pub(super) const STORE_KILLED: Drill = Drill {
    name: "store-killed",
    purpose: "the store is killed in the middle of writes and loses nothing that it acknowledged",
    done: "the process that holds the store is killed with signal 9, twice, while eight clients write",
    seen: "each acknowledged object is there with its newest acknowledged content, revisions never \
           went back, and a snapshot of the store has the right checksum",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(store_killed(stage)),
};

async fn store_killed(stage: &mut Stage) -> Outcome {
    let mut writers = Writers::start(&stage.client, &stage.namespace);
    for _ in 0..2 {
        forget_crashes(stage).await?;
        written(stage, &mut writers).await?;
        kill_and_return(stage).await?;
    }
    written(stage, &mut writers).await?;
    let ledger = writers.stop().await;
    nothing_lost(stage, &ledger).await?;
    let folder = std::env::temp_dir().join(format!("{}.snapshot", stage.namespace));
    let file = folder.display().to_string();
    let saved = stage.ironclad(&format!("snapshot save {file}")).await;
    // One that was not written leaves nothing to remove.
    std::fs::remove_file(&folder).ok();
    let saved = saved?;
    stage.saw("the store is read whole and is right", vec![saved.trim().to_owned()]);
    Ok(())
}

/// A container that crashed a short while ago is started again only after a pause, of which the
/// kubelet alone knows: without it every run of this drill would take longer than the one before.
async fn forget_crashes(stage: &mut Stage) -> Outcome {
    let kubelet = Broken::service("kubelet", CONTROL_PLANE);
    stage.break_it(kubelet.clone()).await?;
    stage.mend(&kubelet).await
}

async fn written(stage: &mut Stage, writers: &mut Writers) -> Outcome {
    let what = format!("{WRITES} further writes are acknowledged");
    if !writers.further(WRITES, PATIENCE).await {
        let instead = format!("{} in all", writers.count());
        return Err(Failure::NotSeen { what, within: PATIENCE, instead });
    }
    stage.saw(&what, vec![format!("{} in all", writers.count())]);
    Ok(())
}

async fn kill_and_return(stage: &mut Stage) -> Outcome {
    let before = stage
        .wait("the API server's Pod", |now| now.static_pod(API_SERVER, CONTROL_PLANE).exactly(1))
        .await?;
    stage.kill(CONTROL_PLANE, COMMAND)?;
    stage.figure("recovery").api_answers().await?;
    stage
        .see("its container was started again", |now| {
            let pod = now.static_pod(API_SERVER, CONTROL_PLANE).exactly(1)?.ready()?;
            match pod.restarts() > before.restarts() {
                true => Ok(pod),
                false => Err(format!("it has {} restarts, as before", pod.restarts())),
            }
        })
        .await
        .map(drop)
}

async fn nothing_lost(stage: &mut Stage, ledger: &Ledger) -> Outcome {
    let what = "everything that was acknowledged is there";
    let missing = ledger.missing(&stage.client, &stage.namespace).await.map_err(|error| {
        Failure::NotDone { what: "kubectl get configmaps".into(), error: error.to_string() }
    })?;
    if !missing.is_empty() {
        let instead = missing.join("; ");
        return Err(Failure::DidNotStay { what: what.into(), instead });
    }
    stage.saw(what, vec![format!("{} objects, each as it was acknowledged", ledger.len())]);
    Ok(())
}
