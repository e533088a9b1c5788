//! Snapshots through the API server, going back to one, and a store that is full or damaged.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use store::snapshot::{Snapshot, folder, restore};
use testkit::{ApiServer, Error, fixtures, send_json};

use crate::watches::Watch;
use crate::{CONFIG_MAPS, Outcome, expect};

async fn start(adjust: impl FnOnce(&mut testkit::Config)) -> Result<ApiServer, Error> {
    ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), adjust).await
}

async fn save(client: &kube::Client, path: &Path) -> Result<Snapshot, Error> {
    let request = http::Request::get("/store/snapshot").body(Body::empty())?;
    let response = client.send(request).await?;
    assert_eq!(response.status().as_u16(), 200);
    let name = response.headers()["content-disposition"].to_str()?.to_owned();
    std::fs::write(path, response.into_body().collect().await?.to_bytes())?;
    let snapshot = Snapshot::open(path, |_| {})?;
    let revision = snapshot.header.revision;
    assert!(name.starts_with("attachment; filename=\"manual-"), "{name}");
    assert!(name.ends_with(&format!("-r{revision}.snapshot\"")), "{name}");
    Ok(snapshot)
}

async fn create(client: &kube::Client, name: &str, value: &str) -> Result<Value, Error> {
    let map = fixtures::config_map(name, "k", value);
    Ok(expect(&send_json(client, "POST", CONFIG_MAPS, &map).await?, 201))
}

async fn code(client: &kube::Client, method: &str, path: &str) -> Result<u16, Error> {
    Ok(send_json(client, method, path, &Value::Null).await?.code)
}

