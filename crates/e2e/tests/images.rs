//! Images without a registry, and from one with a mirror, credentials and an authority of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::chaos::Own;
use crate::cluster::{
    BUSYBOX, Cluster, Namespace, eventually, images, ironclad, refused, run, stdout,
};

fn shell(script: &str) -> String {
    stdout(Command::new("sh").args(["-ec", script]))
}

/// The image of tests in an archive of its own, under another name.
fn archive(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join("image.tar");
    shell(&format!(
        "cd {folder}; mkdir parts; tar -xf {given} -C parts; cd parts
         sed -i 's|{BUSYBOX}|{name}|g' manifest.json index.json; tar -cf {path} *",
        folder = folder.display(),
        given = images().join("busybox.tar").display(),
        path = path.display(),
    ));
    path
}

/// The row of image `name` on `node`, without the columns for both.
fn row(cluster: &Cluster, node: &str, name: &str) -> Option<Vec<String>> {
    let table = run(cluster, &format!("image list --node {node}"));
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows = rows.filter(|row| row[0] == node && row[1] == name);
    rows.next().map(|row| row[2..].iter().map(|cell| (*cell).to_owned()).collect())
}

#[test]
fn an_archive_is_imported_into_a_running_cluster() {
    let space = Namespace::new("images");
    let cluster = &space.cluster;
    let folder = tempfile::tempdir().unwrap();
    let name = format!("example.test/imported-{}:1", std::process::id());
    let path = archive(folder.path(), &name);
    assert_eq!(row(cluster, "w1", &name), None);

    // On one node, where it stays.
    let told = run(cluster, &format!("image import {} --node w1", path.display()));
    assert_eq!(told, format!("w1: {name}\n"));
    let listed = |node: &str| {
        eventually("listed", || row(cluster, node, &name).ok_or_else(|| node.to_owned()))
    };
    assert_eq!(listed("w1")[2], "yes");
    assert_eq!(row(cluster, "w2", &name), None);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "w1"},
            "restartPolicy": "Never",
            "containers": [{
                "name": "c", "image": name, "imagePullPolicy": "Never",
                "command": ["echo", "it runs"],
            }],
        },
    });
    space.pipe("create -f -", &pod.to_string());
    space.kubectl("wait --for=jsonpath={.status.phase}=Succeeded pod/p --timeout=90s");
    assert_eq!(space.kubectl("logs p"), "it runs\n");

    // On all of them, again where it was already.
    let told = run(cluster, &format!("image import {}", path.display()));
    assert_eq!(told, format!("m1: {name}\nw1: {name}\nw2: {name}\n"));
    assert_eq!(listed("w2")[2], "yes");

    // What the control plane and sandboxes are made of stays too.
    for own in ["ironclad.local/ironclad:v1.36.0", "ironclad.local/pause:v1.36.0"] {
        assert_eq!(row(cluster, "m1", own).expect("it is listed")[2], "yes");
    }

    let bad = folder.path().join("bad.tar");
    std::fs::write(&bad, "no archive").unwrap();
    let error = refused(cluster, &format!("image import {}", bad.display()));
    assert!(error.contains("bad.tar: "), "{error}");
    let error = refused(cluster, "image import /missing.tar");
    assert!(error.contains("/missing.tar: No such file"), "{error}");
    let error = refused(cluster, &format!("image import {} --node w9", path.display()));
    assert!(error.contains("has no node \"w9\"; it has m1, w1, w2"), "{error}");

    // One that looks right from outside is told of by those who try.
    let hollow = folder.path().join(format!("hollow-{}.tar", std::process::id()));
    shell(&format!(
        "cd {}; sed -i s/imported/hollow/ manifest.json; tar -cf {} manifest.json",
        folder.path().join("parts").display(),
        hollow.display()
    ));
    let error = refused(cluster, &format!("image import {} --node w2", hollow.display()));
    assert!(error.contains(&format!("w2: {}: ", hollow.display())), "{error}");
    let name = hollow.file_name().unwrap().to_string_lossy().into_owned();
    eventually("told of by an event", || {
        let events =
            cluster.kubectl("get events -n default --field-selector reason=ImageImportFailed");
        if events.contains(&name) { Ok(()) } else { Err(events) }
    });
}

/// `secret`, encrypted as registries have it.
const HTPASSWD: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// On the loopback device of the one node.
const REGISTRY: &str = "127.0.0.1:5000";

/// A registry that ends with the test.
struct Registry(Child);

