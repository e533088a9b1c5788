//! The cluster gets another release.

use super::workloads::running;
use crate::drill::{Condition, Drill, Needs};
use crate::failure::Outcome;
use crate::sight::{NodeSight, Seen};
use crate::stage::Stage;
use crate::workload::Workload;

pub(super) const UPGRADED: Drill = Drill {
    name: "upgraded",
    purpose: "a cluster gets the next release, and no container of its users is restarted",
    done: "a release too far is tried, then the next one; both are copies of this program that call \
           themselves so",
    seen: "the one too far is refused; with the next one the API server comes first, then the rest \
           of the control plane, then kubelet after kubelet; the users' containers and the \
           container runtimes are the ones they were, and there is no way back",
    needs: Needs { condition: Condition::Spent, ..Needs::TWO_WORKERS },
    script: |stage| Box::pin(upgraded(stage)),
};

/// What `upgrade apply` has to say, in this order.
const ORDER: [&str; 6] = [
    "m1: upgrading kube-apiserver",
    "m1: upgrading kube-controller-manager, kube-scheduler",
    "m1: restarting the kubelet",
    "upgrading kube-proxy and kube-dns",
    "w1: restarting the kubelet",
    "w2: restarting the kubelet",
];

async fn upgraded(stage: &mut Stage) -> Outcome {
    let release = component::version::release();
    let [next, far] = [1, 2].map(|further| later(release, further));
    let web = running(stage, &Workload::deployment("web", 4), 4).await?;
    let nodes: Vec<_> = stage.view.nodes().iter().filter_map(|n| n.metadata.name.clone()).collect();
    let versions = |version: &str| {
        let (nodes, version) = (nodes.clone(), version.to_owned());
        move |now: &crate::view::View| -> Seen<Vec<NodeSight>> {
            let node = |node: &String| now.node(node)?.ready()?.version(&version);
            nodes.iter().map(node).collect()
        }
    };
    stage.see("every node has this release", versions(release)).await?;
    let runtimes = stage.services().await?;

    let too_far = stage.release(&far)?;
    let refused = stage.refused(Some(&too_far), "upgrade apply").await?;
    stage.expect("it is refused", saying(&refused, "is too high"))?;
    drop(too_far);

    let program = stage.release(&next)?;
    let plan = stage.with_release(&program, "upgrade plan").await?;
    stage.expect("it says what would be done", saying(&plan, &next))?;
    let said = stage.with_release(&program, "upgrade apply").await?;
    stage.figure("upgrade");
    stage.saw("it is through", Vec::new());
    stage.expect("part after part, in order", in_order(&said, &ORDER))?;
    stage.see("every node has the new release", versions(&next)).await?;
    let image = format!(":{next}");
    stage
        .see("so have the control plane and the add-ons", |now| {
            now.system_pods().ready()?.with_images(&image)
        })
        .await?;
    stage
        .see("the users' containers were not restarted", |now| {
            now.pods("web").exactly(4)?.ready()?.same_containers_as(&web)
        })
        .await?;
    let is_runtime = |service: &&String| service.contains("containerd");
    let (before, now) = (runtimes, stage.services().await?);
    let same = before.iter().filter(is_runtime).eq(now.iter().filter(is_runtime));
    let same = if same { Ok(()) } else { Err(format!("{before:?} before and {now:?} now")) };
    stage.expect("nor were the container runtimes", same)?;

    stage.scale("web", 6).await?;
    let web =
        stage.see("all of it does its work", |now| now.pods("web").exactly(6)?.ready()).await?;
    stage.kubelets_answer(&web).await?;
    let plan = stage.with_release(&program, "upgrade plan").await?;
    stage.expect("nothing is left to do", saying(&plan, "Nothing is left to upgrade."))?;
    let refused = stage.refused(None, "upgrade apply").await?;
    stage.expect("there is no way back", saying(&refused, "Downgrades are not supported"))?;
    Ok(())
}

/// A release so many minor versions later.
fn later(release: &str, further: u32) -> String {
    let (major, minor) = component::version::minor(release);
    format!("v{major}.{}.0", minor.parse::<u32>().unwrap_or_default() + further)
}

/// What was said, if `words` are in it.
fn saying(said: &str, words: &str) -> Seen<Vec<String>> {
    if said.contains(words) {
        return Ok(said.lines().filter(|line| line.contains(words)).map(str::to_owned).collect());
    }
    Err(said.to_owned())
}

/// The lines that say `wanted`, if all of it was said and in this order.
fn in_order(said: &str, wanted: &[&str]) -> Seen<Vec<String>> {
    let mut rest = said;
    for words in wanted {
        match rest.split_once(words) {
            Some((_, after)) => rest = after,
            None => return Err(format!("{words:?} is not where it should be in: {said}")),
        }
    }
    let says = |line: &&str| wanted.iter().any(|words| line.contains(words));
    Ok(said.lines().filter(says).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_matters() {
        let said = "a: one\nb: two\n";
        assert_eq!(in_order(said, &["one"]).unwrap(), ["a: one"]);
        assert!(in_order(said, &["one", "two"]).is_ok());
        assert!(in_order(said, &["two", "one"]).is_err() && in_order(said, &["one", "x"]).is_err());
        assert_eq!(saying(said, "two").unwrap(), ["b: two"]);
        assert!(saying(said, "three").is_err());
        assert_eq!(later("v1.36.4", 2), "v1.38.0");
    }
}
