//! Approves the serving certificates of kubelets (`serverTLSBootstrap`) that name nothing but their
//! own node. Upstream leaves that to administrators or to approvers of others; here it is what lets
//! the API server verify kubelets without files that are handed out by hand.
//!
//! A request is approved when the requester is the very node, and every DNS name and address in it
//! is one that the Node object has. What does not fit stays pending, for an administrator to judge,
//! and is looked at again when the Node changes.

use client::{Action, Api, Event, WorkQueue};
use component::pki::Request;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;

use super::{KUBELET_SERVING, NODE, NODES, condition, is_issued, kubelet_problem, with_condition};
use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::informers::enqueue;
use crate::object::{Key, Meta};

const MESSAGE: &str =
    "Auto approving kubelet serving certificate whose names and addresses are those of its Node.";

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    enqueue(&informers.signing_requests, &queue);
    // A request may be there before its Node says where it is.
    let (adder, requests) = (queue.clone(), informers.signing_requests.clone());
    informers.nodes.on_event(move |event| {
        let node = match event {
            Event::Added(node) => node,
            Event::Updated { old, new } if addresses(old) != addresses(new) => new,
            Event::Updated { .. } | Event::Deleted(_) => return,
        };
        for csr in requests.list() {
            if requester(&csr) == Some(node.nm()) && recognize(&csr).is_some() {
                adder.add(Key::of(&*csr));
            }
        }
    });
    informers.signing_requests.synced().await;
    informers.nodes.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(csr) = context.informers.signing_requests.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    let (Some(request), Some(name)) = (recognize(&csr), requester(&csr)) else {
        return Ok(Action::Done);
    };
    let node = context.informers.nodes.get(None, name);
    if let Err(why) = judge(&request, name, node.as_deref()) {
        tracing::info!(csr = key.name, why, "serving certificate is not approved");
        return Ok(Action::Done);
    }
    let approved =
        with_condition(&csr, "Approved", "AutoApproved", MESSAGE.to_owned(), Timestamp::now());
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    match api.replace_subresource("approval", &key.name, &PostParams::default(), &approved).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// The node that asks, if one does.
fn requester(csr: &CertificateSigningRequest) -> Option<&str> {
    let groups = csr.spec.groups.as_deref().unwrap_or_default();
    let name = csr.spec.username.as_deref()?.strip_prefix(NODE)?;
    groups.iter().any(|group| group == NODES).then_some(name)
}

/// What is asked for, if it is an undecided request for a kubelet's serving certificate.
pub(super) fn recognize(csr: &CertificateSigningRequest) -> Option<Request> {
    let decided = ["Approved", "Denied"].iter().any(|kind| condition(csr, kind).is_some());
    if decided || is_issued(csr) || csr.spec.signer_name != KUBELET_SERVING {
        return None;
    }
    let request = Request::parse(&csr.spec.request.0).ok()?;
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    let names = !request.dns_names.is_empty() || !request.ip_addresses.is_empty();
    (names && kubelet_problem(&request, usages, "server auth").is_none()).then_some(request)
}

/// Why the node of this name may not have such a certificate.
pub(super) fn judge(request: &Request, name: &str, node: Option<&Node>) -> Result<(), String> {
    if request.common_name != format!("{NODE}{name}") {
        return Err(format!("node {name} asks in the name of {:?}", request.common_name));
    }
    let Some(node) = node else { return Err(format!("there is no node {name}")) };
    let known = addresses(node);
    let own = |kinds: &[&str], wanted: &str| {
        known.iter().any(|(kind, address)| kinds.contains(kind) && *address == wanted)
    };
    for wanted in &request.dns_names {
        if !own(&["Hostname", "InternalDNS", "ExternalDNS"], wanted) {
            return Err(format!("node {name} is not known as {wanted}"));
        }
    }
    for wanted in request.ip_addresses.iter().map(ToString::to_string) {
        if !own(&["InternalIP", "ExternalIP"], &wanted) {
            return Err(format!("node {name} is not known at {wanted}"));
        }
    }
    Ok(())
}

/// Type and value of each address of a Node.
fn addresses(node: &Node) -> Vec<(&str, &str)> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.map(|address| (address.type_.as_str(), address.address.as_str())).collect()
}
