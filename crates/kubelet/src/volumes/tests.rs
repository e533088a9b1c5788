use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::atomic::{File, Files};
use super::*;

fn files(all: &[(&str, &str)]) -> Files {
    all.iter()
        .map(|(path, data)| {
            let file = File { data: data.as_bytes().to_vec(), mode: 0o640, owner: None };
            ((*path).to_owned(), file)
        })
        .collect()
}

fn read_all(dir: &Path) -> BTreeMap<String, String> {
    fn walk(dir: &Path, prefix: &str, out: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if name.starts_with("..") {
                continue;
            }
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), out);
            } else {
                out.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(dir, "", &mut out);
    out
}

#[test]
fn files_are_replaced_at_once_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |second| Timestamp::from_second(second).unwrap();
    let write = |all: &[(&str, &str)], second| {
        atomic::write(dir.path(), &files(all), at(second), |_| Ok(())).unwrap()
    };
    assert!(write(&[("a", "1"), ("sub/b", "2")], 1));
    let first = fs::read_link(dir.path().join("..data")).unwrap();
    assert!(!write(&[("a", "1"), ("sub/b", "2")], 2), "nothing changed");
    assert_eq!(fs::read_link(dir.path().join("..data")).unwrap(), first);
    assert_eq!(fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
    let mode = fs::metadata(dir.path().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    // As a crash between writing and switching would leave it.
    fs::create_dir(dir.path().join("..2020_01_01_00_00_00.000000000")).unwrap();
    assert!(write(&[("a", "changed"), ("c", "3")], 3));
    let expected = [("a", "changed"), ("c", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(read_all(dir.path()), BTreeMap::from(expected));
    let hidden = fs::read_dir(dir.path()).unwrap().flatten();
    let hidden = hidden.filter(|entry| entry.file_name().to_string_lossy().starts_with(".."));
    assert_eq!(hidden.count(), 2, "..data and the directory it names");
}

#[test]
fn paths_that_leave_the_volume_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["../x", "/x", "a/../../x", "..data", ""] {
        let result =
            atomic::write(dir.path(), &files(&[(path, "")]), Timestamp::UNIX_EPOCH, |_| Ok(()));
        assert!(matches!(result, Err(VolumeErrorKind::Path(_))), "{path}");
    }
}

struct NoSources;

impl Sources for NoSources {
    fn node(&self) -> Option<Arc<Node>> {
        None
    }

    fn services(&self, _namespace: &str) -> Vec<Arc<Service>> {
        Vec::new()
    }
}

fn manager(root: &Path) -> VolumeManager {
    VolumeManager::new(VolumeOptions {
        root_dir: root.to_owned(),
        node_name: "w1".into(),
        client: None,
        objects: Objects::new(None),
        tokens: Tokens::new(None),
        sources: Arc::new(NoSources),
        runtime: Runtime::new("/nonexistent").unwrap(),
    })
}

fn pod(volumes: serde_json::Value, mounts: serde_json::Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u-1", "labels": { "app": "web" } },
        "spec": {
            "securityContext": { "fsGroup": 4711 },
            "containers": [{ "name": "c", "volumeMounts": mounts }],
            "volumes": volumes,
        },
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[tokio::test]
async fn images_are_left_to_runtimes_that_mount_them() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod(
        json!([{ "name": "data", "image": { "reference": "data:1" } }]),
        json!([
            { "name": "data", "mountPath": "/all" },
            { "name": "data", "mountPath": "/part", "subPathExpr": "a/$(B)" },
        ]),
    );
    let volumes = manager(root.path()).mount(&pod, &PodIps::default()).await.unwrap();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let variables = [("B".to_owned(), "b".to_owned())];
    let mounts = |images: ImageMounts| volumes.mounts(&pod, container, &variables, &images);
    let missing = mounts(ImageMounts::new()).unwrap_err().to_string();
    assert_eq!(missing, "cannot find volume \"data\" to mount into container \"c\"");

    let image = proto::ImageSpec { image: "sha256:1".into(), ..Default::default() };
    let images = ImageMounts::from([("data".to_owned(), ImageMount::ByRuntime(image.clone()))]);
    let mounts = mounts(images).unwrap();
    let seen = |index: usize| {
        let mount = &mounts[index];
        (mount.container_path.as_str(), mount.image.as_ref(), mount.image_sub_path.as_str())
    };
    assert_eq!(seen(0), ("/all", Some(&image), ""));
    assert_eq!(seen(1), ("/part", Some(&image), "a/b"));
    assert!(mounts.iter().all(|mount| mount.readonly && mount.host_path.is_empty()));
}

#[tokio::test]
async fn volumes_come_are_mounted_and_go() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("needs root for mounts");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let manager = manager(root.path());
    let pod = pod(
        json!([
            { "name": "scratch", "emptyDir": {} },
            { "name": "fast", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
            { "name": "info", "downwardAPI": { "items": [
                { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            ] } },
            { "name": "unused", "persistentVolumeClaim": { "claimName": "x" } },
        ]),
        json!([
            { "name": "scratch", "mountPath": "/scratch" },
            { "name": "scratch", "mountPath": "/deep", "subPathExpr": "logs/$(POD)" },
            { "name": "fast", "mountPath": "/fast", "mountPropagation": "HostToContainer" },
            { "name": "info", "mountPath": "/info" },
            { "name": "info", "mountPath": "/etc/labels", "subPath": "labels" },
        ]),
    );
    let uid = pod_uid(&pod);
    for _ in 0..2 {
        let volumes = manager.mount(&pod, &PodIps::default()).await.unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let variables = [("POD".to_owned(), "p".to_owned())];
        let mounts = volumes.mounts(&pod, container, &variables, &ImageMounts::new()).unwrap();
        let host: Vec<&Path> = mounts.iter().map(|mount| Path::new(&mount.host_path)).collect();
        let scratch = fs::metadata(host[0]).unwrap();
        assert_eq!((scratch.gid(), scratch.mode() & 0o7777), (4711, 0o2777));
        fs::write(host[1].join("log"), "x").unwrap();
        assert!(host[0].join("logs/p/log").exists());
        assert!(mount_table::is_mount_point(host[2]).unwrap());
        assert_eq!(mounts[2].propagation, 1);
        assert_eq!(fs::read_to_string(host[3].join("labels")).unwrap(), "app=\"web\"");
        assert!(mounts[3].readonly && !mounts[0].readonly);
        assert_eq!(fs::read_to_string(host[4]).unwrap(), "app=\"web\"");
    }
    assert!(manager.mounted(&uid));
    assert_eq!(manager.mounted_uids(), std::slice::from_ref(&uid));
    manager.unmount(&uid).await.unwrap();
    manager.unmount(&uid).await.unwrap();
    assert!(!manager.mounted(&uid));
    assert!(!root.path().join("pods/u-1").exists());
}

#[tokio::test]
async fn errors_name_the_volume() {
    let root = tempfile::tempdir().unwrap();
    let manager = manager(root.path());
    let mount = json!([{ "name": "v", "mountPath": "/v" }]);
    let check = |source: serde_json::Value, expected: &'static str| {
        let mut volume = source;
        volume["name"] = "v".into();
        let pod = pod(json!([volume]), mount.clone());
        let manager = manager.clone();
        async move {
            let error = manager.mount(&pod, &PodIps::default()).await.unwrap_err();
            assert_eq!((error.volume.as_str(), error.to_string().as_str()), ("v", expected));
        }
    };
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let path = file.to_str().unwrap().to_owned();
    let expected: &'static str =
        Box::leak(format!("hostPath type check failed: {path} is not a directory").into());
    check(json!({ "hostPath": { "path": path, "type": "Directory" } }), expected).await;
    check(json!({ "persistentVolumeClaim": { "claimName": "x" } }), "no volume plugin matched")
        .await;
    check(json!({ "configMap": { "name": "x" } }), "no API server is configured").await;
}

#[test]
fn links_inside_a_volume_lead_nowhere() {
    let volume = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", volume.path().join("out")).unwrap();
    let bind = |path: &str| sub_path::bind(volume.path(), path, &place.path().join("0"));
    assert!(matches!(bind("out/passwd"), Err(sub_path::SubPathError::Outside(_))));
    assert!(matches!(bind("../x"), Err(sub_path::SubPathError::Outside(_))));
    assert!(matches!(bind("/etc"), Err(sub_path::SubPathError::Outside(_))));
}
