//! Certificates are close to their end.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::workloads::running;
use crate::drill::{Condition, Drill, Needs};
use crate::failure::Outcome;
use crate::sight::{NodeSight, Pods, Seen};
use crate::stage::Stage;
use crate::workload::Workload;

pub(super) const CERTIFICATES_RENEWED: Drill = Drill {
    name: "certificates-renewed",
    purpose: "certificates that are about to end are renewed, and nothing is restarted by it",
    done: "nothing but waiting, on a cluster whose certificates end after two minutes",
    seen: "every certificate gets a later end, those of kubelets through \
           CertificateSigningRequests; when the old ones have ended, every container, kubelet and \
           container runtime is the one it was, and all of them still do their work",
    needs: Needs { condition: Condition::Ending, ..Needs::TWO_WORKERS },
    script: |stage| Box::pin(certificates_renewed(stage)),
};

async fn certificates_renewed(stage: &mut Stage) -> Outcome {
    let web = running(stage, &Workload::deployment("web", 2), 2).await?;
    let own = stage
        .see("the control plane and the add-ons run", |now| now.system_pods().some()?.ready())
        .await?;
    let services = stage.services().await?;
    let asked = stage.issued().await?;
    let first = stage.certificates("every certificate ends soon").await?;

    stage
        .figure("renewal")
        .certificates_after("every certificate has been renewed, and none is wrong", &first)
        .await?;
    let mut requests = stage.issued().await?;
    requests.retain(|name, _| !asked.contains_key(name));
    let nodes: Vec<_> = stage.view.nodes().iter().filter_map(|n| n.metadata.name.clone()).collect();
    stage.expect("every kubelet asked for both of its own", both_each(&requests, &nodes))?;

    let left = first.last().duration_since(Timestamp::now());
    let untouched = |now: &crate::view::View| -> Seen<Pods> {
        for node in &nodes {
            now.node(node).and_then(NodeSight::ready)?;
        }
        now.system_pods().among(&own).exactly(own.len())?.same_containers_as(&own)?;
        now.pods("web").exactly(2)?.ready()?.same_containers_as(&web)
    };
    let ended =
        "the old ones have ended, every node is Ready and every container is the one it was";
    stage.stays(ended, left.try_into().unwrap_or_default(), untouched).await?;
    let now = stage.services().await?;
    let restarted: Vec<_> = services.symmetric_difference(&now).cloned().collect();
    let same = if restarted.is_empty() { Ok(()) } else { Err(restarted.join(", ")) };
    stage.expect("so is every kubelet and container runtime", same)?;

    stage.scale("web", 4).await?;
    let web = stage
        .see("controllers, scheduler and kubelets do their work", |now| {
            now.pods("web").exactly(4)?.ready()
        })
        .await?;
    stage.kubelets_answer(&web).await
}

/// Every node got a certificate for each of the two uses.
fn both_each(requests: &BTreeMap<String, String>, nodes: &[String]) -> Seen<Vec<String>> {
    let rows: Vec<_> = requests.values().cloned().collect();
    for node in nodes {
        for signer in ["kube-apiserver-client-kubelet", "kubelet-serving"] {
            let wanted = format!("kubernetes.io/{signer}  system:node:{node}  Approved,Issued");
            if !rows.contains(&wanted) {
                return Err(format!("no request {wanted} among [{}]", rows.join("; ")));
            }
        }
    }
    let row = |(name, what): (&String, &String)| format!("{name}  {what}");
    Ok(requests.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kubelet_asks_for_both() {
        let of = |signer: &str, node: &str| {
            format!("kubernetes.io/{signer}  system:node:{node}  Approved,Issued")
        };
        let mut requests: BTreeMap<String, String> = BTreeMap::new();
        for (at, signer) in ["kube-apiserver-client-kubelet", "kubelet-serving"].iter().enumerate()
        {
            let error = both_each(&requests, &["w1".to_owned()]).unwrap_err();
            assert!(error.contains(signer), "{error}");
            requests.insert(format!("csr-{at}"), of(signer, "w1"));
        }
        assert_eq!(both_each(&requests, &["w1".to_owned()]).unwrap().len(), 2);
        assert!(both_each(&requests, &["w1".to_owned(), "w2".to_owned()]).is_err());
    }
}
