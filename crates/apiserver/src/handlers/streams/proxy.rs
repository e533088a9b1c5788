//! The `proxy` subresource of Pods, Services and nodes.

use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use machinery::Value;
use machinery::gvk::GroupResource;
use machinery::status::Status;
use streams::upgrade::{self, Target};

use super::{is_read, pass_upgrade, passed_on, without_credentials};
use crate::http::respond::{self, Reply};
use crate::pipeline::{Call, Failure};

/// `[scheme:]name[:port]`
struct Address<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

/// Passes a request on to what the path names.
pub(super) async fn proxy(call: &mut Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    let info = call.info;
    let bare = info.rest.is_empty() && !info.path.ends_with('/');
    if bare && is_read(&call.parts.method) && !upgrade::is_upgrade(call.headers()) {
        let query = call.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
        let mut reply = respond::text(StatusCode::MOVED_PERMANENTLY, String::new());
        if let Ok(location) = format!("{}/{query}", call.parts.uri.path()).parse() {
            reply.headers_mut().insert(http::header::LOCATION, location);
        }
        return Ok(reply);
    }
    let target = target(call)?;
    let uri = uri(call)?;
    if upgrade::is_upgrade(call.headers()) {
        return pass_upgrade(call, &target, uri).await;
    }
    let mut request = Request::new(body);
    *request.method_mut() = call.parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = without_credentials(call.headers());
    match target.send(request).await {
        Ok(upgrade::Reply::Answered(response)) => Ok(passed_on(response)),
        Ok(upgrade::Reply::Switched { .. }) => {
            Err(Box::new(Status::internal("the backend switched protocols unasked")))
        }
        Err(error) => Err(Box::new(Status::service_unavailable(format!(
            "error trying to reach service: {error}"
        )))),
    }
}

/// The path behind the `proxy` segment as it was sent, and the query.
fn uri(call: &Call<'_>) -> Result<Uri, Failure> {
    let sent = call.parts.uri.path();
    // The first segments are this server's own; what follows is kept byte by byte. They are counted,
    // because a namespace may be called proxy too.
    let segments = if call.info.namespace.is_empty() { 5 } else { 7 };
    let own = sent.match_indices('/').nth(segments).map_or(sent.len(), |(at, _)| at);
    let rest = sent.get(own..).unwrap_or_default();
    let rest = if rest.is_empty() { "/" } else { rest };
    let query = call.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    format!("{rest}{query}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| Box::new(Status::bad_request(error.to_string())))
}

fn target(call: &Call<'_>) -> Result<Target, Failure> {
    let info = call.info;
    let address = parse(&info.name).ok_or_else(|| {
        Status::bad_request(format!("invalid {} request {:?}", info.resource, info.name))
    })?;
    let registry = &call.api.registry;
    let kubelets = &call.api.kubelets;
    let missing =
        || Box::new(Status::not_found(&GroupResource::new("", info.resource), address.name));
    match info.resource {
        "nodes" => {
            let mut target = kubelets.of_node(call, address.name)?;
            if let Ok(port) = address.port.parse::<u16>()
                && port != target.port
            {
                // Another server on the node, which gets no certificate of ours.
                target.port = port;
                target.tls = address.https.then(|| kubelets.anything.clone());
            }
            Ok(target)
        }
        "pods" => {
            let pod = registry.cached("", "pods", info.namespace, address.name);
            let pod = pod.ok_or_else(missing)?.value();
            let ip = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default();
            if ip.is_empty() {
                return Err(Box::new(Status::bad_request("address not allowed")));
            }
            let port = if address.port.is_empty() {
                let ports = pod.pointer("/spec/containers/0/ports/0/containerPort");
                ports.and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok()).unwrap_or(80)
            } else {
                container_port(&pod, address.port).ok_or_else(missing)?
            };
            let tls = address.https.then(|| kubelets.anything.clone());
            Ok(Target { host: ip.to_owned(), port, tls, server_name: None })
        }
        _ => {
            let service = registry.cached("", "services", info.namespace, address.name);
            let service = service.ok_or_else(missing)?.value();
            let (host, port) = endpoint(call, &service, address.port).ok_or_else(|| {
                Status::service_unavailable(format!(
                    "no endpoints available for service {:?}",
                    address.name
                ))
            })?;
            let tls = address.https.then(|| kubelets.anything.clone());
            Ok(Target { host, port, tls, server_name: None })
        }
    }
}

fn parse(name: &str) -> Option<Address<'_>> {
    let parts: Vec<&str> = name.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    let https = match scheme {
        "" | "http" => false,
        "https" => true,
        _ => return None,
    };
    (!name.is_empty()).then_some(Address { https, name, port })
}

fn container_port(pod: &Value, wanted: &str) -> Option<u16> {
    if let Ok(port) = wanted.parse() {
        return Some(port);
    }
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let ports = containers.iter().filter_map(|c| c.get("ports")?.as_array()).flatten();
    let named =
        ports.into_iter().find(|port| port.get("name").and_then(Value::as_str) == Some(wanted));
    u16::try_from(named?.get("containerPort")?.as_u64()?).ok()
}

/// A ready endpoint of a Service, any one.
fn endpoint(call: &Call<'_>, service: &Value, wanted: &str) -> Option<(String, u16)> {
    let ports = service.pointer("/spec/ports")?.as_array()?;
    let text = |port: &Value, field: &str| {
        port.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let port_name = if wanted.is_empty() {
        if ports.len() != 1 {
            return None;
        }
        text(&ports[0], "name")
    } else {
        let number = wanted.parse::<u64>().ok();
        let port = ports.iter().find(|port| {
            text(port, "name") == wanted
                || (number.is_some() && port.get("port").and_then(Value::as_u64) == number)
        })?;
        text(port, "name")
    };
    let namespace = call.info.namespace;
    let service_name = machinery::meta::name(service);
    let slices = call.api.registry.cached_list("discovery.k8s.io", "endpointslices", namespace);
    let mut found: Vec<(String, u16)> = Vec::new();
    for slice in slices {
        let slice = slice.value();
        if machinery::meta::label(&slice, "kubernetes.io/service-name") != Some(service_name) {
            continue;
        }
        let slice_ports = slice.get("ports").and_then(Value::as_array);
        let port = slice_ports.into_iter().flatten().find(|port| text(port, "name") == port_name);
        let Some(port) =
            port.and_then(|p| p.get("port")?.as_u64()).and_then(|p| u16::try_from(p).ok())
        else {
            continue;
        };
        for endpoint in slice.get("endpoints").and_then(Value::as_array).into_iter().flatten() {
            if endpoint.pointer("/conditions/ready").and_then(Value::as_bool) == Some(false) {
                continue;
            }
            if let Some(address) = endpoint.pointer("/addresses/0").and_then(Value::as_str) {
                found.push((address.to_owned(), port));
            }
        }
    }
    if found.is_empty() {
        return None;
    }
    let any = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % found.len();
    Some(found.swap_remove(any))
}
