//! The node authorizer: a kubelet may read what the Pods on its node refer to, and touch its own
//! objects: <https://kubernetes.io/docs/reference/access-authn-authz/node/>.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, RwLock};

use serde_json::Value;

use super::Attributes;
use super::rules::Rule;

/// What a Pod leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The Pod itself.
    Pod,
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A PersistentVolumeClaim.
    Claim,
    /// A ServiceAccount.
    ServiceAccount,
    /// A ResourceClaim.
    ResourceClaim,
}

#[derive(Default)]
struct Pod {
    node: String,
    targets: HashSet<(Target, String)>,
}

#[derive(Default)]
struct State {
    /// By namespace and name.
    pods: HashMap<(String, String), Pod>,
    /// Pods of each node.
    nodes: HashMap<String, HashSet<(String, String)>>,
    /// The claim of each PersistentVolume.
    volumes: HashMap<String, (String, String)>,
}

/// Which nodes may read what; follows Pods and PersistentVolumes.
#[derive(Default)]
pub struct Graph(RwLock<State>);

const NO_RELATION: &str = "no relationship found between node";

// === impl Graph ===

impl Graph {
    /// Takes in a Pod as it is now, or its absence.
    pub fn apply_pod(&self, namespace: &str, name: &str, pod: Option<&Value>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut state = self.0.write().expect("nothing panics under the lock");
        let node = pod.and_then(|pod| pod.pointer("/spec/nodeName")?.as_str()).unwrap_or_default();
        if state.pods.get(&key).is_some_and(|known| known.node == node) && pod.is_some() {
            // What a Pod refers to cannot change once it runs, except ephemeral containers,
            // which refer to nothing new.
            return;
        }
        if let Some(old) = state.pods.remove(&key)
            && let Some(pods) = state.nodes.get_mut(&old.node)
        {
            pods.remove(&key);
            if pods.is_empty() {
                state.nodes.remove(&old.node);
            }
        }
        if let Some(pod) = pod.filter(|_| !node.is_empty()) {
            let targets = targets(pod);
            state.nodes.entry(node.to_owned()).or_default().insert(key.clone());
            state.pods.insert(key, Pod { node: node.to_owned(), targets });
        }
    }

    /// Takes in a PersistentVolume as it is now, or its absence.
    pub fn apply_volume(&self, name: &str, volume: Option<&Value>) {
        let text = |field| Some(volume?.pointer(field)?.as_str()?.to_owned());
        let mut state = self.0.write().expect("nothing panics under the lock");
        match (text("/spec/claimRef/namespace"), text("/spec/claimRef/name")) {
            (Some(namespace), Some(claim)) => {
                state.volumes.insert(name.to_owned(), (namespace, claim));
            }
            _ => {
                state.volumes.remove(name);
            }
        }
    }

    /// Whether some Pod on the node refers to an object.
    #[must_use]
    pub fn related(&self, node: &str, target: Target, namespace: &str, name: &str) -> bool {
        let state = self.0.read().expect("nothing panics under the lock");
        if target == Target::Pod {
            let pod = state.pods.get(&(namespace.to_owned(), name.to_owned()));
            return pod.is_some_and(|pod| pod.node == node);
        }
        let wanted = (target, name.to_owned());
        state.nodes.get(node).is_some_and(|pods| {
            pods.iter().any(|key| {
                key.0 == namespace
                    && state.pods.get(key).is_some_and(|pod| pod.targets.contains(&wanted))
            })
        })
    }

