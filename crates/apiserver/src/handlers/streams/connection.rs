//! Admission of connections: what `exec`, `proxy` and the like are asked for, as an object.

use machinery::Value;
use machinery::status::Status;
use serde_json::json;

use crate::pipeline::{Call, Failure};
use crate::registry::{Attributes, Operation};

/// Asks admission whether a connection may be made.
pub(super) async fn admit(call: &Call<'_>) -> Result<(), Failure> {
    let info = call.info;
    let registry = &call.api.registry;
    let resource = registry
        .resource("", "v1", info.resource)
        .ok_or_else(|| Status::internal(format!("{} are not served", info.resource)))?;
    let mut attributes = Attributes {
        registry,
        context: &call.context,
        operation: Operation::Connect,
        resource: &resource,
        namespace: info.namespace,
        name: &info.name,
        subresource: info.subresource,
        object: Some(options(call)),
        old: None,
        dry_run: false,
        tracked: None,
    };
    registry.admit_only(&mut attributes).await
}

/// The query as the options object of the subresource.
fn options(call: &Call<'_>) -> Value {
    let info = call.info;
    let kind = match (info.resource, info.subresource) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("services", _) => "ServiceProxyOptions",
        ("nodes", _) => "NodeProxyOptions",
        _ => "PodProxyOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    match info.subresource {
        "exec" | "attach" => {
            for name in ["stdin", "stdout", "stderr", "tty"] {
                if call.query.flag(name) {
                    options[name] = true.into();
                }
            }
            if let Some(container) = call.query.non_empty("container") {
                options["container"] = container.into();
            }
            let command: Vec<&str> = call.query.all("command").collect();
            if info.subresource == "exec" {
                options["command"] = json!(command);
            }
        }
        "portforward" => {
            let ports = call.query.all("ports").filter_map(|port| port.parse::<u16>().ok());
            options["ports"] = ports.collect::<Vec<_>>().into();
        }
        _ => options["path"] = format!("/{}", info.rest.trim_start_matches('/')).into(),
    }
    options
}
