//! Who may do what.

use serde_json::{Value, json};
use testkit::{fixtures, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_open_doors() -> Outcome {
    let (server, admin) = server().await?;
    let jane = server.client_for("jane", &["dev"])?;
    let refused = expect(&send_json(&jane, "GET", CONFIG_MAPS, &Value::Null).await?, 403);
    assert_eq!(
        refused["message"],
        "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \
         \"\" in the namespace \"default\""
    );
    assert_eq!(refused["details"], json!({"kind": "configmaps"}));
    let refused = expect(&send_json(&jane, "GET", "/metrics", &Value::Null).await?, 403);
    assert_eq!(refused["message"], "forbidden: User \"jane\" cannot get path \"/metrics\"");

    let binding = json!({
        "kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "dev"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "dev"}],
        "roleRef":
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
    });
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    expect(&send_json(&admin, "POST", &bindings, &binding).await?, 201);
    let map = fixtures::config_map("a", "k", "v");
    // The index follows the cache a moment later, as upstream's does.
    let mut tries = 0;
    loop {
        let answer = send_json(&jane, "POST", CONFIG_MAPS, &map).await?;
        tries += 1;
        if answer.code == 403 && tries < 1000 {
            tokio::task::yield_now().await;
            continue;
        }
        expect(&answer, 201);
        break;
    }
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    expect(&send_json(&jane, "GET", elsewhere, &Value::Null).await?, 403);

    // Nobody can hand on what they do not have.
    let role = json!({
        "kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "r"},
        "rules": [{"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]}],
    });
    let roles = format!("{RBAC}/namespaces/default/roles");
    expect(&send_json(&jane, "POST", &roles, &role).await?, 403);
    let mut admin_binding = binding.clone();
    admin_binding["metadata"]["name"] = "jane-admin".into();
    admin_binding["subjects"] =
        json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]);
    admin_binding["roleRef"]["name"] = "admin".into();
    expect(&send_json(&admin, "POST", &bindings, &admin_binding).await?, 201);
    let mut tries = 0;
    loop {
        let answer = send_json(&jane, "POST", &roles, &role).await?;
        let text = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        tries += 1;
        if !text.contains("is attempting to grant") && tries < 1000 {
            tokio::task::yield_now().await;
            continue;
        }
        assert_eq!(
            text,
            "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" \
             (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions \
             not currently held:\n{APIGroups:[\"x\"], Resources:[\"y\"], Verbs:[\"get\"]}"
        );
        break;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_see_little() -> Outcome {
    let (server, _admin) = server().await?;
    let nobody = server.client_with_token("")?;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        expect(&send_json(&nobody, "GET", path, &Value::Null).await?, 200);
    }
    let refused = expect(&send_json(&nobody, "GET", "/api/v1/nodes", &Value::Null).await?, 403);
    assert_eq!(
        refused["message"],
        "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API \
         group \"\" at the cluster scope"
    );
    let liar = server.client_with_token("abc")?;
    let refused = expect(&send_json(&liar, "GET", "/version", &Value::Null).await?, 401);
    assert_eq!(
        refused,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_others_are_refused() -> Outcome {
    let (server, _admin) = server().await?;
    let other = component::pki::Authority::generate("kubernetes")?;
    let subject = component::pki::Subject {
        common_name: "root".to_owned(),
        organizations: vec!["system:masters".to_owned()],
        client: true,
        ..Default::default()
    };
    let pair = other.issue(&subject, std::time::Duration::from_secs(600))?;
    let identity = ::streams::tls::Identity {
        certificate: pair.certificate.as_bytes(),
        key: pair.key.as_bytes(),
    };
    let ca = server.authority().certificate().as_bytes();
    let tls = ::streams::tls::client_config(Some(ca), Some(identity))?;
    let (host, port) = (server.address().ip().to_string(), server.address().port());
    let target = ::streams::upgrade::Target { host, port, tls: Some(tls), server_name: None };
    let request = http::Request::get("/version").body(http_body_util::Empty::<&[u8]>::new())?;
    let ::streams::upgrade::Reply::Answered(answer) = target.send(request).await? else {
        return Err("nobody asked for an upgrade".into());
    };
    assert_eq!(answer.status(), 401);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impersonation() -> Outcome {
    let (server, admin) = server().await?;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review =
        json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}).to_string();
    let as_jane = [
        ("content-type", "application/json"),
        ("impersonate-user", "jane"),
        ("impersonate-group", "dev"),
    ];
    let answer = send(&admin, "POST", path, &as_jane, review.clone()).await?;
    let info = expect(&answer, 201)["status"]["userInfo"].clone();
    assert_eq!(info["username"], "jane");
    assert_eq!(info["groups"], json!(["dev", "system:authenticated"]));
    let jane = server.client_for("jane", &[])?;
    let as_admin = [("content-type", "application/json"), ("impersonate-user", "admin")];
    let refused = expect(&send(&jane, "POST", path, &as_admin, review).await?, 403);
    assert_eq!(
        refused["message"],
        "users \"admin\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API \
         group \"\" at the cluster scope"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_tell_what_is_allowed() -> Outcome {
    let (server, admin) = server().await?;
    let group = "/apis/authorization.k8s.io/v1";
    let ask = json!({
        "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {
            "user": "system:kube-scheduler",
            "resourceAttributes": {"verb": "list", "resource": "pods"},
        },
    });
    let path = format!("{group}/subjectaccessreviews");
    let answer = expect(&send_json(&admin, "POST", &path, &ask).await?, 201);
    assert_eq!(
        answer["status"],
        json!({
            "allowed": true,
            "reason": "RBAC: allowed by ClusterRoleBinding \"system:kube-scheduler\" of \
                ClusterRole \"system:kube-scheduler\" to User \"system:kube-scheduler\"",
        })
    );
    let jane = server.client_for("jane", &[])?;
    let own = json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}},
    });
    let path = format!("{group}/selfsubjectaccessreviews");
    let answer = expect(&send_json(&jane, "POST", &path, &own).await?, 201);
    assert_eq!(answer["status"], json!({"allowed": false}));
    expect(&send_json(&jane, "POST", &format!("{group}/subjectaccessreviews"), &ask).await?, 403);

    let rules = json!({
        "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"namespace": "default"},
    });
    let path = format!("{group}/selfsubjectrulesreviews");
    let answer = expect(&send_json(&jane, "POST", &path, &rules).await?, 201);
    let rules = answer["status"]["resourceRules"].to_string();
    assert!(rules.contains("selfsubjectaccessreviews"), "{rules}");
    assert_eq!(answer["status"]["incomplete"], false);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_kept_to_themselves() -> Outcome {
    let (server, admin) = server().await?;
    let node = server.client_for("system:node:w1", &["system:nodes"])?;
    let body = |name: &str| json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
    let made = expect(&send_json(&node, "POST", "/api/v1/nodes", &body("w1")).await?, 201);
    assert_eq!(made["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    let other = expect(&send_json(&node, "POST", "/api/v1/nodes", &body("w2")).await?, 403);
    assert_eq!(
        other["message"],
        "nodes \"w2\" is forbidden: node \"w1\" is not allowed to modify node \"w2\""
    );
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    expect(&send_json(&admin, "POST", secrets, &secret).await?, 201);
    let path = format!("{secrets}/s");
    let refused = expect(&send_json(&node, "GET", &path, &Value::Null).await?, 403);
    assert_eq!(
        refused["message"],
        "secrets \"s\" is forbidden: User \"system:node:w1\" cannot get resource \"secrets\" in \
         API group \"\" in the namespace \"default\": no relationship found between node 'w1' and \
         this object"
    );
    let mut pod = fixtures::pod("p");
    pod["spec"]["nodeName"] = "w1".into();
    pod["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "s"}}]);
    let pods = "/api/v1/namespaces/default/pods";
    let own = send_json(&node, "POST", pods, &pod).await?;
    expect(&own, 403);
    expect(&send_json(&admin, "POST", pods, &pod).await?, 201);
    let mut tries = 0;
    while send_json(&node, "GET", &path, &Value::Null).await?.code == 403 && tries < 1000 {
        tries += 1;
        tokio::task::yield_now().await;
    }
    expect(&send_json(&node, "GET", &path, &Value::Null).await?, 200);
    Ok(())
}
