//! Versions of groups that another server serves.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::pki::{Pair, Subject};
use component::serve::{Certificates, Options, Peer};
use component::tls::ServerTls;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use serde_json::{Value, json};
use testkit::{Answer, ApiServer, send, send_json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::customresources::until;
use crate::{Outcome, expect};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";
const ROOT: &str = "/apis/wardle.example.com/v1alpha1";
const WHOLE: &str = "nothing panics under the lock";

/// A request as the other server saw it.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// Whether the client showed a certificate of the authority.
    is_trusted: bool,
    /// Number of its connection.
    connection: usize,
}

/// A server of `flunders`, which keeps nothing.
struct Extension {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How its OpenAPI v2 document is asked for and what it has to say.
    swagger: Arc<Mutex<Swagger>>,
    _stop: DropGuard,
}

/// An OpenAPI v2 document.
#[derive(Clone, Default)]
struct Swagger {
    etag: Option<&'static str>,
    document: Value,
}

impl Extension {
    async fn start(pair: &Pair, authority: &str) -> Result<Self, testkit::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (certificate, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
        let tls = ServerTls::new(certificate, key, Some(authority.as_bytes()))?;
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let swagger: Arc<Mutex<Swagger>> = Arc::default();
        let (log, said) = (seen.clone(), swagger.clone());
        let connections = AtomicUsize::new(0);
        let connect = move |peer: Peer| {
            let (log, said) = (log.clone(), said.clone());
            let is_trusted = matches!(peer.certificates, Certificates::Trusted(_));
            let connection = connections.fetch_add(1, Ordering::Relaxed);
            service_fn(move |request: Request<Incoming>| {
                let (log, said) = (log.clone(), said.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes());
                    let path = parts.uri.path_and_query().map(ToString::to_string);
                    let seen = Seen {
                        method: parts.method.to_string(),
                        path: path.unwrap_or_default(),
                        headers: parts.headers,
                        body: body.unwrap_or_default(),
                        is_trusted,
                        connection,
                    };
                    let response = match seen.path.as_str() {
                        "/openapi/v2" => said.lock().expect(WHOLE).answer(&seen),
                        _ => answer(&seen),
                    };
                    log.lock().expect(WHOLE).push(seen);
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let stop = CancellationToken::new();
        let serve = component::serve::serve;
        tokio::spawn(serve(listener, Some(tls), Options::default(), connect, stop.clone()));
        Ok(Self { address, seen, swagger, _stop: stop.drop_guard() })
    }

    /// Has an OpenAPI v2 document from now on.
    fn say(&self, etag: Option<&'static str>, document: Value) {
        *self.swagger.lock().expect(WHOLE) = Swagger { etag, document };
    }

    /// The last request for a path.
    fn last(&self, path: &str) -> Seen {
        let seen = self.seen.lock().expect(WHOLE);
        seen.iter().rev().find(|seen| seen.path == path).cloned().expect(path)
    }
}

impl Swagger {
    fn answer(&self, seen: &Seen) -> Response<Full<Bytes>> {
        let known = seen.headers.get("if-none-match").and_then(|etag| etag.to_str().ok());
        let code = match (&self.document, self.etag) {
            (Value::Null, _) => 404,
            (_, Some(etag)) if known == Some(etag) => 304,
            _ => 200,
        };
        let mut response = reply(code, &self.document);
        if let Some(etag) = self.etag {
            response.headers_mut().insert("etag", etag.parse().expect("it is ASCII"));
        }
        response
    }
}

fn reply(code: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(code).expect("the code is valid");
    response.headers_mut().insert("content-type", "application/json".parse().expect("it is ASCII"));
    response
}

fn answer(seen: &Seen) -> Response<Full<Bytes>> {
    let (code, body) = match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", ROOT) => (
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1",
                "groupVersion": "wardle.example.com/v1alpha1",
                "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true,
                    "kind": "Flunder", "verbs": ["create", "get", "list"]}]}),
        ),
        ("GET", "/openapi/v3") => (
            200,
            json!({"paths": {"apis/wardle.example.com/v1alpha1": {"serverRelativeURL":
                "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC"}}}),
        ),
        ("GET", "/openapi/v3/apis/wardle.example.com/v1alpha1") => {
            (200, json!({"openapi": "3.0.0"}))
        }
        ("POST", _) => (201, serde_json::from_slice(&seen.body).unwrap_or_default()),
        _ => (404, json!({"kind": "Status", "apiVersion": "v1", "code": 404})),
    };
    reply(code, &body)
}

