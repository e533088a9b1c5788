//! Images as file systems, for image volumes (KEP-4639).
//!
//! containerd mounts images into containers since 2.1, as CRI has it. Of an older one the same is had
//! through its snapshots, which are served on the same socket: a view of an image says what to mount.

use k8s_openapi::jiff::Timestamp;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::containerd::snapshots::snapshots_client::SnapshotsClient;
use super::containerd::snapshots::{
    MountsRequest, MountsResponse, RemoveSnapshotRequest, ViewSnapshotRequest,
};
use super::{
    NAMESPACE, READ_TIMEOUT, Runtime, RuntimeError, WRITE_TIMEOUT, absent_is_fine, call, images,
};

/// Keeps what containerd would otherwise collect; the value is a time for people.
const KEEP: &str = "containerd.io/gc.root";
/// What containerd uses when it does not say.
const DEFAULT_SNAPSHOTTER: &str = "overlayfs";
/// The first containerd whose CRI has image volumes.
const IMAGE_MOUNTS: (u32, u32) = (2, 1);

/// One mount of those that make up the file system of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Type of the file system; `bind` for a directory as it is.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Options as of mount(8).
    pub options: Vec<String>,
}

impl Runtime {
    /// Whether the runtime mounts images into containers itself.
    ///
    /// # Errors
    /// [`RuntimeError`] when the runtime does not answer.
    pub async fn mounts_images(&self) -> Result<bool, RuntimeError> {
        let version = self.version().await?;
        Ok(has_image_mounts(&version.runtime_name, &version.runtime_version))
    }

    /// What is to be mounted for the file system of the image `id`. It stays until
    /// [`remove_view`](Self::remove_view) of the same `key`, even if the image goes.
    ///
    /// # Errors
    /// [`RuntimeError`] when there is no such image, or the runtime does not answer.
    pub async fn view(&self, key: &str, id: &str) -> Result<Vec<View>, RuntimeError> {
        let parent = self.chain(id).await?.ok_or(RuntimeError::Missing("chain ID of an image"))?;
        let snapshotter = self.snapshotter().await;
        let labels = [(KEEP.to_owned(), Timestamp::now().to_string())].into();
        let (key, kept) = (key.to_owned(), snapshotter.clone());
        let request = ViewSnapshotRequest { snapshotter, key: key.clone(), parent, labels };
        let made = call!(self.snapshots(), view, request, WRITE_TIMEOUT);
        let found: MountsResponse = match made {
            Err(status) if status.code() == tonic::Code::AlreadyExists => {
                let request = MountsRequest { snapshotter: kept, key };
                call!(self.snapshots(), mounts, request, READ_TIMEOUT)?
            }
            other => other?,
        };
        let views = found.mounts.into_iter();
        Ok(views.map(|m| View { kind: m.r#type, source: m.source, options: m.options }).collect())
    }

    /// Gives up what [`view`](Self::view) made. There may be nothing.
    ///
    /// # Errors
    /// [`RuntimeError`] when it is in use, or the runtime does not answer.
    pub async fn remove_view(&self, key: &str) -> Result<(), RuntimeError> {
        let snapshotter = self.snapshotter().await;
        let request = RemoveSnapshotRequest { snapshotter, key: key.to_owned() };
        absent_is_fine(call!(self.snapshots(), remove, request, WRITE_TIMEOUT).map(drop))
    }

    /// The snapshot that holds the topmost layer of an image, on those below.
    async fn chain(&self, id: &str) -> Result<Option<String>, RuntimeError> {
        let request = images::status_request(id, true);
        let mut status = call!(self.images, image_status, request, READ_TIMEOUT)?;
        let info = status.info.remove("info").unwrap_or_default();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
        Ok(info["chainID"].as_str().filter(|chain| !chain.is_empty()).map(str::to_owned))
    }

    async fn snapshotter(&self) -> String {
        let own = self.configured("/containerd/snapshotter").await;
        own.unwrap_or_else(|| DEFAULT_SNAPSHOTTER.to_owned())
    }

    fn snapshots(&self) -> SnapshotsClient<InterceptedService<Channel, Interceptor>> {
        SnapshotsClient::with_interceptor(self.channel.clone(), in_namespace)
    }
}

type Interceptor = fn(Request<()>) -> Result<Request<()>, Status>;

/// Names the namespace, which containerd's own services ask for.
fn in_namespace(mut request: Request<()>) -> Result<Request<()>, Status> {
    let name = tonic::metadata::MetadataValue::from_static(NAMESPACE);
    request.metadata_mut().insert("containerd-namespace", name);
    Ok(request)
}

/// Runtimes other than containerd are believed to have what CRI has.
fn has_image_mounts(name: &str, version: &str) -> bool {
    let (major, minor) = component::version::minor(version);
    let version = major.parse().ok().zip(minor.parse().ok());
    name != "containerd" || version.is_some_and(|version: (u32, u32)| version >= IMAGE_MOUNTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_mounts_came_with_containerd_2_1() {
        for (name, version, has) in [
            ("containerd", "1.6.20~ds1", false),
            ("containerd", "v1.7.24", false),
            ("containerd", "v2.0.5", false),
            ("containerd", "v2.1.0", true),
            ("containerd", "2.2.1-k3s1", true),
            ("containerd", "unknown", false),
            ("cri-o", "1.36.0", true),
        ] {
            assert_eq!(has_image_mounts(name, version), has, "{name} {version}");
        }
    }
}
