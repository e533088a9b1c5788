//! `/containerLogs`: what `kubectl logs` shows.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::query;
use super::response::{Body, BodyError, error};
use crate::logs::read::OnlyStream;
use crate::logs::{LogOptions, Reader};
use crate::seam::{PodAccess, pod_uid};

pub(super) async fn container_logs(
    access: &Arc<dyn PodAccess>,
    namespace: &str,
    name: &str,
    container: &str,
    uri: &Uri,
) -> Response<Body> {
    let Some(pod) = access.pod(namespace, name) else {
        return error(StatusCode::NOT_FOUND, format!("pod does not exist: {namespace}/{name}"));
    };
    let known = container_names(&pod).any(|known| known == container);
    if !known {
        return error(
            StatusCode::NOT_FOUND,
            format!("container {container:?} not found in pod {name:?}"),
        );
    }
    let (options, previous) = match parse(uri, Timestamp::now()) {
        Ok(parsed) => parsed,
        Err(problem) => return error(StatusCode::BAD_REQUEST, problem),
    };
    let uid = pod_uid(&pod);
    let Some(instance) = access.container(&uid, container, previous) else {
        let problem = if previous {
            format!("previous terminated container {container:?} in pod {name:?} not found")
        } else {
            not_started(&pod, name, container)
        };
        return error(StatusCode::BAD_REQUEST, problem);
    };
    let reader = match Reader::open(&instance.log_path, options).await {
        Ok(reader) => reader,
        Err(problem) => {
            let path = instance.log_path.display();
            let problem = format!("failed to try resolving symlinks in path {path:?}: {problem}");
            return error(StatusCode::INTERNAL_SERVER_ERROR, problem);
        }
    };
    // The log of one instance ends with it, also when another one runs by then.
    let (access, id) = (Arc::clone(access), instance.id);
    let container = container.to_owned();
    let running = move || {
        access.container(&uid, &container, false).is_some_and(|now| now.id == id && now.running)
    };
    let chunks = stream::try_unfold((reader, running), |(mut reader, running)| async move {
        let chunk = reader.next(&running).await.map_err(BodyError::from)?;
        Ok::<_, BodyError>(chunk.map(|chunk: Bytes| (Frame::data(chunk), (reader, running))))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

pub(super) fn container_names(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        spec.containers
            .iter()
            .chain(init)
            .map(|container| container.name.as_str())
            .chain(ephemeral.map(|container| container.name.as_str()))
    })
}

fn not_started(pod: &Pod, name: &str, container: &str) -> String {
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| {
        let regular = status.container_statuses.iter().flatten();
        let init = status.init_container_statuses.iter().flatten();
        regular.chain(init).chain(status.ephemeral_container_statuses.iter().flatten())
    });
    let mut own = all.filter(|own: &&ContainerStatus| own.name == container);
    let waiting = own.next().and_then(|own| own.state.as_ref()?.waiting.as_ref());
    let reason =
        waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or("ContainerCreating");
    let image_trouble = matches!(
        reason,
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName"
    );
    let problem = if image_trouble { "trying and failing to pull image" } else { reason };
    format!("container {container:?} in pod {name:?} is waiting to start: {problem}")
}

/// The options in a query, and whether the instance before this one is meant.
pub(super) fn parse(uri: &Uri, now: Timestamp) -> Result<(LogOptions, bool), String> {
    let mut options = LogOptions::default();
    let mut previous = false;
    let bad = |name: &str, value: &str| format!("invalid value {value:?} for {name}");
    let flag = |value: &str| matches!(value, "" | "1" | "t" | "T" | "true" | "TRUE" | "True");
    for (name, value) in query(uri) {
        let number = || value.parse::<u64>().map_err(|_| bad(&name, &value));
        match name.as_str() {
            "follow" => options.follow = flag(&value),
            "previous" => previous = flag(&value),
            "timestamps" => options.timestamps = flag(&value),
            // Upstream takes "all" for no limit.
            "tailLines" if value == "all" => {}
            "tailLines" => options.tail = Some(number()?),
            "limitBytes" => options.limit_bytes = Some(number()?).filter(|limit| *limit > 0),
            "sinceSeconds" => {
                let seconds = i64::try_from(number()?).map_err(|_| bad(&name, &value))?;
                options.since = Some(now - SignedDuration::from_secs(seconds));
            }
            "sinceTime" => {
                options.since = Some(value.parse().map_err(|_| bad(&name, &value))?);
            }
            "stream" => {
                options.stream = match value.as_str() {
                    "Stdout" => Some(OnlyStream::Stdout),
                    "Stderr" => Some(OnlyStream::Stderr),
                    _ => None,
                }
            }
            _ => {}
        }
    }
    Ok((options, previous))
}
