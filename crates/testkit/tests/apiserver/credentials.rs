//! Certificates, authorities and keys that are replaced while servers and clients run.

use std::time::Duration;

use client::ConnectOptions;
use component::pki::{Authority, Subject};
use serde_json::json;
use testkit::{ApiServer, send_json};

use crate::{Outcome, expect, server};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const HOUR: Duration = Duration::from_secs(3600);

/// Who the server says that the holder of the client is.
async fn who(client: &kube::Client) -> Result<String, testkit::Error> {
    let own = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let answer = expect(&send_json(client, "POST", REVIEWS, &own).await?, 201);
    Ok(answer["status"]["userInfo"]["username"].as_str().unwrap_or_default().to_owned())
}

/// Replaces a file of the server's as tools do.
fn put(server: &ApiServer, name: &str, text: &str) -> Outcome {
    let partial = server.folder().join("partial");
    std::fs::write(&partial, text)?;
    Ok(std::fs::rename(partial, server.folder().join(name))?)
}

/// Asks again and again; the test's own limit ends it.
async fn until<T, F: Future<Output = Option<T>>>(question: impl Fn() -> F) -> T {
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_shows_the_certificate_that_is_in_its_files_now() -> Outcome {
    let (server, _) = server().await?;
    // The kubeconfig names files, and is replaced itself later on.
    std::fs::write(server.folder().join("own.conf"), server.kubeconfig_for("one", &[])?)?;
    let options = ConnectOptions {
        kubeconfig: Some(server.folder().join("own.conf")),
        user_agent: String::new(),
    };
    let client = client::connect(&options).await?;
    assert_eq!(who(&client).await?, "one");
    let two = server.credentials("two", &[])?;
    put(&server, "one.key", &two.key)?;
    put(&server, "one.crt", &two.certificate)?;
    until(async || (who(&client).await.ok()? == "two").then_some(())).await;
    put(&server, "own.conf", &server.kubeconfig_for("three", &[])?)?;
    until(async || (who(&client).await.ok()? == "three").then_some(())).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_takes_over_from_another_under_a_running_client() -> Outcome {
    let (server, _) = server().await?;
    let (old, new) = (server.authority(), Authority::generate("kubernetes")?);
    let (old_pem, new_pem) = (old.certificate().to_owned(), new.certificate().to_owned());
    // It names the file with the server's authorities.
    std::fs::write(server.folder().join("own.conf"), server.kubeconfig_for("one", &[])?)?;
    let options = ConnectOptions {
        kubeconfig: Some(server.folder().join("own.conf")),
        user_agent: String::new(),
    };
    let client = client::connect(&options).await?;
    let serving = Subject {
        common_name: "kube-apiserver".to_owned(),
        names: vec!["127.0.0.1".to_owned()],
        server: true,
        ..Subject::default()
    };
    let user = Subject { common_name: "one".to_owned(), client: true, ..Subject::default() };

    put(&server, "ca.crt", &format!("{old_pem}{new_pem}"))?;
    let map = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let admin = server.client()?;
    let published = async || {
        let map = send_json(&admin, "GET", map, &json!(null)).await.ok()?.json();
        Some(map["data"]["client-ca-file"].as_str()?.to_owned())
    };
    until(async || (published().await?.matches("BEGIN").count() == 2).then_some(())).await;

    // The client is of the new authority, then the server, and nothing of the old one is left.
    let renewed = new.issue(&user, HOUR)?;
    put(&server, "one.key", &renewed.key)?;
    put(&server, "one.crt", &renewed.certificate)?;
    until(async || (who(&client).await.ok()? == "one").then_some(())).await;
    let renewed = new.issue(&serving, HOUR)?;
    put(&server, "apiserver.key", &renewed.key)?;
    put(&server, "apiserver.crt", &renewed.certificate)?;
    put(&server, "ca.crt", &new_pem)?;
    let fresh = async || {
        let client = client::connect(&options).await.ok()?;
        (who(&client).await.ok()? == "one").then_some(())
    };
    until(fresh).await;
    until(async || (who(&client).await.ok()? == "one").then_some(())).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_tokens_are_replaced_without_a_restart() -> Outcome {
    let (server, admin) = server().await?;
    let token = async || {
        let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "spec": {"expirationSeconds": 600}});
        let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
        let answer = expect(&send_json(&admin, "POST", path, &request).await?, 201);
        Ok::<_, testkit::Error>(answer["status"]["token"].as_str().unwrap_or("").to_owned())
    };
    let keys = async || {
        let answer = send_json(&admin, "GET", "/openid/v1/jwks", &json!(null)).await.ok()?;
        Some(answer.json()["keys"].as_array()?.len())
    };
    let good = async |token: &str| {
        let client = server.client_with_token(token)?;
        let answer = send_json(&client, "GET", "/version", &json!(null)).await?;
        Ok::<_, testkit::Error>(answer.code == 200)
    };
    let first = token().await?;
    let old = std::fs::read_to_string(server.folder().join("sa.pub"))?;
    let (private, public) = component::pki::signing_key()?;
    put(&server, "sa.pub", &format!("{old}{public}"))?;
    until(async || (keys().await? == 2).then_some(())).await;
    put(&server, "sa.key", &private)?;
    let header = |token: &str| token.split('.').next().unwrap_or_default().to_owned();
    let signed_anew = async || {
        let token = token().await.ok()?;
        (header(&token) != header(&first)).then_some(token)
    };
    let second = until(signed_anew).await;
    assert!(good(&first).await? && good(&second).await?);
    put(&server, "sa.pub", &public)?;
    until(async || (keys().await? == 1).then_some(())).await;
    assert!(!good(&first).await? && good(&second).await?);
    Ok(())
}
