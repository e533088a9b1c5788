use machinery::Value;
use serde_json::json;

use super::policy::{Level, Policy, Standard};
use super::standard::violations;
use super::{Configuration, details, existing, is_significant, template};

const BASELINE: Standard = Standard::latest(Level::Baseline);
const RESTRICTED: Standard = Standard::latest(Level::Restricted);
const LATEST: Standard = Standard::latest(Level::Privileged);

#[track_caller]
fn check(standard: Standard, spec: Value, want: &str) {
    let pod = json!({"metadata": {}, "spec": spec});
    assert_eq!(details(&violations(standard, &pod)), want, "{spec}");
}

fn container(context: Value) -> Value {
    json!({"containers": [{"name": "a", "securityContext": context}]})
}

#[test]
fn a_plain_pod_is_baseline_and_not_restricted() {
    let plain = json!({"containers": [{"name": "a"}]});
    check(LATEST, plain.clone(), "");
    check(BASELINE, plain.clone(), "");
    check(
        RESTRICTED,
        plain,
        "allowPrivilegeEscalation != false (container \"a\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \
         \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or \
         container \"a\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
         container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")",
    );
    let hardened = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "v", "emptyDir": {}}]});
    check(RESTRICTED, hardened, "");
    let windows = json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true},
        "containers": [{"name": "a"}]});
    check(RESTRICTED, windows, "");
}

#[test]
fn what_baseline_forbids() {
    check(
        BASELINE,
        container(json!({"privileged": true})),
        "privileged (container \"a\" must not set securityContext.privileged=true)",
    );
    check(
        BASELINE,
        json!({"hostNetwork": true, "hostPID": true, "containers": []}),
        "host namespaces (hostNetwork=true, hostPID=true)",
    );
    check(
        BASELINE,
        container(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN", "BPF"]}})),
        "non-default capabilities (container \"a\" must not include \"BPF\", \"NET_ADMIN\" in \
         securityContext.capabilities.add)",
    );
    check(
        BASELINE,
        json!({"volumes": [{"name": "x", "hostPath": {}}, {"name": "y", "hostPath": {}}]}),
        "hostPath volumes (volumes \"x\", \"y\")",
    );
    check(
        BASELINE,
        json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 0}]}],
            "initContainers": [{"name": "i", "ports": [{"hostPort": 443}]}]}),
        "hostPort (containers \"i\", \"a\" use hostPorts 443, 80)",
    );
    check(
        BASELINE,
        json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
        "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"h\")",
    );
    check(
        BASELINE,
        container(json!({"procMount": "Unmasked"})),
        "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
    );
    check(
        BASELINE,
        json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"},
            "seccompProfile": {"type": "Unconfined"},
            "windowsOptions": {"hostProcess": true},
            "sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may \
         not be set), forbidden sysctls (kernel.msgmax), hostProcess (pod must not set \
         securityContext.windowsOptions.hostProcess=true), seccompProfile (pod must not set \
         securityContext.seccompProfile.type to \"Unconfined\")",
    );
    check(
        BASELINE,
        container(json!({"appArmorProfile": {"type": "Unconfined"}})),
        "forbidden AppArmor profile (container \"a\" must not set AppArmor profile type to \
         \"Unconfined\")",
    );
}

