//! The ServiceCIDR `kubernetes`, which follows from the server's flags.

use std::sync::Arc;
use std::time::Duration;

use machinery::status::reason;
use machinery::{Value, meta, time};
use serde_json::json;

use super::{Failure, ensure, options, target};
use crate::registry::{Context, DEFAULT_SERVICE_CIDR, Network, Registry, Target};
use crate::server::Api;

const INTERVAL: Duration = Duration::from_secs(10);
const RESOURCE: (&str, &str, &str) = ("networking.k8s.io", "v1", "servicecidrs");

/// Keeps the object until shutdown.
pub(crate) async fn keep(api: Arc<Api>, networks: Vec<Network>) {
    let mut reported = false;
    loop {
        tokio::select! {
            () = api.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match reconcile(&api.registry, &networks).await {
            Ok(differs) => {
                if differs && !reported {
                    tracing::warn!("the default ServiceCIDR does not match the server's flags");
                }
                reported = differs;
            }
            Err(error) => tracing::warn!(%error, "cannot keep the default ServiceCIDR"),
        }
    }
}

/// Makes the object where it is missing, adds a second family that the flags have got, and sets
/// its first condition. Says whether it differs from the flags, which is left to people to settle.
pub(crate) async fn reconcile(registry: &Registry, networks: &[Network]) -> Result<bool, Failure> {
    let object = json!({
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": DEFAULT_SERVICE_CIDR},
        "spec": {"cidrs": wanted(networks)},
    });
    ensure(registry, RESOURCE, "", DEFAULT_SERVICE_CIDR, object).await?;
    let (group, _, plural) = RESOURCE;
    let Some(existing) = registry.cached(group, plural, "", DEFAULT_SERVICE_CIDR) else {
        return Ok(false);
    };
    let existing = existing.value();
    if let Some(step) = plan(&existing, networks) {
        let target = target(registry, RESOURCE, "", DEFAULT_SERVICE_CIDR)?;
        let (target, object) = match step {
            Step::Widen(object) => (target, object),
            Step::Ready(mut object) => {
                let now = time::format(time::Timestamp::now());
                object["status"]["conditions"][0]["lastTransitionTime"] = now.into();
                (Target { subresource: "status".to_owned(), ..target }, object)
            }
        };
        match registry.update(&Context::internal(), &target, object, &options()).await {
            // Another server takes the same step.
            Err(status) if status.reason == reason::CONFLICT => {}
            other => drop(other?),
        }
    }
    Ok(existing["spec"]["cidrs"] != wanted(networks))
}

fn wanted(networks: &[Network]) -> Value {
    networks.iter().map(|network| Value::from(network.to_string())).collect()
}

/// How the object changes.
#[derive(Debug, PartialEq)]
enum Step {
    /// It gets a second family.
    Widen(Value),
    /// It is ready, since a time that is still to be filled in.
    Ready(Value),
}

fn plan(existing: &Value, networks: &[Network]) -> Option<Step> {
    let (cidrs, wanted) = (&existing["spec"]["cidrs"], wanted(networks));
    let listed = cidrs.as_array().map_or(0, Vec::len);
    if listed == 1 && networks.len() == 2 && cidrs[0] == wanted[0] {
        let mut wider = existing.clone();
        wider["spec"]["cidrs"] = wanted;
        return Some(Step::Widen(wider));
    }
    let conditions = existing.pointer("/status/conditions").and_then(Value::as_array);
    let unknown = conditions
        .into_iter()
        .flatten()
        .all(|condition| condition["type"] != "Ready" || condition["status"] == "Unknown");
    if *cidrs != wanted || !unknown || meta::deletion_timestamp(existing).is_some() {
        return None;
    }
    let mut ready = existing.clone();
    ready["status"] = json!({"conditions": [{
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": null,
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }]});
    Some(Step::Ready(ready))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Ranges;

    #[test]
    fn the_object_follows_the_flags_as_far_as_that_is_safe() {
        let check = |flags: &str, cidrs: Value, status: Value, want: &str| {
            let ranges = Ranges::parse(flags, "30000-30001").unwrap();
            let existing = json!({"spec": {"cidrs": cidrs}, "status": status});
            let found = match plan(&existing, ranges.networks()) {
                None => "nothing".to_owned(),
                Some(Step::Widen(object)) => format!("widen {}", object["spec"]["cidrs"]),
                Some(Step::Ready(object)) => {
                    object["status"]["conditions"][0]["message"].to_string()
                }
            };
            assert_eq!(found, want);
        };
        let (v4, both) = ("10.0.0.0/16", "10.0.0.0/16,fd00::/108");
        let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        let message = r#""Kubernetes default Service CIDR is ready""#;
        check(v4, json!([v4]), json!({}), message);
        check(v4, json!([v4]), ready("Unknown"), message);
        check(v4, json!([v4]), ready("True"), "nothing");
        check(v4, json!([v4]), ready("False"), "nothing");
        check(v4, json!(["10.1.0.0/16"]), json!({}), "nothing");
        check(both, json!([v4]), ready("True"), r#"widen ["10.0.0.0/16","fd00::/108"]"#);
        check(both, json!(["10.1.0.0/16"]), ready("True"), "nothing");
    }
}
