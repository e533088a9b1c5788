//! What users are told about Pods and templates that are accepted.

use std::collections::{BTreeMap, BTreeSet};

use machinery::field::{Path, quote};
use machinery::quantity::Quantity;
use machinery::{meta, names};

use super::annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use crate::cursor::At;

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

const NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Sources of volumes that nobody should use any more.
const SOURCES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Why a label of nodes should not be used any more.
pub(crate) fn node_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, why)| *why)
}

/// Warnings about the old labels in a list of requirements on nodes.
pub(crate) fn node_requirements(requirements: &At<'_>, warnings: &mut Vec<String>) {
    for requirement in requirements.list() {
        let key = requirement.get("key");
        if let Some(why) = node_label(key.str()) {
            warnings.push(format!("{}: {} is {why}", key.path, key.str()));
        }
    }
}

/// Warnings about the source of a volume, given what the volume's fields are below of.
pub(crate) fn volume_source(volume: &At<'_>, warnings: &mut Vec<String>) {
    for (name, why) in SOURCES {
        let source = volume.get(name);
        if source.is_set() {
            // Upstream writes this one name as it stands in its code.
            let shown = if name == "storageos" { "storageOS" } else { name };
            warnings.push(format!("{}: {why}", volume.path.child(shown)));
        }
    }
}

/// A warning about a name that does not do as a host's.
pub(crate) fn host_name(name: &str, used_in: &str, warnings: &mut Vec<String>) {
    let messages = names::dns1123_label(name);
    if !messages.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; \
             a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
}

/// A warning about a number of bytes that is not whole.
pub(crate) fn whole_bytes(amount: &At<'_>, warnings: &mut Vec<String>) {
    if let Some(quantity) = Quantity::from_value(amount.value)
        && !quantity.is_integer()
    {
        warnings.push(format!(
            "{}: fractional byte value {} is invalid, must be an integer",
            amount.path,
            quote(amount.str())
        ));
    }
}

/// Warnings about how much a claim asks for.
pub(in crate::kinds) fn claim_sizes(spec: &At<'_>, warnings: &mut Vec<String>) {
    for list in ["requests", "limits"] {
        let list = spec.get("resources").get(list);
        if let Some(amount) = list.value.get("storage") {
            whole_bytes(&At::new(amount, list.path.key("storage")), warnings);
        }
    }
}

/// Warnings about a Pod, or about a template when `is_template`.
pub(crate) fn of_template(template: &At<'_>, is_template: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let w = &mut warnings;
    let spec = template.get("spec");
    node_labels(&spec, w);
    annotations(template, w);
    volumes(&spec.get("volumes"), w);
    let aliases = spec.get("hostAliases");
    for (i, alias) in aliases.list().enumerate() {
        let ip = alias.get("ip");
        if aliases.items()[..i].iter().any(|other| other.get("ip") == Some(ip.value)) {
            w.push(format!("{}: duplicate ip {}", ip.path, quote(ip.str())));
        }
    }
    pull_secrets(&spec.get("imagePullSecrets"), w);
    for resource in ["memory", "ephemeral-storage"] {
        let overhead = spec.get("overhead");
        if let Some(amount) = overhead.value.get(resource) {
            whole_bytes(&At::new(amount, overhead.path.key(resource)), w);
        }
    }
    let profile = spec.get("securityContext").get("seccompProfile");
    let noted = meta::annotation(template.value, SECCOMP_POD).is_some();
    if noted && !profile.is_set() {
        w.push(format!("{}: {SECCOMP}", annotation_path(template, SECCOMP_POD)));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for c in spec.get(list).list() {
            container(&c, template, is_template, w);
        }
    }
    ports(&spec, w);
    if spec.get("terminationGracePeriodSeconds").int().is_some_and(|n| n < 0) {
        w.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            spec.get("terminationGracePeriodSeconds").path
        ));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.get("affinity").get(kind);
        let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution");
        let preferred = preferred.list().map(|term| term.get("podAffinityTerm"));
        for term in required.list().chain(preferred) {
            null_selector(&term.get("labelSelector"), w);
        }
    }
    warnings
}

fn null_selector(selector: &At<'_>, warnings: &mut Vec<String>) {
    if !selector.is_set() {
        let path = &selector.path;
        warnings.push(format!("{path}: a null labelSelector results in matching no pod"));
    }
}

fn node_labels(spec: &At<'_>, warnings: &mut Vec<String>) {
    for (key, entry) in spec.get("nodeSelector").entries() {
        if let Some(why) = node_label(key) {
            warnings.push(format!("{}: {why}", entry.path));
        }
    }
    let affinity = spec.get("affinity").get("nodeAffinity");
    let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
    for term in required.get("nodeSelectorTerms").list() {
        node_requirements(&term.get("matchExpressions"), warnings);
    }
    for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution").list() {
        let expressions = term.get("preference").get("matchExpressions");
        node_requirements(&expressions, warnings);
        // Those of preferences are accepted however they look.
        for expression in expressions.list() {
            for value in expression.get("values").list() {
                for message in names::label_value(value.str()) {
                    warnings.push(format!("{}: {} is invalid, {message}", value.path, value.str()));
                }
            }
        }
    }
    for constraint in spec.get("topologySpreadConstraints").list() {
        let key = constraint.get("topologyKey");
        if let Some(why) = node_label(key.str()) {
            warnings.push(format!("{}: {} is {why}", key.path, key.str()));
        }
        null_selector(&constraint.get("labelSelector"), warnings);
    }
}