/// A server, its client, and another server behind a Service that an APIService may name.
async fn servers() -> Result<(ApiServer, kube::Client, Extension), testkit::Error> {
    let server = ApiServer::start().await?;
    let client = server.client()?;
    let subject = Subject {
        common_name: "sample-api".to_owned(),
        names: vec!["sample-api.default.svc".to_owned()],
        server: true,
        ..Subject::default()
    };
    let pair = server.authority().issue(&subject, std::time::Duration::from_secs(3600))?;
    let extension = Extension::start(&pair, server.authority().certificate()).await?;
    Ok((server, client, extension))
}

async fn expose(client: &kube::Client) -> Outcome {
    let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "sample-api"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let path = "/api/v1/namespaces/default/services";
    expect(&send_json(client, "POST", path, &service).await?, 201);
    Ok(())
}

async fn register(server: &ApiServer, client: &kube::Client, port: u16) -> Outcome {
    let service = json!({
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": NAME},
        "spec": {
            "group": "wardle.example.com",
            "version": "v1alpha1",
            "groupPriorityMinimum": 2000,
            "versionPriority": 200,
            "caBundle": STANDARD.encode(server.authority().certificate()),
            "service": {"namespace": "default", "name": "sample-api", "port": port},
        },
    });
    expect(&send_json(client, "POST", SERVICES, &service).await?, 201);
    Ok(())
}

