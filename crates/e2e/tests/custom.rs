//! Custom resources with kubectl: schema, rules, columns, subresources, versions and conversion.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::cluster::{Cluster, Namespace, eventually, feed, stdout};
use crate::webhooks::Webhook;

const GROUP: &str = "e2e.ironclad.local";

/// A definition that ends with the test.
struct Definition {
    cluster: Cluster,
    name: String,
}

impl Definition {
    fn new(cluster: &Cluster, plural: &str, manifest: &str) -> Self {
        let name = format!("{plural}.{GROUP}");
        let output = feed(&mut cluster.command("create -f -"), manifest);
        assert!(output.status.success(), "{output:?}");
        cluster.kubectl(&format!("wait --for=condition=Established crd/{name} --timeout=60s"));
        Self { cluster: cluster.clone(), name }
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        let arguments = format!("delete crd {} --wait=false", self.name);
        self.cluster.command(&arguments).stdout(Stdio::null()).status().ok(); // the test is over
    }
}

const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.e2e.ironclad.local}
spec:
  group: e2e.ironclad.local
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wi], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    schema:
      openAPIV3Schema:
        description: A thing with a color.
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [color]
            x-kubernetes-validations:
            - rule: self.minReplicas <= self.replicas
              message: minReplicas must not be more than replicas
            properties:
              color:
                description: What it looks like.
                type: string
                enum: [red, green]
                x-kubernetes-validations:
                - {rule: self == oldSelf, message: color is immutable}
              minReplicas: {type: integer, minimum: 0, default: 0}
              replicas: {type: integer, minimum: 0, maximum: 9, default: 1}
              ports:
                type: array
                maxItems: 5
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string, maxLength: 20}, port: {type: integer}}
          status:
            type: object
            properties: {replicas: {type: integer}}
"#;

