//! Images as volumes, with a real container runtime.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use image::ImageBuilder;
use k8s_openapi::api::core::v1::Pod;
use kubelet::objects::Objects;
use kubelet::seam::{PodIps, pod_uid};
use kubelet::token::Tokens;
use kubelet::volumes::{ImageMount, ImageMounts, VolumeManager, VolumeOptions};
use serde_json::json;

use crate::harness::{Containerd, NoSources};

const NAME: &str = "docker.io/test/data:1";

fn ctr(containerd: &Containerd, arguments: &[&str]) -> String {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(containerd.runtime.socket()).args(["--namespace", "k8s.io"]);
    let done = command.args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_a_read_only_folder_that_outlives_its_name() {
    let Some(containerd) = Containerd::start().await else { return };
    let archive = containerd.dir.path().join("data.tar");
    ImageBuilder::new(NAME)
        .file("/data/greeting", "hello", 0o644)
        .write(&mut fs::File::create(&archive).unwrap())
        .unwrap();
    ctr(&containerd, &["images", "import", archive.to_str().unwrap()]);
    let image = containerd.runtime.image_status(NAME).await.unwrap().unwrap();

    let root = tempfile::tempdir().unwrap();
    let volumes = VolumeManager::new(VolumeOptions {
        root_dir: root.path().to_owned(),
        node_name: "w1".into(),
        client: None,
        objects: Objects::new(None),
        tokens: Tokens::new(None),
        sources: Arc::new(NoSources),
        runtime: containerd.runtime.clone(),
    });
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u" },
        "spec": {
            "containers": [{ "name": "c", "volumeMounts": [
                { "name": "data", "mountPath": "/all" },
                { "name": "data", "mountPath": "/part", "subPath": "data" },
            ] }],
            "volumes": [{ "name": "data", "image": { "reference": NAME } }],
        },
    }))
    .unwrap();
    let pod = Arc::new(pod);
    let spec = pod.spec.as_ref().unwrap();
    let volume = &spec.volumes.as_ref().unwrap()[0];
    let ready = volumes.mount(&pod, &PodIps::default()).await.unwrap();
    let mounted = volumes.mount_image(&pod, volume, &image.id).await.unwrap();
    // A container that starts anew finds it as it is.
    assert_eq!(volumes.mount_image(&pod, volume, &image.id).await.unwrap(), mounted);
    let ImageMount::At(path) = &mounted else { panic!("{mounted:?}") };
    let path: &Path = path;
    assert_eq!(fs::read_to_string(path.join("data/greeting")).unwrap(), "hello");
    let refused = fs::write(path.join("data/greeting"), "changed").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    let images = ImageMounts::from([("data".to_owned(), mounted.clone())]);
    let mounts = ready.mounts(&pod, &spec.containers[0], &[], &images).unwrap();
    assert_eq!(PathBuf::from(&mounts[0].host_path), path);
    let part = Path::new(&mounts[1].host_path);
    assert_eq!(fs::read_to_string(part.join("greeting")).unwrap(), "hello");
    assert!(mounts.iter().all(|mount| mount.readonly));

    ctr(&containerd, &["images", "remove", "--sync", NAME]);
    assert_eq!(fs::read_to_string(path.join("data/greeting")).unwrap(), "hello");

    let key = path.to_str().unwrap();
    assert!(ctr(&containerd, &["snapshots", "list"]).contains(key));
    volumes.unmount(&pod_uid(&pod)).await.unwrap();
    assert!(!ctr(&containerd, &["snapshots", "list"]).contains(key));
    assert!(!root.path().join("pods/u").exists());
}