/// Waits until the condition of the APIService has a reason.
async fn until_reason(client: &kube::Client, reason: &str) -> Result<Value, testkit::Error> {
    let is = |answer: &Answer| answer.json()["status"]["conditions"][0]["reason"] == reason;
    let service = until(client, &format!("{SERVICES}/{NAME}"), is).await?;
    Ok(service["status"]["conditions"][0].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_passed_on_under_the_users_name() -> Outcome {
    let (server, client, extension) = servers().await?;
    register(&server, &client, extension.address.port()).await?;
    let condition = until_reason(&client, "ServiceNotFound").await?;
    assert_eq!(condition["status"], "False");
    assert_eq!(condition["message"], "service/sample-api in \"default\" is not present");
    let refused = send_json(&client, "GET", ROOT, &Value::Null).await?;
    assert_eq!((refused.code, refused.text.as_str()), (503, "service unavailable\n"));

    expose(&client).await?;
    let condition = until_reason(&client, "Passed").await?;
    assert_eq!(condition["message"], "all checks passed");
    let list = expect(&send_json(&client, "GET", ROOT, &Value::Null).await?, 200);
    assert_eq!(list["resources"][0]["name"], "flunders");
    let asked = extension.last(ROOT);
    assert!(asked.is_trusted, "the server shows who it is");
    assert_eq!(asked.headers["x-remote-user"], "kubernetes-admin");

    let flunders = format!("{ROOT}/namespaces/default/flunders?dryRun=All");
    let flunder = json!({"kind": "Flunder", "metadata": {"name": "f"}});
    let headers = [
        ("content-type", "application/json"),
        ("x-remote-user", "somebody-else"),
        ("x-remote-extra-scope", "all"),
    ];
    let made = send(&client, "POST", &flunders, &headers, flunder.to_string()).await?;
    assert_eq!(expect(&made, 201), flunder);
    let passed = extension.last(&flunders);
    let of = |name: &str| -> Vec<&str> {
        passed.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    assert_eq!(of("x-remote-user"), ["kubernetes-admin"]);
    assert_eq!(of("x-remote-group"), ["system:masters", "system:authenticated"]);
    assert_eq!(of("x-remote-extra-scope"), [""; 0]);
    assert_eq!(of("authorization"), [""; 0]);
    assert_eq!(of("x-forwarded-for"), ["127.0.0.1"]);

    // Who may not do it here is not heard of there.
    let stranger = server.client_for("stranger", &[])?;
    let refused = send_json(&stranger, "POST", &flunders, &flunder).await?;
    let refused = expect(&refused, 403);
    assert_eq!(
        refused["message"],
        "flunders.wardle.example.com is forbidden: User \"stranger\" cannot create resource \"flunders\" in API group \"wardle.example.com\" in the namespace \"default\""
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_serve_is_in_the_documents() -> Outcome {
    let (server, client, extension) = servers().await?;
    expose(&client).await?;
    register(&server, &client, extension.address.port()).await?;
    until_reason(&client, "Passed").await?;
    let groups = expect(&send_json(&client, "GET", "/apis", &Value::Null).await?, 200);
    let own = groups["groups"].as_array().into_iter().flatten().next_back();
    let version = json!({"groupVersion": "wardle.example.com/v1alpha1", "version": "v1alpha1"});
    let group = json!({"name": "wardle.example.com", "versions": [version],
        "preferredVersion": version});
    assert_eq!(own, Some(&group));
    let single = send_json(&client, "GET", "/apis/wardle.example.com", &Value::Null).await?;
    assert_eq!(expect(&single, 200)["versions"], json!([version]));

    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = expect(&send(&client, "GET", "/apis", &[("accept", accept)], "").await?, 200);
    let own = all["items"].as_array().into_iter().flatten().next_back().cloned();
    let own = own.unwrap_or_default();
    assert_eq!(own["metadata"]["name"], "wardle.example.com");
    assert_eq!(own["versions"][0]["freshness"], "Current");
    assert_eq!(own["versions"][0]["resources"][0]["responseKind"]["kind"], "Flunder");

    let index = expect(&send_json(&client, "GET", "/openapi/v3", &Value::Null).await?, 200);
    let url = &index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"];
    assert_eq!(url, "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC");
    let path = "/openapi/v3/apis/wardle.example.com/v1alpha1";
    assert_eq!(
        expect(&send_json(&client, "GET", path, &Value::Null).await?, 200)["openapi"],
        "3.0.0"
    );

    // With its APIService it is gone.
    expect(&send_json(&client, "DELETE", &format!("{SERVICES}/{NAME}"), &Value::Null).await?, 200);
    until(&client, ROOT, |answer| answer.code == 404).await?;
    let groups = expect(&send_json(&client, "GET", "/apis", &Value::Null).await?, 200);
    assert!(!groups.to_string().contains("wardle"), "{groups}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_here_has_api_services_too() -> Outcome {
    use crate::customresources::{define, schema, widgets};

    let server = ApiServer::start().await?;
    let client = server.client()?;
    let apps = format!("{SERVICES}/v1.apps");
    let service = expect(&send_json(&client, "GET", &apps, &Value::Null).await?, 200);
    assert_eq!(service["status"]["conditions"][0]["reason"], "Local");
    define(&client, &widgets(schema())).await?;
    let custom = format!("{SERVICES}/v1.ex.io");
    let service = until(&client, &custom, |answer| answer.code == 200).await?;
    assert_eq!(service["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    let definition = format!("{}/widgets.ex.io", crate::customresources::DEFINITIONS);
    expect(&send_json(&client, "DELETE", &definition, &Value::Null).await?, 200);
    until(&client, &custom, |answer| answer.code == 404).await?;
    Ok(())
}

/// A document in which a Flunder has the name of a definition of this server.
fn swagger(description: &str) -> Value {
    let answer = |definition: &str| {
        let schema = json!({"$ref": format!("#/definitions/{definition}")});
        json!({"get": {"description": description, "operationId": description,
            "parameters": [{"$ref": "#/parameters/pretty"}],
            "responses": {"200": {"description": "OK", "schema": schema}}}})
    };
    let mut paths = serde_json::Map::new();
    paths.insert(format!("{ROOT}/flunders"), answer("io.k8s.api.core.v1.Pod"));
    paths.insert(format!("{ROOT}/"), answer("List"));
    paths.insert("/apis/apps/v1/deployments".to_owned(), answer("Stranger"));
    paths.insert("/apis/wardle.example.com/v1/flunders".to_owned(), answer("Stranger"));
    json!({
        "swagger": "2.0",
        "info": {"title": "Wardle", "version": "v0"},
        "paths": paths,
        "definitions": {
            "io.k8s.api.core.v1.Pod": {"type": "object", "properties": {"flunder": {"type": "string"}}},
            "List": {"type": "object"},
            "Stranger": {"type": "object"},
        },
        "parameters": {"pretty": {"in": "query", "name": "pretty", "type": "string"}},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_of_others_is_merged() -> Outcome {
    let (server, client, extension) = servers().await?;
    expose(&client).await?;
    extension.say(Some("\"1\""), swagger("first"));
    register(&server, &client, extension.address.port()).await?;
    let flunders = format!("{ROOT}/flunders");
    let has = |answer: &Answer| answer.json()["paths"][&flunders].is_object();
    let all = until(&client, "/openapi/v2", has).await?;
    let own = &all["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(own["operationId"], "listAppsV1DeploymentForAllNamespaces");
    assert!(all["paths"]["/apis/wardle.example.com/v1/flunders"].is_null());
    assert!(all["definitions"]["Stranger"].is_null(), "nothing that is served needs it");
    assert_eq!(all["info"]["title"], "Kubernetes");
    let renamed = "io.k8s.api.core.v1.Pod_v2";
    let schema = &all["paths"][&flunders]["get"]["responses"]["200"]["schema"];
    assert_eq!(schema["$ref"], format!("#/definitions/{renamed}"));
    assert!(all["definitions"][renamed]["properties"]["flunder"].is_object());
    assert!(all["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"].is_object());

    let asked = extension.last("/openapi/v2");
    assert!(asked.is_trusted);
    assert_eq!(asked.headers["x-remote-user"], "system:aggregator");
    assert!(asked.headers.get("if-none-match").is_none());
    let protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let binary = send(&client, "GET", "/openapi/v2", &[("accept", protobuf)], "").await?;
    assert_eq!(binary.code, 200);
    assert!(binary.text.contains(renamed) && binary.text.contains("#/parameters/pretty"));

    // One that is the same is not sent again: the server is asked anew when it was away.
    extension.say(Some("\"1\""), swagger("what is not read"));
    let service = "/api/v1/namespaces/default/services/sample-api";
    expect(&send_json(&client, "DELETE", service, &Value::Null).await?, 200);
    until_reason(&client, "ServiceNotFound").await?;
    expose(&client).await?;
    until_reason(&client, "Passed").await?;
    let asked_again = || {
        let seen = extension.seen.lock().expect(WHOLE);
        let asked = seen.iter().filter(|seen| seen.path == "/openapi/v2");
        asked.filter(|seen| seen.headers.contains_key("if-none-match")).count()
    };
    let metrics = until_text(&client, "/metrics", |_| asked_again() > 0).await?;
    assert_eq!(extension.last("/openapi/v2").headers["if-none-match"], "\"1\"");
    let all = expect(&send_json(&client, "GET", "/openapi/v2", &Value::Null).await?, 200);
    assert_eq!(all["paths"][&flunders]["get"]["operationId"], "first");
    for line in [
        "aggregator_openapi_v2_regeneration_count{apiservice=\"v1alpha1.wardle.example.com\",reason=\"add\"} 1",
        "aggregator_unavailable_apiservice{name=\"v1.apps\"} 0",
        "aggregator_unavailable_apiservice_total{name=\"v1alpha1.wardle.example.com\",reason=\"ServiceNotFound\"} 1",
        "apiserver_kube_aggregator_x509_missing_san_total 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }

    // With its APIService it is gone.
    expect(&send_json(&client, "DELETE", &format!("{SERVICES}/{NAME}"), &Value::Null).await?, 200);
    until(&client, "/openapi/v2", |answer| !has(answer)).await?;
    let gone = |text: &str| !text.contains("aggregator_unavailable_apiservice{name=\"v1alpha1.w");
    until_text(&client, "/metrics", gone).await?;
    Ok(())
}

/// Waits until a text is as it should be.
async fn until_text(
    client: &kube::Client,
    path: &str,
    is: impl Fn(&str) -> bool,
) -> Result<String, testkit::Error> {
    until(client, path, |answer| is(&answer.text)).await?;
    Ok(send(client, "GET", path, &[], "").await?.text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_others_are_kept() -> Outcome {
    let (server, client, extension) = servers().await?;
    expose(&client).await?;
    register(&server, &client, extension.address.port()).await?;
    until_reason(&client, "Passed").await?;
    for _ in 0..10 {
        expect(&send_json(&client, "GET", ROOT, &Value::Null).await?, 200);
        let made = json!({"kind": "Flunder", "metadata": {"name": "f"}});
        let flunders = format!("{ROOT}/namespaces/default/flunders");
        expect(&send_json(&client, "POST", &flunders, &made).await?, 201);
    }
    let seen = extension.seen.lock().expect(WHOLE);
    let passed_on = seen.iter().filter(|seen| seen.headers["x-remote-user"] == "kubernetes-admin");
    let connections: Vec<usize> = passed_on.map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 20);
    // A second one if the server was being asked for its document just then.
    let distinct: BTreeSet<usize> = connections.into_iter().collect();
    assert!(distinct.len() <= 2, "{distinct:?}");
    Ok(())
}
