//! Mirror Pods: what the API shows of static Pods. They are made anew when deleted, and go when
//! their static Pod goes.

use std::sync::Arc;
use std::time::Duration;

use client::{Action, Informer, WorkQueue};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio_util::sync::CancellationToken;

use crate::seam::PodUid;

/// Annotation: where the Pod came from (`file` or `api`).
pub const SOURCE: &str = "kubernetes.io/config.source";
/// Annotation: hash of the static Pod's file.
pub const HASH: &str = "kubernetes.io/config.hash";
/// Annotation of mirrors: hash of the static Pod that they show.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation: when the source was read.
pub const SEEN: &str = "kubernetes.io/config.seen";

/// Wait after a failed write.
const RETRY: Duration = Duration::from_secs(1);

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a String> {
    pod.metadata.annotations.as_ref()?.get(key)
}

/// Whether the Pod comes from a file of this node (and is not its mirror).
pub fn is_static(pod: &Pod) -> bool {
    !is_mirror(pod) && annotation(pod, SOURCE).is_some_and(|source| source != "api")
}

/// Whether the Pod is the API's copy of a static Pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

/// UID of the static Pod that a mirror shows.
pub fn mirrored_uid(pod: &Pod) -> Option<PodUid> {
    annotation(pod, MIRROR).cloned().map(PodUid)
}

/// The mirror of a static Pod on `node`.
pub fn mirror_of(pod: &Pod, node: Option<&Node>) -> Pod {
    let mut mirror = Pod { metadata: pod.metadata.clone(), spec: pod.spec.clone(), status: None };
    let hash = annotation(pod, HASH).cloned().unwrap_or_default();
    let annotations = mirror.metadata.annotations.get_or_insert_default();
    annotations.insert(MIRROR.to_owned(), hash);
    mirror.metadata.uid = None;
    mirror.metadata.creation_timestamp = None;
    if let Some(node) = node {
        mirror.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            ..Default::default()
        }]);
    }
    mirror
}

/// How it is with a static Pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// There is to be this one.
    Wanted(Arc<Pod>),
    /// Its file is gone, but something of it still runs.
    Ending,
    /// There is none.
    Absent,
}

/// What to do about a mirror. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Leave,
    Create,
    Delete,
}

fn verb(standing: &Standing, found: Option<&Pod>) -> Verb {
    match (standing, found) {
        (Standing::Absent, Some(found)) if is_mirror(found) => Verb::Delete,
        (Standing::Wanted(_), None) => Verb::Create,
        (Standing::Wanted(wanted), Some(found)) if is_mirror(found) => {
            let current = annotation(found, MIRROR) == annotation(wanted, HASH);
            let going = found.metadata.deletion_timestamp.is_some();
            if current && !going { Verb::Leave } else { Verb::Delete }
        }
        _ => Verb::Leave,
    }
}

/// Keeps mirrors in step with static Pods. Cheap to clone.
#[derive(Clone)]
pub struct Mirrors {
    queue: WorkQueue<(String, String)>,
    /// Told of mirrors that exist now, so that statuses get written.
    _pods: Informer<Pod>,
}

// === impl Mirrors ===

impl Mirrors {
    /// Starts keeping mirrors; `standing` tells of the static Pod of a namespace and name.
    pub fn start(
        api: kube::Client,
        pods: Informer<Pod>,
        node: impl Fn() -> Option<Arc<Node>> + Send + Sync + 'static,
        standing: impl Fn(&str, &str) -> Standing + Send + Sync + 'static,
        shutdown: &CancellationToken,
    ) -> Self {
        let queue: WorkQueue<(String, String)> = WorkQueue::new();
        let keeper = Arc::new(Keeper {
            api,
            pods: pods.clone(),
            node: Box::new(node),
            standing: Box::new(standing),
        });
        tokio::spawn(client::run_workers(
            queue.clone(),
            1,
            shutdown.clone(),
            move |(namespace, name)| {
                let keeper = keeper.clone();
                async move {
                    let action = match keeper.sync(&namespace, &name).await {
                        Ok(action) => action,
                        Err(error) => {
                            tracing::warn!(namespace, name, %error, "mirror pod not in step");
                            Action::RequeueAfter(RETRY)
                        }
                    };
                    Ok::<_, std::convert::Infallible>(action)
                }
            },
        ));
        Self { queue, _pods: pods }
    }

