//! kubectl's verbs behave and print as with upstream.

use crate::cluster::{Cluster, Namespace, WEB, feed};

fn manifest(replicas: u32, image: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {{app: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: web, image: "{image}", ports: [{{containerPort: 8080}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
"#
    )
}

#[test]
fn apply_creates_then_changes_then_leaves_alone() {
    let space = Namespace::new("apply");
    let created = space.pipe("apply -f -", &manifest(1, WEB[0]));
    assert_eq!(created, "deployment.apps/web created\nservice/web created\n");
    let unchanged = space.pipe("apply -f -", &manifest(1, WEB[0]));
    assert_eq!(unchanged, "deployment.apps/web unchanged\nservice/web unchanged\n");
    let diff = feed(&mut space.command("diff -f -"), &manifest(2, WEB[0]));
    assert_eq!(diff.status.code(), Some(1), "{diff:?}");
    let text = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(text.contains("-  replicas: 1") && text.contains("+  replicas: 2"), "{text}");
    let changed = space.pipe("apply -f -", &manifest(2, WEB[0]));
    assert_eq!(changed, "deployment.apps/web configured\nservice/web unchanged\n");
    assert_eq!(space.json("get deployment web")["spec"]["replicas"], 2);
    let deleted = space.pipe("delete -f -", &manifest(2, WEB[0]));
    assert!(deleted.starts_with("deployment.apps \"web\" deleted"), "{deleted}");
}

#[test]
fn run_logs_exec_and_pipes() {
    let space = Namespace::new("exec");
    let image = crate::cluster::BUSYBOX;
    let printed = space
        .kubectl(&format!("run talk --image={image} --command -- sh -c echo\\ hi;sleep\\ 3600"));
    assert_eq!(printed, "pod/talk created\n");
    space.kubectl("delete pod talk --now");
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: talk}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - \
         {{name: c, image: {image}, command: [sh, -c, \"echo one; echo two >&2; sleep infinity\"]}}\n"
    );
    space.pipe("create -f -", &pod);
    let waited = space.kubectl("wait --for=condition=Ready pod/talk --timeout=90s");
    assert_eq!(waited, "pod/talk condition met\n");
    let mut lines: Vec<String> = space.kubectl("logs talk").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(space.kubectl("logs talk --tail=1").lines().count(), 1);
    assert_eq!(space.exec("talk", "echo inside; echo aside >&2").unwrap(), "inside\n");
    let failed = space.command("exec talk -- sh -c").arg("exit 7").output().unwrap();
    assert_eq!(failed.status.code(), Some(7));
    let error = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(error.contains("command terminated with exit code 7"), "{error}");
    let piped = feed(&mut space.command("exec -i talk -- cat"), "through and back");
    assert_eq!(String::from_utf8_lossy(&piped.stdout), "through and back");
}

#[test]
fn get_and_describe_print_columns() {
    let space = Namespace::new("print");
    space.pipe("apply -f -", &manifest(2, WEB[0]));
    space.kubectl("rollout status deployment/web --timeout=90s");
    let head = |arguments: &str| -> String {
        let text = space.kubectl(arguments);
        text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (arguments, columns) in [
        ("get deployments", "NAME READY UP-TO-DATE AVAILABLE AGE"),
        ("get rs", "NAME DESIRED CURRENT READY AGE"),
        ("get pods", "NAME READY STATUS RESTARTS AGE"),
        (
            "get pods -o wide",
            "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES",
        ),
        ("get svc", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"),
        ("get endpointslices", "NAME ADDRESSTYPE PORTS ENDPOINTS AGE"),
        ("get events", "LAST SEEN TYPE REASON OBJECT MESSAGE"),
        ("get cm", "NAME DATA AGE"),
        ("get sa", "NAME SECRETS AGE"),
        ("get ns", "NAME STATUS AGE"),
    ] {
        assert_eq!(head(arguments), columns, "{arguments}");
    }
    assert!(space.kubectl("get deployment web").contains("2/2"));
    let text = space.kubectl("describe deployment web");
    for part in [
        "Replicas:               2 desired | 2 updated | 2 total | 2 available | 0 unavailable",
        "StrategyType:           RollingUpdate",
        "25% max unavailable, 25% max surge",
        "Available      True    MinimumReplicasAvailable",
        "Progressing    True    NewReplicaSetAvailable",
        "Scaled up replica set web-",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let pod = &space.pods("app=web")[0];
    let text = space.kubectl(&format!("describe pod {pod}"));
    for part in [
        "Controlled By:  ReplicaSet/web-",
        "Successfully assigned",
        "already present on machine",
        "Container created",
        "Container started",
        "QoS Class:                   BestEffort",
        "kube-api-access-",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn label_annotate_patch_and_edit_change_objects() {
    let space = Namespace::new("change");
    space.kubectl("create configmap c --from-literal=a=1");
    assert_eq!(space.kubectl("label configmap c tier=test"), "configmap/c labeled\n");
    assert_eq!(space.kubectl("annotate configmap c note=x"), "configmap/c annotated\n");
    assert_eq!(space.kubectl("label configmap c tier-"), "configmap/c unlabeled\n");
    let patches = [
        ("merge", r#"{"data":{"b":"2"}}"#),
        ("strategic", r#"{"data":{"c":"3"}}"#),
        ("json", r#"[{"op":"remove","path":"/data/a"}]"#),
    ];
    for (kind, patch) in patches {
        let printed =
            space.pipe(&format!("patch configmap c --type={kind} --patch-file=/dev/stdin"), patch);
        assert_eq!(printed, "configmap/c patched\n");
    }
    let object = space.json("get configmap c");
    assert_eq!(object["data"], serde_json::json!({"b": "2", "c": "3"}));
    assert_eq!(object["metadata"]["annotations"]["note"], "x");
    assert!(object["metadata"].get("labels").is_none());
    let mut edit = space.command("edit configmap c");
    edit.env("KUBE_EDITOR", "sed -i 's/note: x/note: edited/'");
    let output = edit.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configmap/c edited\n", "{output:?}");
    let object = space.json("get configmap c");
    assert_eq!(object["metadata"]["annotations"]["note"], "edited");
}

#[test]
fn errors_are_worded_as_upstream() {
    let space = Namespace::new("errors");
    assert_eq!(
        space.refused("get pod nothing").trim(),
        "Error from server (NotFound): pods \"nothing\" not found"
    );
    space.kubectl("create configmap c");
    assert_eq!(
        space.refused("create configmap c").trim(),
        "error: failed to create configmap: configmaps \"c\" already exists"
    );
    let output = feed(
        &mut space.command("create -f -"),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: []}\n",
    );
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("The Pod \"Bad_Name\" is invalid"), "{error}");
    assert!(error.contains("spec.containers: Required value"), "{error}");
    let output = feed(
        &mut space.command("create -f -"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\nspec: {x: 1}\n",
    );
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("strict decoding error: unknown field \"spec\""), "{error}");
}

#[test]
fn access_is_controlled() {
    let space = Namespace::new("access");
    assert_eq!(space.kubectl("auth can-i delete pods").trim(), "yes");
    let asked = space.command("auth can-i create pods --as=someone").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "no");
    let error = space.refused("get pods --as=someone");
    let wanted = format!(
        "Error from server (Forbidden): pods is forbidden: User \"someone\" cannot list resource \
         \"pods\" in API group \"\" in the namespace \"{}\"",
        space.name
    );
    assert_eq!(error.trim(), wanted);
    space.kubectl("create role reader --verb=get,list --resource=pods");
    space.kubectl("create rolebinding reader --role=reader --user=someone");
    space.kubectl("get pods --as=someone");
    let account = format!("system:serviceaccount:{}:default", space.name);
    space.refused(&format!("get secrets --as={account}"));
    let token = space.kubectl("create token default");
    let whoami = space.kubectl(&format!("auth whoami --token={}", token.trim()));
    assert!(whoami.contains("kubernetes-admin") || whoami.contains(&account), "{whoami}");
}

#[test]
fn the_api_explains_itself() {
    let cluster = Cluster::shared();
    let resources = cluster.kubectl("api-resources");
    for row in ["pods", "deployments", "endpointslices", "networkpolicies", "leases"] {
        assert!(resources.lines().any(|line| line.starts_with(&format!("{row} "))), "{row}");
    }
    assert!(cluster.kubectl("api-versions").lines().any(|line| line == "apps/v1"));
    let text = cluster.kubectl("explain pod.spec.containers.livenessProbe");
    assert!(text.contains("FIELD: livenessProbe <Probe>"), "{text}");
    assert!(text.contains("periodSeconds\t<integer>"), "{text}");
    let info = cluster.kubectl("cluster-info");
    assert!(info.contains("is running at"), "{info}");
}
