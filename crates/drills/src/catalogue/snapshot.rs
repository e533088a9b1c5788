//! The cluster goes back to an earlier state.

use super::workloads::running;
use crate::drill::{Drill, Needs};
use crate::failure::{Failure, Outcome};
use crate::stage::Stage;
use crate::workload::Workload;

pub(super) const SNAPSHOT_RESTORED: Drill = Drill {
    name: "snapshot-restored",
    purpose: "a cluster goes back to a snapshot, and everything in it follows",
    done: "a snapshot is saved; a Deployment and an object are deleted, others are made; the \
           snapshot is restored",
    seen: "the Pods deleted since are made again, those made since are removed, the Pods of both \
           times run on untouched",
    needs: Needs::TWO_WORKERS,
    script: |stage| Box::pin(snapshot_restored(stage)),
};

async fn snapshot_restored(stage: &mut Stage) -> Outcome {
    let steady = running(stage, &Workload::deployment("steady", 2), 2).await?;
    let deleted = running(stage, &Workload::deployment("deleted-since", 2), 2).await?;
    stage.create_config_map("kept").await?;
    let file = std::env::temp_dir().join(format!("{}.snapshot", stage.namespace));
    let saved = stage.ironclad(&format!("snapshot save {}", file.display())).await?;
    stage.saw("it is checked and whole", vec![saved.trim().to_owned()]);

    stage.delete_deployment("deleted-since").await?;
    stage.see("its Pods are gone", |now| now.pods("deleted-since").none()).await?;
    running(stage, &Workload::deployment("made-since", 2), 2).await?;
    stage.create_config_map("made-since").await?;

    let restored = stage.ironclad(&format!("snapshot restore {}", file.display())).await;
    // Restored or not, it is of no more use.
    std::fs::remove_file(&file).ok();
    let restored = restored?;
    stage.saw("the API server is back", restored.lines().map(str::to_owned).collect());
    stage
        .figure("convergence")
        .see("what was made since is gone, what was deleted since runs again", |now| {
            now.pods("made-since").none()?;
            // The very Pods, for which their nodes have nothing any more.
            let again = now.pods("deleted-since").among(&deleted).exactly(2)?;
            again.ready()?.other_containers_than(&deleted)
        })
        .await?;
    stage
        .see("what was there all the time was left alone", |now| {
            now.pods("steady").exactly(2)?.ready()?.same_containers_as(&steady)
        })
        .await?;
    let maps = stage.config_maps().await?;
    if maps != ["kept"] {
        let (what, instead) = ("the ConfigMaps are as they were".to_owned(), maps.join(", "));
        return Err(Failure::DidNotStay { what, instead });
    }
    stage.saw("the ConfigMaps are as they were", vec![format!("configmap/{}", maps[0])]);
    Ok(())
}