#[test]
fn what_restricted_forbids_besides() {
    let hardened = |extra: Value| {
        let mut spec = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "Localhost"}},
            "containers": [{"name": "a", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]});
        for (field, value) in extra.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    };
    check(
        RESTRICTED,
        hardened(json!({"volumes": [{"name": "x", "hostPath": {}}, {"name": "y", "nfs": {}}]})),
        "restricted volume types (volumes \"x\", \"y\" use restricted volume types \"hostPath\", \
         \"nfs\")",
    );
    let context = json!({"runAsNonRoot": false, "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"}});
    check(
        RESTRICTED,
        hardened(json!({"securityContext": context})),
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 \
         (pod must not set runAsUser=0)",
    );
    check(RESTRICTED, hardened(json!({"securityContext": context, "hostUsers": false})), "");
    check(
        RESTRICTED,
        hardened(json!({"containers": [{"name": "b", "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "SYS_TIME"]}}}]})),
        "unrestricted capabilities (container \"b\" must not include \"SYS_TIME\" in \
         securityContext.capabilities.add)",
    );
}

#[test]
fn standards_change_with_releases() {
    let old = |level, minor| Standard::new(level, Some(minor));
    let escalating = json!({"securityContext": {"runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "a"}]});
    check(old(Level::Restricted, 7), escalating.clone(), "");
    check(
        old(Level::Restricted, 21),
        escalating,
        "allowPrivilegeEscalation != false (container \"a\" must set \
         securityContext.allowPrivilegeEscalation=false)",
    );
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
    check(old(Level::Baseline, 31), sysctl, "forbidden sysctls (net.ipv4.tcp_rmem)");
    let probe =
        json!({"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"host": "h"}}}]});
    check(old(Level::Baseline, 33), probe, "");
}

#[test]
fn labels_say_what_is_asked_for() {
    let labels =
        |labels: Value| Policy::of(&json!({"metadata": {"labels": labels}}), &Policy::default());
    let (policy, errors) = labels(json!({}));
    assert!(policy.asks_nothing() && errors.is_empty());
    let (policy, errors) = labels(json!({
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.25",
        "pod-security.kubernetes.io/warn": "restricted"}));
    assert!(errors.is_empty());
    let shown = [policy.enforce, policy.audit, policy.warn].map(|standard| standard.to_string());
    assert_eq!(shown, ["baseline:v1.25", "privileged:latest", "restricted:latest"]);
    let (policy, errors) = labels(json!({
        "pod-security.kubernetes.io/enforce": "strict",
        "pod-security.kubernetes.io/warn": "strict",
        "pod-security.kubernetes.io/audit-version": "1.25"}));
    assert_eq!(policy.enforce.to_string(), "restricted:latest");
    assert_eq!(policy.warn.to_string(), "privileged:latest");
    assert_eq!(
        super::policy::text(&errors),
        "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be \
         one of privileged, baseline, restricted, \
         metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"1.25\": must \
         be \"latest\" or \"v1.x\", metadata.labels[pod-security.kubernetes.io/warn]: Invalid \
         value: \"strict\": must be one of privileged, baseline, restricted"
    );
}

#[test]
fn only_stricter_levels_make_pods_break_them() {
    let old = |level, minor| Standard::new(level, Some(minor));
    assert!(RESTRICTED.is_stricter_than(BASELINE));
    assert!(!BASELINE.is_stricter_than(RESTRICTED));
    assert!(!BASELINE.is_stricter_than(BASELINE));
    assert!(BASELINE.is_stricter_than(old(Level::Restricted, 20)));
    assert!(!LATEST.is_stricter_than(RESTRICTED));
}

#[test]
fn pods_that_break_a_new_level_are_counted() {
    let pod = |name: &str, privileged: bool| {
        json!({"metadata": {"name": name}, "spec": {"containers": [
            {"name": "a", "securityContext": {"privileged": privileged}}]}})
    };
    let pods = [pod("c", true), pod("b", true), pod("a", false), pod("d", true)];
    assert_eq!(
        existing("n", BASELINE, pods.into_iter(), 4),
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \
             \"baseline:latest\"",
            "b (and 2 other pods): privileged"
        ]
    );
    assert_eq!(existing("n", BASELINE, [pod("a", false)].into_iter(), 1), Vec::<String>::new());
}

#[test]
fn templates_and_changes() {
    let job = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}});
    assert!(template("batch", "cronjobs", &job).is_some());
    assert!(template("apps", "deployments", &json!({"spec": {}})).is_none());
    assert!(template("", "services", &job).is_none());
    let pod = |image: &str, label: &str| json!({"metadata": {"labels": {"l": label}}, "spec": {"containers": [{"image": image}]}});
    assert!(!is_significant(&pod("a", "1"), &pod("a", "2")));
    assert!(is_significant(&pod("b", "1"), &pod("a", "1")));
}

#[test]
fn labels_come_before_defaults_and_exempt_namespaces_before_labels() {
    let configuration = Configuration::read(&json!({
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"},
        "exemptions": {"namespaces": ["kube-system"], "usernames": ["jane"],
            "runtimeClasses": ["vm"]}}))
    .unwrap();
    let namespace = json!({"metadata": {"name": "kube-system", "labels": {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "privileged"}}});
    let (policy, errors) = Policy::of(&namespace, &configuration.defaults);
    assert!(errors.is_empty());
    let shown = [policy.enforce, policy.audit, policy.warn].map(|standard| standard.to_string());
    assert_eq!(shown, ["restricted:v1.30", "privileged:latest", "privileged:latest"]);
    assert_eq!(
        configuration.ignored(&namespace, &policy).as_deref(),
        Some(
            "namespace \"kube-system\" is exempt from Pod Security, and the policy \
             (enforce=restricted:v1.30) will be ignored"
        )
    );
    assert_eq!(configuration.ignored(&namespace, &configuration.defaults), None);
    assert_eq!(configuration.exempt("kube-system", "joe"), Some("namespace"));
    assert_eq!(configuration.exempt("n", "jane"), Some("user"));
    assert_eq!(configuration.exempt("n", "joe"), None);
}

#[test]
fn configurations_that_make_no_sense() {
    let check = |document: Value, why: &str| {
        let mut document = document;
        document["apiVersion"] = "pod-security.admission.config.k8s.io/v1".into();
        document["kind"] = "PodSecurityConfiguration".into();
        assert_eq!(Configuration::read(&document).unwrap_err(), why);
    };
    check(
        json!({"defaults": {"enforce": "x", "audit-version": "1"}}),
        "defaults.enforce: Invalid value: \"x\": must be one of privileged, baseline, restricted, \
         defaults.audit-version: Invalid value: \"1\": must be \"latest\" or \"v1.x\"",
    );
    check(
        json!({"exemptions": {"namespaces": ["a", "a"], "usernames": [""]}}),
        "exemptions.namespaces[1]: Duplicate value: \"a\", exemptions.usernames[0]: Required value",
    );
}