fn widget(name: &str, spec: &str) -> String {
    format!("apiVersion: {GROUP}/v1\nkind: Widget\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

#[test]
fn a_custom_resource_behaves_like_a_built_in_one() {
    let space = Namespace::new("widgets");
    let definition = Definition::new(&space.cluster, "widgets", WIDGETS);
    let made = eventually("served", || {
        let output = feed(&mut space.command("apply -f -"), &widget("w", "color: red"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    });
    assert_eq!(made, format!("widget.{GROUP}/w created\n"));
    assert_eq!(space.json("get widget w")["spec"]["replicas"], 1, "defaults are filled in");
    let rows = space.kubectl("get wi");
    let row = |line: usize| {
        let words = rows.lines().nth(line).unwrap().split_whitespace();
        words.take(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((row(0).as_str(), row(1).as_str()), ("NAME COLOR REPLICAS", "w red 1"));
    assert!(space.kubectl("get all").contains(&format!("widget.{GROUP}/w")));
    let explained = eventually("explained", || {
        let output = space.command("explain widget.spec.color").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("What it looks like.") { Ok(text) } else { Err(text) }
    });
    assert!(explained.contains("FIELD: color <string>"), "{explained}");

    let refused = |spec: &str, wanted: &str| {
        let output = feed(&mut space.command("apply -f -"), &widget("w", spec));
        assert_eq!(output.status.code(), Some(1), "{spec}: {output:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(wanted), "{wanted:?} is not in\n{error}");
    };
    refused("color: blue", "spec.color: Unsupported value: \"blue\"");
    refused("color: green", "spec.color: Invalid value: \"string\": color is immutable");
    refused("color: red, minReplicas: 3", "minReplicas must not be more than replicas");
    refused("color: red, replicas: 10", "spec.replicas in body should be less than or equal to 9");
    refused("color: red, colour: red", "unknown field \"spec.colour\"");

    let patched = space.pipe(
        "patch widget w --type=merge --patch-file=/dev/stdin",
        r#"{"spec":{"ports":[{"name":"a","port":1}]}}"#,
    );
    assert_eq!(patched, format!("widget.{GROUP}/w patched\n"));
    let mine = format!(
        "apiVersion: {GROUP}/v1\nkind: Widget\nmetadata: {{name: w}}\nspec: {{color: red, \
         ports: [{{name: b, port: 2}}]}}\n"
    );
    space.pipe("apply --server-side --field-manager=other --force-conflicts -f -", &mine);
    let ports = space.json("get widget w")["spec"]["ports"].clone();
    assert_eq!(
        ports,
        serde_json::json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]),
        "lists of type map merge by key"
    );
    space.kubectl("scale widget w --replicas=4");
    assert_eq!(space.json("get widget w")["spec"]["replicas"], 4);
    let generation = space.json("get widget w")["metadata"]["generation"].clone();
    space.pipe(
        "patch widget w --subresource=status --type=merge --patch-file=/dev/stdin",
        r#"{"status":{"replicas":4},"spec":{"replicas":1}}"#,
    );
    let object = space.json("get widget w");
    assert_eq!(object["status"]["replicas"], 4);
    assert_eq!(object["spec"]["replicas"], 4, "status leaves the rest alone");
    assert_eq!(object["metadata"]["generation"], generation);
    assert!(space.kubectl("get widgets --field-selector spec.color=red").contains('w'));
    let none = space.kubectl("get widgets --field-selector spec.color=green --no-headers");
    assert_eq!(none, "");

    // With the definition go the objects, and the resource is unknown.
    space.cluster.kubectl(&format!("delete crd {} --timeout=60s", definition.name));
    let error = space.refused("get widgets");
    // Whichever kubectl says, depending on what it has cached of discovery.
    let said = ["the server doesn't have a resource type \"widgets\"", "(NotFound)"];
    assert!(said.iter().any(|text| error.contains(text)), "{error}");
}

#[test]
fn versions_are_converted_by_a_webhook() {
    let space = Namespace::new("convert");
    let webhook = Webhook::start(&space.cluster, &[]);
    let version = |name: &str, storage: bool, fields: &str| {
        format!(
            "  - name: {name}\n    served: true\n    storage: {storage}\n    schema:\n      \
             openAPIV3Schema:\n        type: object\n        properties:\n          \
             spec: {{type: object, properties: {{{fields}}}}}\n"
        )
    };
    let manifest = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: crons.{GROUP}}}\nspec:\n  group: {GROUP}\n  scope: Namespaced\n  \
         names: {{plural: crons, singular: cron, kind: Cron}}\n  conversion:\n    strategy: Webhook\n    \
         webhook:\n      conversionReviewVersions: [v1]\n      clientConfig: {{url: {}, caBundle: {}}}\n  \
         versions:\n{}{}",
        format_args!("https://{}:{}/convert", webhook.address, webhook.port),
        webhook.authority,
        version("v1", true, "schedule: {type: string}"),
        version("v2", false, "minute: {type: string}, hour: {type: string}"),
    );
    let _definition = Definition::new(&space.cluster, "crons", &manifest);
    let cron = |version: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: {GROUP}/{version}\nkind: Cron\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    eventually("served", || {
        let output =
            feed(&mut space.command("create -f -"), &cron("v1", "old", "schedule: '5 12'"));
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    });
    space.pipe("create -f -", &cron("v2", "new", "minute: '7', hour: '13'"));
    let get = |version: &str, name: &str| {
        space.json(&format!("get crons.{version}.{GROUP} {name}"))["spec"].clone()
    };
    assert_eq!(get("v2", "old"), serde_json::json!({"minute": "5", "hour": "12"}));
    assert_eq!(get("v1", "new"), serde_json::json!({"schedule": "7 13"}));
    let list = space.json(&format!("get crons.v2.{GROUP}"));
    let minutes: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|o| o["spec"]["minute"].clone()).collect();
    assert_eq!(minutes, ["7", "5"], "lists are in order of names");
    space.pipe(
        &format!("patch crons.v2.{GROUP} old --type=merge --patch-file=/dev/stdin"),
        r#"{"spec":{"minute":"9"}}"#,
    );
    assert_eq!(get("v1", "old"), serde_json::json!({"schedule": "9 12"}));
    let mut watch = space.command(&format!("get crons.v2.{GROUP} old --watch -o"));
    let mut watch =
        watch.arg("jsonpath={.spec.minute}{\"\\n\"}").stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert_eq!(seen.next().unwrap().unwrap(), "9");
    stdout(
        space
            .command("patch crons.v1.e2e.ironclad.local old --type=merge -p")
            .arg(r#"{"spec":{"schedule":"10 12"}}"#),
    );
    assert_eq!(seen.next().unwrap().unwrap(), "10", "events are converted too");
    watch.kill().unwrap();
    watch.wait().unwrap();

    // Nothing is lost when the webhook is gone: what is stored in the version asked for is read.
    drop(webhook);
    assert_eq!(get("v1", "old"), serde_json::json!({"schedule": "10 12"}));
    let error = space.refused(&format!("get crons.v2.{GROUP} old"));
    assert!(
        error.contains("conversion webhook for e2e.ironclad.local/v1, Kind=Cron failed"),
        "{error}"
    );
}
