//! Quotas: what is taken is charged, and nobody takes too much.

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{fixtures, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

/// Makes a quota and says what is used of it, as its controller does.
async fn quota(client: &kube::Client, hard: Value, used: Value) -> Outcome {
    let quota = json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"},
        "spec": {"hard": hard}});
    let mut made = expect(&send_json(client, "POST", QUOTAS, &quota).await?, 201);
    made["status"] = json!({"hard": hard, "used": used});
    expect(&send_json(client, "PUT", &format!("{QUOTAS}/q/status"), &made).await?, 200);
    Ok(())
}

async fn used(client: &kube::Client) -> Result<Value, testkit::Error> {
    let quota = expect(&send_json(client, "GET", &format!("{QUOTAS}/q"), &Value::Null).await?, 200);
    Ok(quota["status"]["used"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_do_not_take_more_than_there_is() -> Outcome {
    let (_server, client) = server().await?;
    quota(&client, json!({"configmaps": "10"}), json!({"configmaps": "0"})).await?;
    let writes = (0..25).map(|n| {
        let client = client.clone();
        async move {
            let map = fixtures::config_map(&format!("m{n}"), "k", "v");
            send_json(&client, "POST", CONFIG_MAPS, &map).await.map(|answer| answer.code)
        }
    });
    let codes: Result<Vec<u16>, _> = join_all(writes).await.into_iter().collect();
    let codes = codes?;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 10, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 403).count(), 15, "{codes:?}");
    assert_eq!(used(&client).await?, json!({"configmaps": "10"}));
    let refused = fixtures::config_map("one-more", "k", "v");
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &refused).await?, 403);
    assert_eq!(
        refused["message"],
        "configmaps \"one-more\" is forbidden: exceeded quota: q, requested: configmaps=1, used: \
         configmaps=10, limited: configmaps=10"
    );
    // What exists may change.
    let change = fixtures::config_map("m0", "k", "w");
    let path = format!("{CONFIG_MAPS}/m0");
    let code = send_json(&client, "PUT", &path, &change).await?.code;
    assert!(code == 200 || code == 404, "{code}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_say_what_they_need_where_that_is_limited() -> Outcome {
    let (_server, client) = server().await?;
    let hard = json!({"pods": "2", "requests.cpu": "1"});
    quota(&client, hard, json!({"pods": "0", "requests.cpu": "0"})).await?;
    let pods = "/api/v1/namespaces/default/pods";
    let refused = expect(&send_json(&client, "POST", pods, &fixtures::pod("p")).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: main"
    );
    let mut pod = fixtures::pod("p");
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "600m"}});
    let dry = format!("{pods}?dryRun=All");
    expect(&send_json(&client, "POST", &dry, &pod).await?, 201);
    assert_eq!(used(&client).await?, json!({"pods": "0", "requests.cpu": "0"}));
    expect(&send_json(&client, "POST", pods, &pod).await?, 201);
    assert_eq!(used(&client).await?, json!({"pods": "1", "requests.cpu": "600m"}));
    pod["metadata"]["name"] = "q".into();
    let refused = expect(&send_json(&client, "POST", pods, &pod).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"q\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: \
         requests.cpu=600m, limited: requests.cpu=1"
    );
    Ok(())
}
