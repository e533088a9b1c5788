//! Two API servers on one etcd.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::etcd::EtcdCluster;
use testkit::{ApiServer, Error, fixtures, send, send_json};

use crate::watches::Watch;
use crate::{CONFIG_MAPS, Outcome, expect};

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";

async fn server(cluster: &EtcdCluster, number: u8) -> Result<ApiServer, Error> {
    let servers = cluster.servers();
    ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| {
        config.etcd.servers = servers;
        config.advertise = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
    })
    .await
}

async fn get(client: &kube::Client, path: &str, code: u16) -> Result<Value, Error> {
    Ok(expect(&send_json(client, "GET", path, &Value::Null).await?, code))
}

async fn merge(client: &kube::Client, path: &str, patch: &Value) -> Result<Value, Error> {
    let kind = [("content-type", "application/merge-patch+json")];
    Ok(expect(&send(client, "PATCH", path, &kind, patch.to_string()).await?, 200))
}

fn addresses(endpoints: &Value) -> Vec<&str> {
    let addresses = endpoints["subsets"][0]["addresses"].as_array();
    addresses.into_iter().flatten().filter_map(|address| address["ip"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_acknowledges_the_other_shows() -> Outcome {
    let cluster = EtcdCluster::start(1, &[], None);
    // At once, so that both make what must exist.
    let (one, two) = tokio::try_join!(server(&cluster, 1), server(&cluster, 2))?;
    let (a, b) = (one.client()?, two.client()?);
    let mut watch = Watch::open(&b, "", "application/json").await?;
    for round in 0..20 {
        let name = format!("m{round}");
        let path = format!("{CONFIG_MAPS}/{name}");
        let map = fixtures::config_map(&name, "k", "v");
        let made = expect(&send_json(&a, "POST", CONFIG_MAPS, &map).await?, 201);
        assert_eq!(get(&b, &path, 200).await?, made);
        let list = get(&b, CONFIG_MAPS, 200).await?;
        let names: Vec<_> = list["items"].as_array().into_iter().flatten().collect();
        assert!(names.iter().any(|item| item["metadata"]["name"] == name.as_str()));
        expect(&send_json(&b, "POST", CONFIG_MAPS, &map).await?, 409);

        let changed = merge(&b, &path, &json!({"data": {"k": "w"}})).await?;
        assert_eq!(get(&a, &path, 200).await?, changed);
        let stale = expect(&send_json(&a, "PUT", &path, &made).await?, 409);
        assert_eq!(stale["reason"], "Conflict");
        expect(&send_json(&a, "DELETE", &path, &Value::Null).await?, 200);
        get(&b, &path, 404).await?;
        expect(&send_json(&b, "DELETE", &path, &Value::Null).await?, 404);

        for want in ["ADDED", "MODIFIED", "DELETED"] {
            let event = loop {
                let event = watch.next().await?;
                if event["object"]["metadata"]["name"] != "kube-root-ca.crt" {
                    break event;
                }
            };
            assert_eq!(
                (&event["type"], &event["object"]["metadata"]["name"]),
                (&json!(want), &json!(name))
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_of_either_is_lost() -> Outcome {
    let cluster = EtcdCluster::start(1, &[], None);
    let (one, two) = tokio::try_join!(server(&cluster, 1), server(&cluster, 2))?;
    let (a, b) = (one.client()?, two.client()?);
    let map = fixtures::config_map("shared", "k", "v");
    expect(&send_json(&a, "POST", CONFIG_MAPS, &map).await?, 201);
    let path = format!("{CONFIG_MAPS}/shared");
    let write = async |client: kube::Client, side: &str| {
        for number in 0..25 {
            merge(&client, &path, &json!({"data": {format!("{side}{number}"): "v"}})).await?;
        }
        Ok::<_, Error>(())
    };
    tokio::try_join!(write(a.clone(), "a"), write(b.clone(), "b"))?;
    for client in [&a, &b] {
        let shared = get(client, &path, 200).await?;
        assert_eq!(shared["data"].as_object().map(|data| data.len()), Some(51));
    }
    // The same number was never handed out twice.
    let names = |client: kube::Client| async move {
        for _ in 0..10 {
            let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "g-"}});
            expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
        }
        Ok::<_, Error>(())
    };
    tokio::try_join!(names(a.clone()), names(b))?;
    let list = get(&a, CONFIG_MAPS, 200).await?;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(21));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubernetes_service_points_at_those_that_live() -> Outcome {
    let cluster = EtcdCluster::start(1, &[], None);
    let mut one = server(&cluster, 1).await?;
    let two = server(&cluster, 2).await?;
    let b = two.client()?;
    let endpoints = get(&b, ENDPOINTS, 200).await?;
    assert_eq!(addresses(&endpoints), ["192.0.2.1", "192.0.2.2"]);
    let slice = get(&one.client()?, SLICE, 200).await?;
    assert_eq!(slice["endpoints"].as_array().map(Vec::len), Some(2));
    one.stop().await?;
    let endpoints = get(&b, ENDPOINTS, 200).await?;
    assert_eq!(addresses(&endpoints), ["192.0.2.2"]);
    let map = fixtures::config_map("alone", "k", "v");
    expect(&send_json(&b, "POST", CONFIG_MAPS, &map).await?, 201);
    one.restart().await?;
    let endpoints = get(&b, ENDPOINTS, 200).await?;
    assert_eq!(addresses(&endpoints), ["192.0.2.1", "192.0.2.2"]);
    get(&one.client()?, &format!("{CONFIG_MAPS}/alone"), 200).await?;
    Ok(())
}

/// A server that dies says nothing: the others find out when its key has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_sent_to_a_server_that_died() -> Outcome {
    let cluster = Arc::new(EtcdCluster::start(1, &[], None));
    let two = server(&cluster, 2).await?;
    let b = two.client()?;
    // With its runtime all of its tasks end at once, wherever they are.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let of_one = cluster.clone();
    let one = runtime.spawn(async move { server(&of_one, 1).await }).await??;
    while addresses(&get(&b, ENDPOINTS, 200).await?) != ["192.0.2.1", "192.0.2.2"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    runtime.shutdown_background();
    drop(one);
    while addresses(&get(&b, ENDPOINTS, 200).await?) != ["192.0.2.2"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let slice = get(&b, SLICE, 200).await?;
    assert_eq!(slice["endpoints"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_etcd_is_told_and_survived() -> Outcome {
    let mut cluster = EtcdCluster::start(1, &[], None);
    let server = server(&cluster, 1).await?;
    let client = server.client()?;
    let map = fixtures::config_map("before", "k", "v");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let mut watch = Watch::open(&client, "", "application/json").await?;
    assert_eq!(watch.next().await?["object"]["metadata"]["name"], "before");
    cluster.kill(0);
    // What is asked for "as of any time" is still served.
    get(&client, &format!("{CONFIG_MAPS}/before?resourceVersion=0"), 200).await?;
    while send(&client, "GET", "/readyz/etcd", &[], "").await?.code == 200 {
        tokio::task::yield_now().await;
    }
    cluster.resume(0);
    let map = fixtures::config_map("after", "k", "v");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    get(&client, &format!("{CONFIG_MAPS}/before"), 200).await?;
    assert_eq!(watch.next().await?["object"]["metadata"]["name"], "after");
    while send(&client, "GET", "/readyz", &[], "").await?.code != 200 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_the_store_are_shown_compared_added_and_removed() -> Outcome {
    let cluster = EtcdCluster::start(1, &[], None);
    let one = server(&cluster, 1).await?;
    let client = one.client()?;
    let all = get(&client, "/store/members", 200).await?;
    assert_eq!(all["members"][0]["name"], "m0", "{all}");
    let checked = get(&client, "/store/check", 200).await?;
    assert_eq!((&checked["same"], &checked["members"][0]["name"]), (&json!(true), &json!("m0")));

    let url = "http://127.0.0.1:1";
    let path = format!("/store/members?peerURL={url}");
    let all = expect(&send_json(&client, "POST", &path, &Value::Null).await?, 200);
    let added = all["members"].as_array().into_iter().flatten();
    let mut added = added.filter(|member| member["peerURLs"] == json!([url]));
    let added = added.next().ok_or("it was not added")?;
    assert_eq!((&added["isLearner"], &added["name"]), (&json!(true), &json!("")), "{all}");
    let path = format!("/store/members/{}", added["id"].as_str().unwrap_or_default());
    let promote = format!("{path}/promote");
    expect(&send_json(&client, "POST", &promote, &Value::Null).await?, 500);
    let all = expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);
    assert_eq!(all["members"].as_array().map(Vec::len), Some(1), "{all}");

    let embedded = ApiServer::start().await?;
    let refused = get(&embedded.client()?, "/store/members", 500).await?;
    assert_eq!(refused["message"], "the embedded store has no members");
    Ok(())
}
