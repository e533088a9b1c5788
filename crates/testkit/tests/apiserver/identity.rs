//! Tokens of service accounts and of nodes that join.

use serde_json::{Value, json};
use testkit::{ApiServer, fixtures, send, send_json};

use crate::{Outcome, expect, server};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn request(spec: Value) -> Value {
    json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_while_its_pod_exists() -> Outcome {
    let (server, admin) = server().await?;
    let pod = expect(&send_json(&admin, "POST", PODS, &fixtures::pod("p")).await?, 201);
    let uid = &pod["metadata"]["uid"];
    let bound = json!({"boundObjectRef":
        {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}, "expirationSeconds": 600});
    let path = format!("{ACCOUNTS}/default/token");
    let answer = expect(&send_json(&admin, "POST", &path, &request(bound)).await?, 201);
    let token = answer["status"]["token"].as_str().unwrap_or_default().to_owned();
    assert!(answer["status"]["expirationTimestamp"].is_string());

    let review = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
        "spec": {"token": token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = expect(&send_json(&admin, "POST", reviews, &review).await?, 201)["status"].clone();
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));

    let holder = server.client_with_token(&token)?;
    let own = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = expect(&send_json(&holder, "POST", path, &own).await?, 201);
    assert_eq!(
        answer["status"]["userInfo"]["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );

    let now = json!({"gracePeriodSeconds": 0});
    expect(&send_json(&admin, "DELETE", &format!("{PODS}/p"), &now).await?, 200);
    expect(&send_json(&holder, "GET", "/version", &Value::Null).await?, 401);
    let status = expect(&send_json(&admin, "POST", reviews, &review).await?, 201)["status"].clone();
    assert_eq!(status["authenticated"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_requests_are_checked() -> Outcome {
    let (_server, admin) = server().await?;
    let path = format!("{ACCOUNTS}/default/token");
    let short = request(json!({"expirationSeconds": 10}));
    let refused = expect(&send_json(&admin, "POST", &path, &short).await?, 422);
    assert_eq!(
        refused["message"],
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid \
         value: 10: may not specify a duration less than 10 minutes"
    );
    let nobody = format!("{ACCOUNTS}/nobody/token");
    expect(&send_json(&admin, "POST", &nobody, &request(json!({}))).await?, 404);
    let keys = send_json(&admin, "GET", "/openid/v1/jwks", &Value::Null).await?;
    assert_eq!(expect(&keys, 200)["keys"][0]["alg"], "ES256");
    let well_known = "/.well-known/openid-configuration";
    let document = expect(&send_json(&admin, "GET", well_known, &Value::Null).await?, 200);
    assert_eq!(document["issuer"], "https://kubernetes.default.svc.cluster.local");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bootstrap_tokens_are_good_while_their_secret_is_there_and_only_where_enabled() {
    for enabled in [true, false] {
        let server = ApiServer::start_on(([127, 0, 0, 1], 0).into(), |config| {
            config.enable_bootstrap_token_auth = enabled;
        })
        .await
        .unwrap();
        let admin = server.client().unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": "bootstrap-token-abcdef"},
            "stringData": {
                "token-id": "abcdef", "token-secret": "0123456789abcdef",
                "usage-bootstrap-authentication": "true",
            },
        });
        let secrets = "/api/v1/namespaces/kube-system/secrets";
        let made = send_json(&admin, "POST", secrets, &secret).await.unwrap();
        assert_eq!(made.code, 201, "{}", made.text);
        let node = server.client_with_token("abcdef.0123456789abcdef").unwrap();
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let ask = async || send_json(&node, "POST", path, &review).await.unwrap();
        let answer = ask().await;
        if enabled {
            let user = &answer.json()["status"]["userInfo"];
            assert_eq!(user["username"], "system:bootstrap:abcdef", "{}", answer.text);
            assert_eq!(user["groups"], json!(["system:bootstrappers", "system:authenticated"]));
        } else {
            assert_eq!(answer.code, 401, "{}", answer.text);
        }
        let path = format!("{secrets}/bootstrap-token-abcdef");
        assert_eq!(send(&admin, "DELETE", &path, &[], "").await.unwrap().code, 200);
        assert_eq!(ask().await.code, 401);
    }
}
