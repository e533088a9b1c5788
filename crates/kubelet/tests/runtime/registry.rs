//! Pulling from a real registry that wants credentials.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubelet::cri::proto;
use kubelet::events::Events;
use kubelet::images::accounts::Accounts;
use kubelet::images::folder::folders;
use kubelet::images::providers::Plugin;
use kubelet::images::pull_records::{Policy, PullRecords};
use kubelet::images::{Found, Images, Missing, Wish};
use kubelet::token::Tokens;
use serde_json::json;

use crate::harness::{Containerd, IMAGE, free_port};

/// `secret`, encrypted as registries have it.
const HTPASSWD: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry on the loopback device that ends with the test.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    /// Starts it with one image, `test/app:1`; `None` where the program is missing.
    async fn start(containerd: &Containerd) -> Option<Self> {
        let at = |name: &str| containerd.dir.path().join(name);
        let address = format!("127.0.0.1:{}", free_port());
        let config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": at("registry")}},
            "http": {"addr": address, "secret": "s"},
            "auth": {"htpasswd": {"realm": "test", "path": at("htpasswd")}},
        });
        fs::write(at("htpasswd"), HTPASSWD).unwrap();
        // JSON is YAML.
        fs::write(at("registry.yml"), config.to_string()).unwrap();
        let log = fs::File::create(at("registry.log")).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(at("registry.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        let process = command.spawn().unwrap();
        let mut registry = Self { process, address };
        for _ in 0..300 {
            if tokio::net::TcpStream::connect(&registry.address).await.is_ok() {
                registry.push(containerd);
                return Some(registry);
            }
            if registry.process.try_wait().unwrap().is_some() {
                let log = fs::read_to_string(at("registry.log")).unwrap();
                eprintln!("needs docker-registry: {log}");
                return None;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the registry does not start");
    }

    fn image(&self) -> String {
        format!("{}/test/app:1", self.address)
    }

    fn push(&self, containerd: &Containerd) {
        let done = Command::new("ctr")
            .arg("--address")
            .arg(containerd.runtime.socket())
            .args(["--namespace", "k8s.io", "images", "push", "--plain-http"])
            .args(["--user", "user:secret", &self.image(), IMAGE])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn secret(&self, path: &str, password: &str) -> Arc<Secret> {
        let server = format!("https://{}{path}", self.address);
        let text = json!({"auths": {server: {"username": "user", "password": password}}});
        let data = (".dockerconfigjson".to_owned(), ByteString(text.to_string().into_bytes()));
        let name = Some(format!("{password} of {path}"));
        Arc::new(Secret {
            metadata: ObjectMeta { name, ..ObjectMeta::default() },
            type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
            data: Some(BTreeMap::from([data])),
            ..Secret::default()
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It ended already, or does so now.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What becomes of the image for a Pod of this UID.
async fn ensure(
    images: &Images,
    uid: &str,
    (image, policy): (&str, &str),
    secrets: &[Arc<Secret>],
) -> Result<Found, Missing> {
    let pod = Pod {
        metadata: ObjectMeta { uid: Some(uid.to_owned()), ..ObjectMeta::default() },
        ..Pod::default()
    };
    let container = Container {
        name: "c".to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(policy.to_owned()),
        ..Container::default()
    };
    let sandbox = proto::PodSandboxConfig::default();
    images.ensure(Wish::of_container(&pod, &container), secrets, &sandbox).await
}

/// Whether a registry wanted other credentials, as containerd 1.x and 2.x say it.
fn is_unauthorized(missing: &Missing) -> bool {
    let text = &missing.waiting.message;
    text.contains("401 Unauthorized") || text.contains("authorization failed")
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_secrets_and_from_programs() {
    let Some(containerd) = Containerd::start().await else { return };
    let Some(registry) = Registry::start(&containerd).await else { return };
    let name = registry.image();
    let image = (name.as_str(), "Always");
    let (_keeper, view) = folders(false);
    let with = |plugins: Vec<Plugin>| {
        let events = Events::new("n", None);
        let plugins = (plugins.into(), Accounts::new(None, Tokens::new(None)));
        let folder = containerd.dir.path();
        let records = Arc::new(PullRecords::new(folder, Policy::default(), Vec::new()));
        Images::new(containerd.runtime.clone(), events, 1, view.clone(), plugins, records)
    };
    let images = with(Vec::new());

    // Without credentials, and what is told while the next try is waited for.
    let first = ensure(&images, "a", image, &[]).await.unwrap_err();
    assert_eq!(first.waiting.reason, "ErrImagePull");
    let wanted = format!("failed to pull and unpack image {name:?}: failed to resolve ");
    assert!(first.waiting.message.starts_with(&wanted), "{first:?}");
    assert!(is_unauthorized(&first), "{first:?}");
    let second = ensure(&images, "a", image, &[]).await.unwrap_err();
    assert_eq!(second.waiting.reason, "ImagePullBackOff");
    assert_eq!(
        second.waiting.message,
        format!("Back-off pulling image {name:?}: ErrImagePull: {}", first.waiting.message)
    );

    // The more specific one is tried first, and is wrong.
    let (wrong, right) = (registry.secret("/test/app", "wrong"), registry.secret("", "secret"));
    let refused = ensure(&images, "b", image, std::slice::from_ref(&wrong)).await.unwrap_err();
    assert_eq!(refused.waiting.reason, "ErrImagePull");
    assert!(is_unauthorized(&refused), "{refused:?}");
    let other = registry.secret("/other", "secret");
    assert!(ensure(&images, "c", image, &[other]).await.is_err(), "for another image");
    let both = [wrong.clone(), right.clone()];
    let found = ensure(&images, "d", image, &both).await.unwrap();
    assert!(found.reference.starts_with("sha256:"), "{found:?}");

    // It is on the node now, for those who could have pulled it. Others are told no more than if it
    // were not.
    let (lazy, never) = ((image.0, "IfNotPresent"), (image.0, "Never"));
    assert_eq!(ensure(&images, "d", never, &[right]).await.unwrap(), found);
    let refused = ensure(&images, "f", never, &[]).await.unwrap_err();
    assert_eq!(refused.waiting.reason, "ErrImageNeverPull");
    let wanted = format!("Container image {:?} is not present with pull policy of Never", image.0);
    assert_eq!(refused.waiting.message, wanted);
    let refused = ensure(&images, "f", lazy, &[wrong]).await.unwrap_err();
    assert!(is_unauthorized(&refused), "{refused:?}");

    let program = containerd.dir.path().join("helper");
    let answer = json!({
        "kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": "Registry",
        "auth": {registry.address.clone(): {"username": "user", "password": "secret"}},
    });
    fs::write(&program, format!("#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let provider = serde_json::from_value(json!({
        "name": "helper",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "matchImages": [registry.address],
        "defaultCacheDuration": "1h",
    }));
    let images = with(vec![Plugin::new(provider.unwrap(), containerd.dir.path())]);
    assert_eq!(ensure(&images, "e", image, &[]).await.unwrap(), found);
    // Those of the node are everybody's.
    assert_eq!(ensure(&images, "f", never, &[]).await.unwrap(), found);
}
