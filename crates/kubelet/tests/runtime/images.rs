//! Archives in a watched folder, with a real container runtime.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use image::ImageBuilder;
use kubelet::cri::Runtime;
use kubelet::images::folder::folders;
use kubelet::images::import::Importer;
use kubelet::images::record::Record;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::harness::Containerd;

fn archive(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    ImageBuilder::new(name).file("/file", name, 0o644).write(&mut bytes).unwrap();
    bytes
}

/// Waits for `condition`; how long it takes says nothing.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never {what}");
}

async fn has(runtime: &Runtime, name: &str) -> bool {
    runtime.image_status(name).await.unwrap().is_some()
}

fn pinned(containerd: &Containerd, name: &str) -> bool {
    let listed = Command::new("ctr")
        .arg("--address")
        .arg(containerd.runtime.socket())
        .args(["--namespace", "k8s.io", "images", "list", &format!("name=={name}")])
        .output()
        .unwrap();
    String::from_utf8_lossy(&listed.stdout).contains("io.cri-containerd.pinned=pinned")
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_imported_while_the_node_runs() {
    let Some(containerd) = Containerd::start().await else { return };
    let runtime = &containerd.runtime;
    let (images, root) = (containerd.dir.path().join("images"), containerd.dir.path().join("root"));
    fs::create_dir(&images).unwrap();
    let name = |tag: &str| format!("docker.io/test/{tag}:1");
    let put = |file: &str, bytes: &[u8]| fs::write(images.join(file), bytes).unwrap();
    put("first.tar", &archive(&name("first")));
    put("bad.tar", b"no archive");

    let (keeper, view) = folders(true);
    let (problem_sender, mut problems) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let importer =
        |client: &str| Importer::new(vec![images.clone()], client.into(), runtime.clone(), &root);
    let running = tokio::spawn(importer("ctr").run(keeper, problem_sender, shutdown.clone()));
    view.state().wait_for(|state| !state.importing).await.unwrap();
    assert!(has(runtime, &name("first")).await, "one that is bad does not stop the others");
    let problem = problems.recv().await.unwrap();
    assert!(problem.starts_with(&format!("importing {}/bad.tar: ", images.display())), "{problem}");
    until("pinned", async || pinned(&containerd, &name("first"))).await;

    // One that is still being written is left alone until it is complete, and others are not.
    let second = archive(&name("second"));
    let mut writer = fs::File::create(images.join("second.tar")).unwrap();
    writer.write_all(&second[..second.len() / 2]).unwrap();
    put("third.tar", &archive(&name("third")));
    until("third", async || has(runtime, &name("third")).await).await;
    assert!(!has(runtime, &name("second")).await);
    writer.write_all(&second[second.len() / 2..]).unwrap();
    drop(writer);
    until("second", async || has(runtime, &name("second")).await).await;
    assert!(problems.try_recv().is_err(), "half of it was never read");

    // What was removed comes back when it is asked for, and not by itself.
    until("held", async || view.held().has(&name("second"))).await;
    runtime.remove_image(&name("first")).await.unwrap();
    put("fourth.tar", &archive(&name("fourth")));
    until("fourth", async || has(runtime, &name("fourth")).await).await;
    assert!(!has(runtime, &name("first")).await);
    assert!(!view.fetch(&name("unknown")).await);
    assert!(view.fetch(&name("first")).await);
    assert!(has(runtime, &name("first")).await);

    // An archive that goes lets its images go.
    fs::remove_file(images.join("first.tar")).unwrap();
    until("let go", async || !view.held().has(&name("first"))).await;
    until("not pinned", async || !pinned(&containerd, &name("first"))).await;
    shutdown.cancel();
    running.await.unwrap();

    // After a restart, nothing that did not change is read: this client could not import anything.
    let record = Record::load(&Record::path(&root));
    assert_eq!(record.archives.len(), 4, "{record:?}");
    fs::remove_file(images.join("bad.tar")).unwrap();
    runtime.remove_image(&name("second")).await.unwrap();
    let (keeper, view) = folders(true);
    let (problem_sender, mut problems) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(importer("/missing").run(keeper, problem_sender, shutdown.clone()));
    view.state().wait_for(|state| !state.importing).await.unwrap();
    assert!(view.held().has(&name("second")) && !has(runtime, &name("second")).await);
    assert!(problems.try_recv().is_err());
    assert!(Path::new(&Record::path(&root)).exists());
    shutdown.cancel();
    running.await.unwrap();
}