impl Registry {
    /// Runs on the node whose first process is `node`, with what is in `folder`.
    fn start(folder: &Path, node: u64) -> Self {
        let at = |name: &str| folder.join(name);
        let config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": at("data")}},
            "http": {"addr": REGISTRY, "secret": "s",
                     "tls": {"certificate": at("tls.crt"), "key": at("tls.key")}},
            "auth": {"htpasswd": {"realm": "test", "path": at("htpasswd")}},
        });
        std::fs::write(at("htpasswd"), HTPASSWD).unwrap();
        // JSON is YAML.
        std::fs::write(at("registry.yml"), config.to_string()).unwrap();
        let log = std::fs::File::create(at("registry.log")).unwrap();
        let child = Command::new("nsenter")
            .args(["--net", "--target", &node.to_string()])
            .args(["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(at("registry.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("nsenter runs");
        Self(child)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It ended already, or does so now.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An authority and a certificate for the registry, in `folder`.
fn certificates(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::from_params(&params, &key);
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&own, &issuer).unwrap();
    for (name, text) in [
        ("ca.crt", authority.pem()),
        ("tls.crt", certificate.pem()),
        ("tls.key", own.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// Where the first process of the one node is, as the host numbers it.
fn node_process(cluster: &Cluster) -> u64 {
    let path = cluster.kubeconfig.with_file_name("cluster.json");
    let state: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    state["nodes"]["m1"]["pid"].as_u64().expect("the node runs")
}

/// Reason and message for which the container of Pod `name` waits.
fn waiting(space: &Namespace, name: &str) -> (String, String) {
    let pod = space.json(&format!("get pod {name}"));
    let state = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

#[test]
fn images_come_through_a_mirror_with_credentials_and_an_authority_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let name = "e2e-registry";
    ironclad().args(["down", "--name", name]).output().expect("ironclad runs");
    let mut up = ironclad();
    up.args(["up", "--nodes", "1", "--name", name, "--images"]).arg(images());
    up.args(["--registry-mirror", &format!("mirrored.test=https://{REGISTRY}")]);
    up.arg("--registry-ca").arg(format!("{REGISTRY}={}/ca.crt", folder.path().display()));
    stdout(&mut up);
    let own = Own(Cluster::named(name));
    let node = node_process(&own.0);
    let _registry = Registry::start(folder.path(), node);
    let image = format!("{REGISTRY}/test/app:1");
    // From the node, which reads its own configuration of registries for it.
    let push = format!(
        "nsenter --mount --net --target {node} ctr --namespace k8s.io images push \
         --hosts-dir /etc/containerd/certs.d --user user:secret {image} {BUSYBOX}"
    );
    eventually("pushed", || {
        let output = Command::new("sh").args(["-c", &push]).output().expect("sh runs");
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    });

    let space = Namespace::on(own.0.clone(), "registry");
    let secret = |name: &str, server: &str, password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
        let config = json!({"auths": {server: {"auth": auth}}}).to_string();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": config},
        });
        space.pipe("create -f -", &secret.to_string());
    };
    secret("right", REGISTRY, "secret");
    secret("wrong", REGISTRY, "wrong");
    secret("mirrored", "https://mirrored.test/test", "secret");
    let pod = |name: &str, image: &str, secrets: &[&str]| {
        let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "imagePullSecrets": secrets,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "c", "image": image, "imagePullPolicy": "Always",
                    "command": ["sleep", "infinity"],
                }],
            },
        });
        space.pipe("create -f -", &pod.to_string());
    };
    let runs = |name: &str| {
        space.kubectl(&format!("wait --for=condition=Ready pod/{name} --timeout=90s"));
    };

    // Wrong credentials, told as upstream tells them.
    pod("refused", &image, &["wrong"]);
    let backoff = eventually("waiting", || match waiting(&space, "refused") {
        (reason, message) if reason == "ImagePullBackOff" => Ok(message),
        other => Err(format!("{other:?}")),
    });
    let wanted = format!(
        "Back-off pulling image \"{image}\": ErrImagePull: failed to pull and unpack image"
    );
    assert!(backoff.starts_with(&wanted), "{backoff}");
    // As containerd 1.x and 2.x say it.
    let refused = ["401 Unauthorized", "authorization failed"];
    assert!(refused.iter().any(|words| backoff.contains(words)), "{backoff}");
    // They are written one after the other, and after the status.
    for text in ["Failed to pull image", "Error: ErrImagePull", "Error: ImagePullBackOff"] {
        eventually(text, || {
            let events = space.kubectl("get events --field-selector involvedObject.name=refused");
            if events.contains(text) { Ok(()) } else { Err(events) }
        });
    }

    // Several that fit are tried in turn; those of a mirrored registry go to its mirror.
    pod("second", &image, &["wrong", "right"]);
    runs("second");
    pod("mirrored", "mirrored.test/test/app:1", &["mirrored"]);
    runs("mirrored");

    // A Pod gets those of its service account.
    let patch = r#"{"imagePullSecrets": [{"name": "right"}]}"#;
    stdout(space.command("patch serviceaccount default -p").arg(patch));
    pod("account", &image, &[]);
    runs("account");
    let account = space.json("get pod account");
    assert_eq!(account["spec"]["imagePullSecrets"], json!([{"name": "right"}]));
}
