//! The container runtime: CRI v1 over a unix socket.

mod events;
mod images;
mod snapshots;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use component::errors;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use proto::image_service_client::ImageServiceClient;
use proto::runtime_service_client::RuntimeServiceClient;

pub use events::TaskEvent;
pub use snapshots::View;

/// Wire types of CRI v1.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod proto {
    tonic::include_proto!("runtime.v1");
}

/// containerd's event stream.
#[allow(missing_docs, clippy::all, unreachable_pub)]
mod containerd {
    tonic::include_proto!("containerd.services.events.v1");

    /// containerd's snapshots.
    pub mod snapshots {
        tonic::include_proto!("containerd.services.snapshots.v1");
    }
}

/// Where CRI's objects are within containerd.
pub const NAMESPACE: &str = "k8s.io";
/// Time that a call which only reads may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a call which changes something may take, as upstream's `runtimeRequestTimeout`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time that running or stopping a sandbox may take (image of the sandbox, CNI plugins).
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);

/// Failure of a call to the runtime.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The runtime answered with an error, or could not be reached. Printed as Go's gRPC library
    /// prints it, since the text ends up in events and container statuses.
    #[error("rpc error: code = {code} desc = {message}", code = code_name(*.code))]
    Call {
        /// gRPC status code.
        code: tonic::Code,
        /// Text of the runtime.
        message: String,
    },
    /// The runtime left out something that the protocol promises.
    #[error("runtime returned no {0}")]
    Missing(&'static str),
    /// The endpoint is no unix socket path.
    #[error("endpoint {0:?} is not unix:///path")]
    Endpoint(String),
}

/// Outcome of a command run in a container.
#[derive(Clone, Debug, Default)]
pub struct ExecOutput {
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// Its exit code.
    pub exit_code: i32,
}

/// Handle on the container runtime; connects when first used and again after a loss.
#[derive(Clone, Debug)]
pub struct Runtime {
    socket: PathBuf,
    channel: Channel,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    sandbox_image: Option<String>,
}

// === impl RuntimeError ===

