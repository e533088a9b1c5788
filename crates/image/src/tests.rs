use std::collections::HashMap;

use super::*;

fn unpack(archive: &[u8]) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    files
}

fn sample(binary: &Path) -> ImageBuilder {
    ImageBuilder::new("example.test/app:1")
        .file("/usr/bin/app", binary, 0o755)
        .file("/etc/motd", "hello\n", 0o644)
        .symlink("/bin", "usr/bin")
        .directory("/tmp", 0o1777)
        .entrypoint(["/usr/bin/app"])
        .command(["serve"])
        .env("PATH", "/usr/bin")
        .user("65534")
        .label("a", "b")
}

#[test]
fn archive_is_consistent_and_deterministic() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("app");
    std::fs::write(&binary, vec![7; 100_001]).unwrap();

    let (mut first, mut second) = (Vec::new(), Vec::new());
    let written = sample(&binary).write(&mut first).unwrap();
    assert_eq!(sample(&binary).write(&mut second).unwrap(), written);
    assert_eq!(first, second);

    let files = unpack(&first);
    for (name, bytes) in &files {
        if let Some(hash) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(digest(bytes), format!("sha256:{hash}"));
        }
    }
    let json = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
    let entry = &json("index.json")["manifests"][0];
    assert_eq!(entry["digest"], written.digest);
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "example.test/app:1");
    let manifest = json(&blob(&written.digest));
    assert_eq!(manifest["config"]["digest"], written.id);
    let config = json(&blob(&written.id));
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    assert_eq!(config["config"]["Env"], json!(["PATH=/usr/bin"]));
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/app"]));
    assert_eq!(json("manifest.json")[0]["RepoTags"], json!(["example.test/app:1"]));

    let layer = &files[&blob(manifest["layers"][0]["digest"].as_str().unwrap())];
    assert_eq!(manifest["layers"][0]["size"], layer.len());
    let mut names = Vec::new();
    for entry in tar::Archive::new(layer.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        let mode = entry.header().mode().unwrap();
        names.push(format!("{} {mode:o}", entry.path().unwrap().display()));
    }
    assert_eq!(
        names,
        [
            "bin 777",
            "etc/ 755",
            "etc/motd 644",
            "tmp/ 1777",
            "usr/ 755",
            "usr/bin/ 755",
            "usr/bin/app 755"
        ]
    );
}

#[test]
fn missing_source() {
    let error = sample(Path::new("/no/such/file")).write(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("reading /no/such/file: "), "{error}");
}

#[track_caller]
fn check_reference(short: &str, full: &str) {
    assert_eq!(full_reference(short), full);
}

#[test]
fn references() {
    check_reference("busybox", "docker.io/library/busybox:latest");
    check_reference("busybox:1.35", "docker.io/library/busybox:1.35");
    check_reference("team/app", "docker.io/team/app:latest");
    check_reference("localhost:5000/app", "localhost:5000/app:latest");
    check_reference("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10");
}

#[test]
fn images_of_the_same_files_share_their_layer() {
    let base = ImageBuilder::new("a:1").file("/x", "hello\n", 0o644);
    let mut sibling = base.clone().entrypoint(["/x"]);
    sibling.reference = full_reference("b:1");
    let other = ImageBuilder::new("c:1").file("/y", "hello\n", 0o644);
    let mut out = Vec::new();
    let written = write(&[base, sibling, other], &mut out).unwrap();
    let files = unpack(&out);
    let names: Vec<_> = written.iter().map(|one| one.reference.as_str()).collect();
    assert_eq!(names, ["docker.io/library/a:1", "docker.io/library/b:1", "docker.io/library/c:1"]);
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 3);
    let layers: Vec<_> = written
        .iter()
        .map(|one| -> Value { serde_json::from_slice(&files[&blob(&one.digest)]).unwrap() })
        .map(|manifest| manifest["layers"][0]["digest"].clone())
        .collect();
    assert_eq!(layers[0], layers[1]);
    assert_ne!(layers[0], layers[2]);
    // Two layers, three configurations, three manifests, and what names them.
    assert_eq!(files.len(), 2 + 3 + 3 + 3);
}
