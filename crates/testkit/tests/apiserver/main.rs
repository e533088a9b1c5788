//! The API server over real HTTPS, in this process.

mod access;
mod addresses;
mod admission;
mod aggregation;
mod apply;
mod audit;
mod backup;
mod bad_input;
mod conversion;
mod credentials;
mod customresources;
mod customversions;
mod discovery;
mod enablement;
mod flow;
mod freshness;
mod identity;
mod metrics;
mod mutating_policies;
mod objects;
mod operator;
mod pod_security;
mod policies;
mod protobuf;
mod quotas;
mod representations;
mod several_servers;
mod shutdown;
mod streams;
mod watches;
mod webhook_server;
mod webhooks;
mod wire;

use serde_json::Value;
use testkit::{Answer, ApiServer, Error, send_json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What went wrong, for `unwrap`-free tests.
type Outcome = Result<(), Error>;

/// A server with the service account that Pods in `default` need.
async fn server() -> Result<(ApiServer, kube::Client), Error> {
    let server = ApiServer::start().await?;
    let client = server.client()?;
    let account = testkit::fixtures::service_account("default");
    let path = "/api/v1/namespaces/default/serviceaccounts";
    expect(&send_json(&client, "POST", path, &account).await?, 201);
    Ok((server, client))
}

#[track_caller]
fn expect(answer: &Answer, code: u16) -> Value {
    assert_eq!(answer.code, code, "{}", answer.text);
    answer.json()
}
