//! Image calls of the runtime.

use std::time::Duration;

use super::{READ_TIMEOUT, Runtime, RuntimeError, WRITE_TIMEOUT, call, proto};

/// A pull has no limit of its own upstream; a registry that hangs must not block a Pod for ever.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

fn spec(image: &str) -> Option<proto::ImageSpec> {
    Some(proto::ImageSpec { image: image.to_owned(), ..Default::default() })
}

/// Asks for an image; `verbose` for what the runtime alone knows of it, too.
pub(super) fn status_request(reference: &str, verbose: bool) -> proto::ImageStatusRequest {
    proto::ImageStatusRequest { image: spec(reference), verbose }
}

impl Runtime {
    /// All images of the node.
    pub async fn list_images(&self) -> Result<Vec<proto::Image>, RuntimeError> {
        let request = proto::ListImagesRequest { filter: None };
        Ok(call!(self.images, list_images, request, READ_TIMEOUT)?.images)
    }

    /// The image that `reference` names, if it is on the node.
    pub async fn image_status(
        &self,
        reference: &str,
    ) -> Result<Option<proto::Image>, RuntimeError> {
        let request = status_request(reference, false);
        Ok(call!(self.images, image_status, request, READ_TIMEOUT)?.image)
    }

    /// Fetches an image; returns the runtime's reference to it.
    pub async fn pull_image(
        &self,
        reference: &str,
        auth: Option<proto::AuthConfig>,
        sandbox: Option<proto::PodSandboxConfig>,
    ) -> Result<String, RuntimeError> {
        let request =
            proto::PullImageRequest { image: spec(reference), auth, sandbox_config: sandbox };
        Ok(call!(self.images, pull_image, request, PULL_TIMEOUT)?.image_ref)
    }

    /// Removes an image.
    pub async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        let request = proto::RemoveImageRequest { image: spec(id) };
        call!(self.images, remove_image, request, WRITE_TIMEOUT)?;
        Ok(())
    }

    /// Use of the filesystems that hold images.
    pub async fn image_fs_info(&self) -> Result<Vec<proto::FilesystemUsage>, RuntimeError> {
        let request = proto::ImageFsInfoRequest {};
        Ok(call!(self.images, image_fs_info, request, READ_TIMEOUT)?.image_filesystems)
    }
}
