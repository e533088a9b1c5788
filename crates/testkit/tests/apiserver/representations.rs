//! The same objects as tables, as metadata, as YAML.

use serde_json::{Value, json};
use testkit::{fixtures, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_objects() -> Outcome {
    let (_server, client) = server().await?;
    let map = fixtures::config_map("a", "k", "v");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let one = format!("{CONFIG_MAPS}/a");
    let get = async |path: &str, accept: &str| {
        send(&client, "GET", path, &[("accept", accept)], "").await
    };
    for path in [CONFIG_MAPS, &one] {
        let table = expect(&get(path, TABLE).await?, 200);
        assert_eq!(
            (&table["kind"], &table["apiVersion"]),
            (&json!("Table"), &json!("meta.k8s.io/v1"))
        );
        let names: Vec<&Value> = table["columnDefinitions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|column| &column["name"])
            .collect();
        assert_eq!(names, ["Name", "Data", "Age"]);
        let row = &table["rows"][0];
        assert_eq!((&row["cells"][0], &row["cells"][1]), (&json!("a"), &json!(1)));
        assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(row["object"]["metadata"]["name"], "a");
    }
    let bare = expect(&get(&format!("{CONFIG_MAPS}?includeObject=None"), TABLE).await?, 200);
    assert_eq!(bare["rows"][0].get("object"), None);
    let list = expect(&get(CONFIG_MAPS, METADATA).await?, 200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0].get("data"), None);
    let yaml = get(&one, "application/yaml").await?;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(yaml.text.contains("\n  name: a\n"), "{}", yaml.text);
    let pretty = get(&format!("{one}?pretty=true"), "*/*").await?;
    assert!(pretty.text.starts_with("{\n  \"kind\""), "{}", pretty.text);
    let refused = get(&one, "text/html").await?;
    expect(&refused, 406);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_name_their_kind_once() -> Outcome {
    let (_server, client) = server().await?;
    let map = fixtures::config_map("a", "k", "v");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let list = expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["items"][0].get("kind"), None);
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    Ok(())
}