    /// Judges a request of a node; `None` when it is not one, `Err` with the reason when it may
    /// not.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Option<Result<(), String>> {
        let node = attributes.user.node_name()?;
        if attributes.is_resource {
            let special = match (attributes.group, attributes.resource) {
                ("", "secrets") => Some(self.read(node, Target::Secret, attributes)),
                ("", "configmaps") => Some(self.read(node, Target::ConfigMap, attributes)),
                ("", "persistentvolumeclaims") if attributes.subresource.is_empty() => {
                    Some(self.get(node, Target::Claim, attributes))
                }
                ("", "persistentvolumes") => Some(self.get_volume(node, attributes)),
                ("resource.k8s.io", "resourceclaims") => {
                    Some(self.get(node, Target::ResourceClaim, attributes))
                }
                ("", "serviceaccounts") => Some(self.create_token(node, attributes)),
                ("coordination.k8s.io", "leases") => Some(own_lease(node, attributes)),
                ("storage.k8s.io", "csinodes") => Some(own_csi_node(node, attributes)),
                ("", "nodes") => own_node(node, attributes),
                ("", "pods") => Some(self.pods(node, attributes)),
                _ => None,
            };
            if let Some(decision) = special {
                return Some(decision);
            }
        }
        if RULES.iter().any(|rule| rule.allows(attributes)) {
            return Some(Ok(()));
        }
        Some(Err(String::new()))
    }

    fn read(&self, node: &str, target: Target, a: &Attributes<'_>) -> Result<(), String> {
        if !matches!(a.verb, "get" | "list" | "watch") {
            return Err("can only read resources of this type".to_owned());
        }
        if !a.subresource.is_empty() {
            return Err("cannot read subresource".to_owned());
        }
        if a.namespace.is_empty() {
            return Err("can only read namespaced object of this type".to_owned());
        }
        self.relation(node, target, a)
    }

    fn get(&self, node: &str, target: Target, a: &Attributes<'_>) -> Result<(), String> {
        if a.verb != "get" {
            return Err("can only get individual resources of this type".to_owned());
        }
        if !a.subresource.is_empty() {
            return Err("cannot get subresource".to_owned());
        }
        self.relation(node, target, a)
    }

    fn relation(&self, node: &str, target: Target, a: &Attributes<'_>) -> Result<(), String> {
        if a.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        if self.related(node, target, a.namespace, a.name) {
            return Ok(());
        }
        Err(format!("{NO_RELATION} '{node}' and this object"))
    }

    fn get_volume(&self, node: &str, a: &Attributes<'_>) -> Result<(), String> {
        if a.verb != "get" || !a.subresource.is_empty() {
            return Err("can only get individual resources of this type".to_owned());
        }
        let claim = {
            let state = self.0.read().expect("nothing panics under the lock");
            state.volumes.get(a.name).cloned()
        };
        match claim {
            Some((ns, name)) if self.related(node, Target::Claim, &ns, &name) => Ok(()),
            _ => Err(format!("{NO_RELATION} '{node}' and this object")),
        }
    }

    fn create_token(&self, node: &str, a: &Attributes<'_>) -> Result<(), String> {
        if a.verb == "get" && a.subresource.is_empty() {
            return self.relation(node, Target::ServiceAccount, a);
        }
        if a.verb != "create" || a.subresource != "token" {
            return Err("can only create tokens for individual service accounts".to_owned());
        }
        self.relation(node, Target::ServiceAccount, a)
    }

    fn pods(&self, node: &str, a: &Attributes<'_>) -> Result<(), String> {
        let only = |verbs: &[&str]| {
            if verbs.contains(&a.verb) {
                return Ok(());
            }
            Err(format!("can only {} subresource of this type", verbs.join("/")))
        };
        match a.subresource {
            "" => match a.verb {
                "get" => {
                    if self.related(node, Target::Pod, a.namespace, a.name) {
                        return Ok(());
                    }
                    Err(format!("{NO_RELATION} '{node}' and this object"))
                }
                "list" | "watch" if selects(a.field_selector, "spec.nodeName", node) => Ok(()),
                "list" | "watch" => {
                    Err("can only list/watch pods with spec.nodeName field selector".to_owned())
                }
                // Which ones is for the NodeRestriction admission plugin to say.
                "create" | "delete" => Ok(()),
                _ => Err("can only get/list/watch/create/delete pods".to_owned()),
            },
            "status" => only(&["update", "patch"]),
            "eviction" => only(&["create"]),
            _ => Err("cannot access this subresource".to_owned()),
        }
    }
}