    /// Has the mirror of a Pod compared now; `pod` is the static one or the mirror.
    pub fn check_for(&self, pod: &Pod) {
        let meta = &pod.metadata;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        self.queue.add((part(&meta.namespace), part(&meta.name)));
    }
}

type NodeFn = Box<dyn Fn() -> Option<Arc<Node>> + Send + Sync>;
type StandingFn = Box<dyn Fn(&str, &str) -> Standing + Send + Sync>;

struct Keeper {
    api: kube::Client,
    pods: Informer<Pod>,
    node: NodeFn,
    standing: StandingFn,
}

// === impl Keeper ===

impl Keeper {
    async fn sync(&self, namespace: &str, name: &str) -> Result<Action, kube::Error> {
        let standing = (self.standing)(namespace, name);
        // Before the first list, an absent mirror may be one not seen yet.
        if !self.pods.has_synced() {
            return Ok(Action::RequeueAfter(Duration::from_millis(200)));
        }
        let found = self.pods.get(Some(namespace), name);
        let api: kube::Api<Pod> = kube::Api::namespaced(self.api.clone(), namespace);
        match verb(&standing, found.as_deref()) {
            Verb::Leave => {}
            Verb::Create => {
                let node = (self.node)();
                // The owner reference needs the Node; the node restriction insists on it.
                if node.is_none() {
                    return Ok(Action::RequeueAfter(Duration::from_millis(200)));
                }
                let Standing::Wanted(pod) = standing else { return Ok(Action::Done) };
                let mirror = mirror_of(&pod, node.as_deref());
                match api.create(&PostParams::default(), &mirror).await {
                    Ok(_) => tracing::info!(namespace, name, "mirror pod created"),
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) => return Err(error),
                }
            }
            Verb::Delete => {
                let uid = found.and_then(|pod| pod.metadata.uid.clone());
                let params = DeleteParams {
                    grace_period_seconds: Some(0),
                    preconditions: Some(Preconditions { uid, resource_version: None }),
                    ..DeleteParams::default()
                };
                match api.delete(name, &params).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    fn pod(annotations: &[(&str, &str)]) -> Pod {
        let mut pod = Pod::default();
        let all = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        pod.metadata.annotations = Some(all.collect());
        pod
    }

    #[test]
    fn mirrors_follow_their_static_pods() {
        let static_pod = pod(&[(SOURCE, "file"), (HASH, "h1")]);
        let current = mirror_of(&static_pod, None);
        assert!(is_static(&static_pod) && is_mirror(&current) && !is_static(&current));
        let stale = pod(&[(SOURCE, "file"), (HASH, "h0"), (MIRROR, "h0")]);
        let foreign = pod(&[]);
        let mut going = current.clone();
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::default()));
        let wanted = Standing::Wanted(Arc::new(static_pod));
        for (standing, found, expected) in [
            (&wanted, None, Verb::Create),
            (&wanted, Some(&current), Verb::Leave),
            (&wanted, Some(&stale), Verb::Delete),
            (&wanted, Some(&going), Verb::Delete),
            (&wanted, Some(&foreign), Verb::Leave),
            (&Standing::Ending, Some(&current), Verb::Leave),
            (&Standing::Ending, Some(&going), Verb::Leave),
            (&Standing::Ending, None, Verb::Leave),
            (&Standing::Absent, Some(&current), Verb::Delete),
            (&Standing::Absent, Some(&foreign), Verb::Leave),
            (&Standing::Absent, None, Verb::Leave),
        ] {
            assert_eq!(verb(standing, found), expected);
        }
    }
}