fn store_file(server: &ApiServer) -> PathBuf {
    server.folder().join("store").join(apiserver::STORE_FILE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_is_bound_to_the_path_gets_a_snapshot() -> Outcome {
    let server = start(|_| {}).await?;
    let admin = server.client()?;
    let jane = server.client_for("jane", &[])?;
    for (method, path) in
        [("GET", "/store/snapshot"), ("GET", "/store/status"), ("POST", "/store/defrag")]
    {
        assert_eq!(code(&jane, method, path).await?, 403, "{path}");
        assert_eq!(code(&server.client_with_token("")?, method, path).await?, 403, "{path}");
    }
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "backup"},
        "rules": [{"nonResourceURLs": ["/store/snapshot"], "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "backup"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "backup"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{plural}");
        expect(&send_json(&admin, "POST", &path, &object).await?, 201);
    }
    while code(&jane, "GET", "/store/snapshot").await? == 403 {
        tokio::task::yield_now().await;
    }
    let folder = tempfile::tempdir()?;
    let snapshot = save(&jane, &folder.path().join("s")).await?;
    let path = "/api/v1/namespaces/kube-system";
    let namespace = expect(&send_json(&admin, "GET", path, &Value::Null).await?, 200);
    assert_eq!(snapshot.header.cluster, namespace["metadata"]["uid"].as_str().unwrap_or_default());
    assert_eq!(code(&jane, "POST", "/store/defrag").await?, 403);
    assert_eq!(code(&admin, "POST", "/store/snapshot").await?, 405);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_server_shows_what_was_and_watches_begin_anew() -> Outcome {
    let mut server = start(|_| {}).await?;
    let client = server.client()?;
    create(&client, "kept", "1").await?;
    let folder = tempfile::tempdir()?;
    let snapshot = save(&client, &folder.path().join("s")).await?;
    assert_eq!(code(&client, "DELETE", &format!("{CONFIG_MAPS}/kept")).await?, 200);
    let newest = create(&client, "later", "1").await?;
    let newest = newest["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    server.stop().await?;
    let restored =
        restore::into_file(&snapshot, &store_file(&server), restore::BUMP, SystemTime::now())?;
    server.restart().await?;

    let client = server.client()?;
    assert_eq!(code(&client, "GET", &format!("{CONFIG_MAPS}/kept")).await?, 200);
    assert_eq!(code(&client, "GET", &format!("{CONFIG_MAPS}/later")).await?, 404);
    for past in [newest.as_str(), "5"] {
        let query = format!("resourceVersion={past}");
        let mut watch = Watch::open(&client, &query, "application/json").await?;
        let event = watch.next().await?;
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    }
    let again = create(&client, "again", "1").await?;
    let revision: u64 = again["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse()?;
    assert!(revision > restored.revision && restored.revision > newest.parse::<u64>()?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_taken_by_schedule_and_the_newest_stay() -> Outcome {
    let snapshots = tempfile::tempdir()?;
    let path = snapshots.path().join("made/by/the/server");
    let server = start(|config| {
        config.snapshot_dir = path.clone();
        config.snapshot_interval = Duration::from_millis(1);
        config.snapshot_keep = 2;
    })
    .await?;
    let client = server.client()?;
    let mut seen = std::collections::HashSet::new();
    let mut number = 0;
    // Names are by the second and the revision; each change makes another one.
    while seen.len() < 4 {
        create(&client, &format!("m{number}"), "1").await?;
        number += 1;
        seen.extend(folder::list(&path)?.into_iter().map(|found| found.name.revision));
    }
    drop(server);
    let newest = folder::list(&path)?.pop().ok_or("there is none")?;
    assert!(Snapshot::open(&newest.path, |_| {})?.records > 50);
    assert!(folder::list(&path)?.len() <= 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_writes_and_lets_deletions_go_on() -> Outcome {
    let server = start(|config| config.quota_backend_bytes = 2_000_000).await?;
    let client = server.client()?;
    let value = "x".repeat(100_000);
    let mut number = 0;
    let refused = loop {
        let map = fixtures::config_map(&format!("m{number}"), "k", &value);
        let answer = send_json(&client, "POST", CONFIG_MAPS, &map).await?;
        if answer.code != 201 {
            break answer;
        }
        number += 1;
    };
    assert_eq!(refused.code, 500);
    assert_eq!(refused.json()["message"], "etcdserver: mvcc: database space exceeded");
    let status = expect(&send_json(&client, "GET", "/store/status", &Value::Null).await?, 200);
    assert_eq!(status["alarms"], json!(["NOSPACE"]), "{status}");
    assert_eq!(status["quotaBytes"], 2_000_000);
    let path = "/api/v1/componentstatuses/etcd-0";
    let component = expect(&send_json(&client, "GET", path, &Value::Null).await?, 200);
    let condition = &component["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["message"]),
        (&json!("False"), &json!("ALARM NOSPACE"))
    );
    let small = fixtures::config_map("small", "k", "v");
    assert_eq!(send_json(&client, "POST", CONFIG_MAPS, &small).await?.code, 500);
    assert_eq!(code(&client, "GET", &format!("{CONFIG_MAPS}/m0")).await?, 200);
    for gone in 0..number - 1 {
        assert_eq!(code(&client, "DELETE", &format!("{CONFIG_MAPS}/m{gone}")).await?, 200);
    }
    let status = expect(&send_json(&client, "POST", "/store/defrag", &Value::Null).await?, 200);
    let status = match status["alarms"].as_array().map(Vec::len) {
        Some(0) => status,
        // The alarm ends with the writer's next look.
        _ => expect(&send_json(&client, "GET", "/store/status", &Value::Null).await?, 200),
    };
    assert_eq!(status["alarms"], json!([]), "{status}");
    create(&client, "small", "v").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_not_served_and_the_commands_are_named() -> Outcome {
    let mut server = start(|_| {}).await?;
    for number in 0..50 {
        create(&server.client()?, &format!("m{number}"), "1").await?;
    }
    server.stop().await?;
    let path = store_file(&server);
    let mut bytes = std::fs::read(&path)?;
    let place = bytes.windows(11).position(|text| text == b"\"name\":\"m7\"").ok_or("no m7")?;
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes)?;
    let error = server.restart().await.map(|_| ()).expect_err("it is damaged").to_string();
    let command = format!("`ironclad store check {}`", path.display());
    assert!(error.contains(&command) && error.contains("ironclad snapshot restore"), "{error}");
    assert_eq!(std::fs::read(&path)?, bytes, "it is left alone");
    Ok(())
}