/// A warning about a profile that an annotation names.
pub(super) fn app_armor(path: &Path) -> String {
    format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead")
}

fn annotation_path(template: &At<'_>, key: &str) -> Path {
    template.path.child("metadata").child("annotations").key(key)
}

fn annotations(template: &At<'_>, warnings: &mut Vec<String>) {
    for (key, why) in ANNOTATIONS {
        if meta::annotation(template.value, key).is_some() {
            warnings.push(format!("{}: {why}", annotation_path(template, key)));
        }
    }
}

fn volumes(volumes: &At<'_>, warnings: &mut Vec<String>) {
    for volume in volumes.list() {
        volume_source(&volume, warnings);
        let claim = volume.get("ephemeral").get("volumeClaimTemplate").get("spec");
        claim_sizes(&claim, warnings);
    }
    let tokens: BTreeSet<&str> = volumes
        .list()
        .flat_map(|volume| volume.get("projected").get("sources").list())
        .map(|source| source.get("serviceAccountToken").get("path").str())
        .filter(|path| !path.is_empty())
        .collect();
    for volume in volumes.list() {
        let base = volume.path.child("projected").child("sources");
        for source in volume.get("projected").get("sources").list() {
            for (kind, shown) in
                [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")]
            {
                for (j, item) in source.get(kind).get("items").list().enumerate() {
                    let path = item.get("path").str();
                    if tokens.contains(path) {
                        warnings.push(format!("{}: {}", base.child(shown).index(j), doubled(path)));
                    }
                }
            }
            let bundle = source.get("clusterTrustBundle").get("path").str();
            if tokens.contains(bundle) {
                let path = base.child("ClusterTrustBundle");
                warnings.push(format!("{path}: {}", doubled(bundle)));
            }
        }
    }
}

fn doubled(path: &str) -> String {
    format!("has duplicated path with ServiceAccountToken {}", quote(path))
}

fn pull_secrets(secrets: &At<'_>, warnings: &mut Vec<String>) {
    for (i, secret) in secrets.list().enumerate() {
        let name = secret.get("name");
        let earlier = secrets.list().take(i).any(|other| other.get("name").str() == name.str());
        if earlier {
            warnings.push(format!("{}: duplicate name {}", name.path, quote(name.str())));
        }
    }
    for secret in secrets.list() {
        if secret.get("name").is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", secret.get("name").path));
        }
    }
}

fn container(container: &At<'_>, template: &At<'_>, is_template: bool, warnings: &mut Vec<String>) {
    let name = container.get("name").str();
    let context = container.get("securityContext");
    let seccomp = format!("{SECCOMP_CONTAINER}{name}");
    let noted = |key: &str| meta::annotation(template.value, key).is_some();
    if noted(&seccomp) && !context.get("seccompProfile").is_set() {
        warnings.push(format!("{}: {SECCOMP}", annotation_path(template, &seccomp)));
    }
    let app_armor = format!("{APP_ARMOR}{name}");
    let pod = template.get("spec").get("securityContext");
    if is_template
        && noted(&app_armor)
        && !pod.get("appArmorProfile").is_set()
        && !context.get("appArmorProfile").is_set()
    {
        warnings.push(self::app_armor(&annotation_path(template, &app_armor)));
    }
    for resource in ["memory", "ephemeral-storage"] {
        for field in ["limits", "requests"] {
            let amounts = container.get("resources").get(field);
            if let Some(amount) = amounts.value.get(resource) {
                whole_bytes(&At::new(amount, amounts.path.key(resource)), warnings);
            }
        }
    }
    let variables = container.get("env");
    for (i, variable) in variables.list().enumerate() {
        let name = variable.get("name").str();
        if !variables.list().take(i).any(|other| other.get("name").str() == name) {
            continue;
        }
        // A later value may be built from the earlier one of the same name.
        let (value, reference) = (variable.get("value").str(), format!("$({name})"));
        let hides =
            variable.get("valueFrom").is_set() || value == reference || !value.contains(&reference);
        if hides {
            warnings.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                variable.path,
                quote(name)
            ));
        }
    }
}

/// Ports that several containers or entries have.
fn ports(spec: &At<'_>, warnings: &mut Vec<String>) {
    let mut known: BTreeMap<String, Vec<At<'_>>> = BTreeMap::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for port in spec.get(list).list().flat_map(|c| c.get("ports").list()) {
            let (ip, host) = (port.get("hostIP").str(), port.get("hostPort").int_or_zero());
            let number = port.get("containerPort").int_or_zero();
            let protocol = port.get("protocol").str();
            if !ip.is_empty() && host == 0 {
                warnings.push(format!(
                    "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{number} \
                     Protocol:{protocol} HostIP:{ip}}}",
                    port.path,
                    port.get("name").str()
                ));
            }
            let others = known.entry(format!("{number}/{protocol}")).or_default();
            for other in others.iter() {
                let (other_ip, other_host) =
                    (other.get("hostIP").str(), other.get("hostPort").int_or_zero());
                let what = if ip == other_ip && host == other_host {
                    "duplicate"
                } else if host == 0 || other_host == 0 {
                    "overlapping"
                } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{}: {what} port definition with {}", port.path, other.path));
            }
            others.push(port);
        }
    }
}

#[cfg(test)]
mod tests;