impl RuntimeError {
    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { code: tonic::Code::NotFound, .. })
    }

    /// Whether the runtime could not be reached at all.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Call { code: tonic::Code::Unavailable, .. })
    }

    /// Whether the runtime does not know the call.
    pub fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Call { code: tonic::Code::Unimplemented, .. })
    }

    /// The runtime's own text, without the gRPC frame.
    pub fn message(&self) -> String {
        match self {
            Self::Call { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

impl From<tonic::Status> for RuntimeError {
    fn from(status: tonic::Status) -> Self {
        // A refused connection hides its cause behind "transport error".
        let message = errors::with_causes(status.message().to_owned(), &status);
        Self::Call { code: status.code(), message }
    }
}

fn code_name(code: tonic::Code) -> String {
    format!("{code:?}")
}

// === impl Runtime ===

/// A call with its time limit, unwrapped.
macro_rules! call {
    ($client:expr, $method:ident, $request:expr, $timeout:expr) => {{
        let mut request = tonic::Request::new($request);
        request.set_timeout($timeout);
        $client.clone().$method(request).await.map(tonic::Response::into_inner)
    }};
}
use call;

impl Runtime {
    /// A handle on the runtime behind `endpoint` (`unix:///run/containerd/containerd.sock` or a
    /// plain path). Must be called inside a tokio runtime; does not connect yet.
    pub fn new(endpoint: &str) -> Result<Self, RuntimeError> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !path.starts_with('/') {
            return Err(RuntimeError::Endpoint(endpoint.to_owned()));
        }
        let socket = PathBuf::from(path);
        let target = socket.clone();
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let target = target.clone();
                async move { UnixStream::connect(target).await.map(TokioIo::new) }
            }),
        );
        const MAX: usize = 16 << 20;
        Ok(Self {
            socket,
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MAX),
            channel,
            sandbox_image: None,
        })
    }

    /// The same, which is known to make sandboxes of the image `name` should it not tell: containerd
    /// does not since 2.0.
    #[must_use]
    pub fn with_sandbox_image(self, name: Option<String>) -> Self {
        Self { sandbox_image: name, ..self }
    }

    /// Path of the runtime's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Name and version of the runtime.
    pub async fn version(&self) -> Result<proto::VersionResponse, RuntimeError> {
        let request = proto::VersionRequest { version: "v1".into() };
        Ok(call!(self.runtime, version, request, READ_TIMEOUT)?)
    }

    /// Conditions of the runtime (RuntimeReady, NetworkReady).
    pub async fn status(&self) -> Result<proto::StatusResponse, RuntimeError> {
        Ok(call!(self.runtime, status, proto::StatusRequest { verbose: false }, READ_TIMEOUT)?)
    }

    /// The image that sandboxes are made of, if that is known.
    pub async fn sandbox_image(&self) -> Option<String> {
        let told = self.configured("/sandboxImage").await;
        told.or_else(|| self.sandbox_image.clone())
    }

    /// A setting of the runtime, if it tells (containerd does).
    async fn configured(&self, pointer: &str) -> Option<String> {
        let request = proto::StatusRequest { verbose: true };
        let status = call!(self.runtime, status, request, READ_TIMEOUT).ok()?;
        let config: serde_json::Value = serde_json::from_str(status.info.get("config")?).ok()?;
        let value = config.pointer(pointer)?.as_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Tells the runtime the node's Pod range.
    pub async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<(), RuntimeError> {
        let network_config = Some(proto::NetworkConfig { pod_cidr: pod_cidr.to_owned() });
        let request = proto::UpdateRuntimeConfigRequest {
            runtime_config: Some(proto::RuntimeConfig { network_config }),
        };
        call!(self.runtime, update_runtime_config, request, READ_TIMEOUT)?;
        Ok(())
    }

    /// Creates and starts a sandbox; returns its ID.
    pub async fn run_sandbox(
        &self,
        config: proto::PodSandboxConfig,
        handler: &str,
    ) -> Result<String, RuntimeError> {
        let request = proto::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: handler.to_owned(),
        };
        Ok(call!(self.runtime, run_pod_sandbox, request, SANDBOX_TIMEOUT)?.pod_sandbox_id)
    }

    /// Stops a sandbox and whatever runs in it, and releases its network.
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = proto::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        absent_is_fine(call!(self.runtime, stop_pod_sandbox, request, SANDBOX_TIMEOUT).map(drop))
    }

    /// Removes a sandbox with its containers.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = proto::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        absent_is_fine(call!(self.runtime, remove_pod_sandbox, request, WRITE_TIMEOUT).map(drop))
    }

    /// State, addresses and labels of one sandbox.
    pub async fn sandbox_status(&self, id: &str) -> Result<proto::PodSandboxStatus, RuntimeError> {
        let request =
            proto::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        call!(self.runtime, pod_sandbox_status, request, READ_TIMEOUT)?
            .status
            .ok_or(RuntimeError::Missing("sandbox status"))
    }

    /// Sandboxes that carry all of `labels`.
    pub async fn list_sandboxes(
        &self,
        labels: HashMap<String, String>,
    ) -> Result<Vec<proto::PodSandbox>, RuntimeError> {
        let filter = proto::PodSandboxFilter { label_selector: labels, ..Default::default() };
        let request = proto::ListPodSandboxRequest { filter: Some(filter) };
        Ok(call!(self.runtime, list_pod_sandbox, request, READ_TIMEOUT)?.items)
    }

    /// Creates a container in a sandbox; returns its ID.
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: proto::ContainerConfig,
        sandbox: proto::PodSandboxConfig,
    ) -> Result<String, RuntimeError> {
        let request = proto::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        Ok(call!(self.runtime, create_container, request, WRITE_TIMEOUT)?.container_id)
    }

    /// Starts a created container.
    pub async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = proto::StartContainerRequest { container_id: id.to_owned() };
        call!(self.runtime, start_container, request, WRITE_TIMEOUT)?;
        Ok(())
    }

    /// Stops a container: its stop signal, then SIGKILL after `grace`.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = proto::StopContainerRequest { container_id: id.to_owned(), timeout };
        let limit = grace.saturating_add(WRITE_TIMEOUT);
        absent_is_fine(call!(self.runtime, stop_container, request, limit).map(drop))
    }

    /// Removes a container.
    pub async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = proto::RemoveContainerRequest { container_id: id.to_owned() };
        absent_is_fine(call!(self.runtime, remove_container, request, WRITE_TIMEOUT).map(drop))
    }

    /// Containers that carry all of `labels`.
    pub async fn list_containers(
        &self,
        labels: HashMap<String, String>,
    ) -> Result<Vec<proto::Container>, RuntimeError> {
        let filter = proto::ContainerFilter { label_selector: labels, ..Default::default() };
        let request = proto::ListContainersRequest { filter: Some(filter) };
        Ok(call!(self.runtime, list_containers, request, READ_TIMEOUT)?.containers)
    }

    /// Full state of one container.
    pub async fn container_status(&self, id: &str) -> Result<proto::ContainerStatus, RuntimeError> {
        let request = proto::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        call!(self.runtime, container_status, request, READ_TIMEOUT)?
            .status
            .ok_or(RuntimeError::Missing("container status"))
    }

    /// Changes the limits of a running container.
    pub async fn update_resources(
        &self,
        id: &str,
        linux: proto::LinuxContainerResources,
    ) -> Result<(), RuntimeError> {
        let request = proto::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(linux),
            ..Default::default()
        };
        call!(self.runtime, update_container_resources, request, WRITE_TIMEOUT)?;
        Ok(())
    }

    /// Has the runtime open a container's log file anew after rotation.
    pub async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let request = proto::ReopenContainerLogRequest { container_id: id.to_owned() };
        call!(self.runtime, reopen_container_log, request, WRITE_TIMEOUT)?;
        Ok(())
    }

    /// Runs a command in a container and waits for it; `timeout` zero means no limit.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let request = proto::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let done = if timeout.is_zero() {
            self.runtime.clone().exec_sync(request).await?.into_inner()
        } else {
            call!(self.runtime, exec_sync, request, timeout.saturating_add(WRITE_TIMEOUT))?
        };
        Ok(ExecOutput { stdout: done.stdout, stderr: done.stderr, exit_code: done.exit_code })
    }

    /// URL of the runtime's streaming server for a command.
    pub async fn exec(&self, request: proto::ExecRequest) -> Result<String, RuntimeError> {
        Ok(call!(self.runtime, exec, request, READ_TIMEOUT)?.url)
    }

    /// URL of the runtime's streaming server for attaching.
    pub async fn attach(&self, request: proto::AttachRequest) -> Result<String, RuntimeError> {
        Ok(call!(self.runtime, attach, request, READ_TIMEOUT)?.url)
    }

    /// URL of the runtime's streaming server for forwarding `ports`.
    pub async fn port_forward(
        &self,
        sandbox_id: &str,
        ports: &[i32],
    ) -> Result<String, RuntimeError> {
        let request = proto::PortForwardRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            port: ports.to_vec(),
        };
        Ok(call!(self.runtime, port_forward, request, READ_TIMEOUT)?.url)
    }

    /// Usage of one container.
    pub async fn container_stats(&self, id: &str) -> Result<proto::ContainerStats, RuntimeError> {
        let request = proto::ContainerStatsRequest { container_id: id.to_owned() };
        call!(self.runtime, container_stats, request, READ_TIMEOUT)?
            .stats
            .ok_or(RuntimeError::Missing("container stats"))
    }

    /// Usage of all running containers.
    pub async fn list_container_stats(&self) -> Result<Vec<proto::ContainerStats>, RuntimeError> {
        let request = proto::ListContainerStatsRequest { filter: None };
        Ok(call!(self.runtime, list_container_stats, request, READ_TIMEOUT)?.stats)
    }

    /// Usage of all sandboxes, with their network and containers.
    pub async fn list_sandbox_stats(&self) -> Result<Vec<proto::PodSandboxStats>, RuntimeError> {
        let request = proto::ListPodSandboxStatsRequest { filter: None };
        Ok(call!(self.runtime, list_pod_sandbox_stats, request, READ_TIMEOUT)?.stats)
    }
}

fn absent_is_fine(result: Result<(), tonic::Status>) -> Result<(), RuntimeError> {
    match result {
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_image_of_sandboxes_is_known_though_the_runtime_does_not_tell() {
        let runtime = Runtime::new("/nonexistent/runtime.sock").unwrap();
        assert_eq!(runtime.sandbox_image().await, None);
        let runtime = runtime.with_sandbox_image(Some("pause:1".to_owned()));
        assert_eq!(runtime.sandbox_image().await.as_deref(), Some("pause:1"));
    }
}
