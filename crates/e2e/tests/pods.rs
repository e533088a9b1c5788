//! What happens to Pods: alone, with a Deployment, and inside.

use crate::cluster::{BUSYBOX, Namespace, WEB, eventually, eventually_equal};

#[test]
fn a_bare_pod_that_is_deleted_is_gone() {
    let space = Namespace::new("bare");
    space.sleeper("alone", "w1");
    space.kubectl("delete pod alone");
    let error = space.refused("get pod alone");
    assert_eq!(error.trim(), "Error from server (NotFound): pods \"alone\" not found");
    assert!(space.pods("app=alone").is_empty());
}

#[test]
fn a_pod_of_a_deployment_is_replaced_by_a_new_one_and_ends_with_it() {
    let space = Namespace::new("replace");
    space.kubectl(&format!("create deployment web --image={} --replicas=2", WEB[0]));
    space.kubectl("rollout status deployment/web --timeout=90s");
    let before = space.json("get pods -l app=web");
    let victim = before["items"][0]["metadata"].clone();
    let name = victim["name"].as_str().unwrap();
    space.kubectl(&format!("delete pod {name} --wait=true"));
    space.kubectl("rollout status deployment/web --timeout=90s");
    let after = space.json("get pods -l app=web");
    let items = after["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    for pod in items {
        assert_ne!(pod["metadata"]["uid"], victim["uid"]);
        assert_ne!(pod["metadata"]["name"], victim["name"]);
    }
    space.kubectl("delete deployment web");
    eventually_equal("without ReplicaSets and Pods", &String::new(), || {
        space.kubectl("get replicasets,pods --no-headers --ignore-not-found")
    });
}

#[test]
fn init_containers_volumes_and_environment_reach_the_container() {
    let space = Namespace::new("inside");
    space.kubectl("create configmap settings --from-literal=color=blue");
    space.kubectl("create secret generic password --from-literal=word=sesame");
    let manifest = format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: full
  labels: {{tier: test}}
spec:
  restartPolicy: Never
  initContainers:
  - name: first
    image: {BUSYBOX}
    command: [sh, -c, "echo from-init > /shared/file"]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  containers:
  - name: main
    image: {BUSYBOX}
    command: [sh, -c, "cat /shared/file /settings/color /password/word /info/labels; echo; echo $COLOR $WORD $NODE $(GREETING); test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token"]
    env:
    - {{name: COLOR, valueFrom: {{configMapKeyRef: {{name: settings, key: color}}}}}}
    - {{name: WORD, valueFrom: {{secretKeyRef: {{name: password, key: word}}}}}}
    - {{name: NODE, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}
    - {{name: GREETING, value: "hello-$(COLOR)"}}
    volumeMounts:
    - {{name: shared, mountPath: /shared}}
    - {{name: settings, mountPath: /settings}}
    - {{name: password, mountPath: /password}}
    - {{name: info, mountPath: /info}}
  volumes:
  - {{name: shared, emptyDir: {{}}}}
  - {{name: settings, configMap: {{name: settings}}}}
  - {{name: password, secret: {{secretName: password}}}}
  - name: info
    downwardAPI: {{items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]}}
"#
    );
    space.pipe("create -f -", &manifest);
    space.kubectl("wait --for=jsonpath={.status.phase}=Succeeded pod/full --timeout=90s");
    let pod = space.json("get pod full");
    let node = pod["spec"]["nodeName"].as_str().unwrap();
    let logs = space.kubectl("logs full");
    assert_eq!(
        logs,
        format!("from-init\nbluesesametier=\"test\"\nblue sesame {node} hello-blue\ntoken\n")
    );
}

#[test]
fn a_failing_container_is_restarted_and_backs_off() {
    let space = Namespace::new("crash");
    space.kubectl(&format!("run crash --image={BUSYBOX} --command -- sh -c exit\\ 3"));
    let status = eventually("in CrashLoopBackOff", || {
        let pod = space.json("get pod crash");
        let status = pod["status"]["containerStatuses"][0].clone();
        match status["state"]["waiting"]["reason"].as_str() {
            Some("CrashLoopBackOff") => Ok(status),
            _ => Err(status.to_string()),
        }
    });
    assert!(status["restartCount"].as_u64().unwrap() >= 1);
    let events = space.kubectl("get events");
    assert!(events.contains("Back-off restarting failed container"), "{events}");
}

#[test]
fn a_pod_that_fits_no_node_says_why() {
    let space = Namespace::new("pending");
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: big}}\nspec:\n  containers:\n  - {{name: c, \
         image: {BUSYBOX}, resources: {{requests: {{cpu: \"1000\"}}}}}}\n"
    );
    space.pipe("create -f -", &manifest);
    let wanted = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.";
    eventually("told", || {
        let text = space.kubectl("describe pod big");
        if text.contains("FailedScheduling") && text.contains(wanted) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn an_image_that_is_nowhere_is_said_so() {
    let space = Namespace::new("image");
    space.kubectl("run ghost --image=ironclad.local/ghost:1 --image-pull-policy=Never");
    eventually("told", || {
        let text = space.kubectl("get pod ghost");
        if text.contains("ErrImageNeverPull") { Ok(()) } else { Err(text) }
    });
}

#[test]
fn probes_decide_readiness_and_restarts() {
    let space = Namespace::new("probes");
    let manifest = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: probed}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: {BUSYBOX}
    command: [sh, -c, "touch /tmp/alive; sleep infinity"]
    readinessProbe: {{exec: {{command: [test, -e, /tmp/ready]}}, periodSeconds: 1}}
    livenessProbe: {{exec: {{command: [test, -e, /tmp/alive]}}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1}}
"#
    );
    space.pipe("create -f -", &manifest);
    space.kubectl("wait --for=jsonpath={.status.phase}=Running pod/probed --timeout=90s");
    let ready = || space.json("get pod probed")["status"]["containerStatuses"][0]["ready"].clone();
    assert_eq!(ready(), false);
    space.exec("probed", "touch /tmp/ready").unwrap();
    eventually_equal("ready", &serde_json::json!(true), ready);
    space.exec("probed", "rm /tmp/alive").unwrap();
    eventually("restarted", || {
        let pod = space.json("get pod probed");
        let status = pod["status"]["containerStatuses"][0].clone();
        if status["restartCount"] == 1 { Ok(()) } else { Err(status.to_string()) }
    });
    let events = space.kubectl("get events");
    assert!(events.contains("Liveness probe failed"), "{events}");
}
