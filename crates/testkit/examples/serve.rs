//! Runs an API server alone, for trials with kubectl: prints its kubeconfig and serves until
//! interrupted. An argument chooses the port.

use std::net::{Ipv4Addr, SocketAddr};

#[tokio::main]
async fn main() -> Result<(), testkit::Error> {
    component::logging::init(3, component::logging::Format::Text);
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut server = testkit::ApiServer::start_on(address, |_| {}).await?;
    println!("{}", server.kubeconfig().display());
    component::signal::shutdown_token()?.cancelled().await;
    server.stop().await
}