fn own_lease(node: &str, a: &Attributes<'_>) -> Result<(), String> {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".to_owned());
    }
    if a.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
    }
    if a.verb != "create" && a.name != node {
        return Err(
            "can only access node lease with the same name as the requesting node".to_owned()
        );
    }
    Ok(())
}

fn own_csi_node(node: &str, a: &Attributes<'_>) -> Result<(), String> {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".to_owned());
    }
    if !a.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".to_owned());
    }
    if a.verb != "create" && a.name != node {
        return Err("can only access CSINode with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// `None` leaves the decision to the static rules.
fn own_node(node: &str, a: &Attributes<'_>) -> Option<Result<(), String>> {
    match (a.subresource, a.verb) {
        ("", "create" | "update" | "patch" | "get") if a.verb == "create" || a.name == node => {
            Some(Ok(()))
        }
        ("", "get") => {
            Some(Err("node can only access nodes with the same name as itself".to_owned()))
        }
        ("", "list" | "watch") if a.name == node => Some(Ok(())),
        ("", "list" | "watch") => {
            Some(Err("node can only list/watch its own Node with a field selector".to_owned()))
        }
        ("status", "update" | "patch") if a.name == node => Some(Ok(())),
        ("pods", "get") => None,
        _ => Some(Err("node may not do this to nodes".to_owned())),
    }
}

fn selects(selector: &str, field: &str, value: &str) -> bool {
    selector.split(',').any(|term| {
        term.trim()
            .strip_prefix(field)
            .and_then(|rest| rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')))
            .is_some_and(|wanted| wanted == value)
    })
}

/// Everything that a Pod lets its node read.
fn targets(pod: &Value) -> HashSet<(Target, String)> {
    let mut found = HashSet::new();
    if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some() {
        return found;
    }
    let Some(spec) = pod.get("spec") else { return found };
    let pod_name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let mut add = |target: Target, name: Option<&Value>| {
        if let Some(name) = name.and_then(Value::as_str) {
            found.insert((target, name.to_owned()));
        }
    };
    add(Target::ServiceAccount, spec.get("serviceAccountName"));
    for secret in items(spec, "imagePullSecrets") {
        add(Target::Secret, secret.get("name"));
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(spec, list) {
            for env in items(container, "env") {
                add(Target::Secret, env.pointer("/valueFrom/secretKeyRef/name"));
                add(Target::ConfigMap, env.pointer("/valueFrom/configMapKeyRef/name"));
            }
            for from in items(container, "envFrom") {
                add(Target::Secret, from.pointer("/secretRef/name"));
                add(Target::ConfigMap, from.pointer("/configMapRef/name"));
            }
        }
    }
    for volume in items(spec, "volumes") {
        add(Target::Secret, volume.pointer("/secret/secretName"));
        add(Target::ConfigMap, volume.pointer("/configMap/name"));
        add(Target::Claim, volume.pointer("/persistentVolumeClaim/claimName"));
        if let (Some(_), Some(name)) =
            (volume.get("ephemeral"), volume.get("name").and_then(Value::as_str))
        {
            add(Target::Claim, Some(&Value::String(format!("{pod_name}-{name}"))));
        }
        for driver in [
            "csi/nodePublishSecretRef",
            "flexVolume/secretRef",
            "cephfs/secretRef",
            "iscsi/secretRef",
            "rbd/secretRef",
            "scaleIO/secretRef",
            "storageos/secretRef",
        ] {
            add(Target::Secret, volume.pointer(&format!("/{driver}/name")));
        }
        add(Target::Secret, volume.pointer("/azureFile/secretName"));
        if let Some(projected) = volume.get("projected") {
            for source in items(projected, "sources") {
                add(Target::Secret, source.pointer("/secret/name"));
                add(Target::ConfigMap, source.pointer("/configMap/name"));
            }
        }
    }
    for claim in items(spec, "resourceClaims") {
        add(Target::ResourceClaim, claim.get("resourceClaimName"));
    }
    found
}

fn items<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What every node may do, as in upstream's NodeRules (less what is judged above).
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |verbs: &str, group: &str, resources: &str| Rule {
        verbs: verbs.split(' ').map(str::to_owned).collect(),
        api_groups: vec![group.to_owned()],
        resources: resources.split(' ').map(str::to_owned).collect(),
        ..Rule::default()
    };
    vec![
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
        rule("get list watch", "", "services"),
        rule("create patch update", "", "events"),
        rule("create patch update", "events.k8s.io", "events"),
        rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        rule("get update patch", "", "persistentvolumeclaims/status"),
        rule("get", "storage.k8s.io", "volumeattachments"),
        rule("get list watch", "storage.k8s.io", "csidrivers"),
        rule("get list watch", "node.k8s.io", "runtimeclasses"),
        rule(
            "get list watch create update patch delete deletecollection",
            "resource.k8s.io",
            "resourceslices",
        ),
        rule("get list watch", "certificates.k8s.io", "clustertrustbundles"),
        Rule {
            verbs: vec!["get".to_owned()],
            non_resource_urls: [
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Rule::default()
        },
    ]
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::user::User;
    use serde_json::json;

    fn check(attributes: Attributes<'_>, want: Option<bool>) {
        let graph = Graph::default();
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "nodeName": "w1", "serviceAccountName": "sa",
            "containers": [{"envFrom": [{"configMapRef": {"name": "env"}}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]}});
        graph.apply_pod("n", "p", Some(&pod));
        graph.apply_volume(
            "pv",
            Some(&json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}}})),
        );
        let got = graph.authorize(&attributes).map(|decision| decision.is_ok());
        assert_eq!(got, want, "{attributes:?}");
        graph.apply_pod("n", "p", None);
        assert!(!graph.related("w1", Target::Secret, "n", "s"));
    }

    #[test]
    fn nodes_see_what_their_pods_need() {
        let node = |name: &str| User {
            name: format!("system:node:{name}"),
            groups: vec!["system:nodes".to_owned()],
            ..User::default()
        };
        let (w1, w2, jane) = (node("w1"), node("w2"), User::default());
        let ask = |user, verb, resource, name| Attributes {
            namespace: "n",
            name,
            ..Attributes::resource(user, verb, "", resource)
        };
        check(ask(&w1, "get", "secrets", "s"), Some(true));
        check(ask(&w1, "watch", "configmaps", "env"), Some(true));
        check(ask(&w1, "get", "secrets", "other"), Some(false));
        check(ask(&w1, "list", "secrets", ""), Some(false));
        check(ask(&w1, "update", "secrets", "s"), Some(false));
        check(ask(&w2, "get", "secrets", "s"), Some(false));
        check(ask(&jane, "get", "secrets", "s"), None);
        check(ask(&w1, "get", "persistentvolumes", "pv"), Some(true));
        check(ask(&w2, "get", "persistentvolumes", "pv"), Some(false));
        check(ask(&w1, "get", "nodes", "w1"), Some(true));
        check(ask(&w1, "get", "nodes", "w2"), Some(false));
        check(ask(&w1, "get", "pods", "p"), Some(true));
        check(ask(&w1, "list", "pods", ""), Some(false));
        let mine =
            Attributes { field_selector: "spec.nodeName=w1", ..ask(&w1, "list", "pods", "") };
        check(mine, Some(true));
        let token =
            Attributes { subresource: "token", ..ask(&w1, "create", "serviceaccounts", "sa") };
        check(token, Some(true));
        check(ask(&w1, "list", "services", ""), Some(true));
        check(ask(&w1, "delete", "services", "x"), Some(false));
    }
}
