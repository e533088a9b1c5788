//! Good inputs: objects that between them have every sort of field.

use serde_json::{Value, json};

/// Objects of kinds with different habits.
pub(crate) fn objects() -> Vec<Value> {
    let metadata = json!({
        "name": "a", "namespace": "default", "uid": "6e1c", "generation": 3,
        "creationTimestamp": "2024-01-02T03:04:05Z", "deletionGracePeriodSeconds": 30,
        "labels": {"app": "a", "tier": "b"}, "annotations": {"note": "<&>\u{2028}\"\\"},
        "finalizers": ["x/y", "z"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}],
        "managedFields": [{"manager": "m", "operation": "Apply", "apiVersion": "v1",
            "time": "2024-01-02T03:04:05Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}}],
    });
    let containers = json!([{
        "name": "c", "image": "i", "command": ["sh", "-c"], "env": [{"name": "A", "value": "1"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "1"}},
        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
        "securityContext": {"privileged": false, "runAsUser": 0},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }]);
    let pod = json!({"containers": containers, "nodeSelector": {"x": "y"}, "hostNetwork": true,
        "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 300}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "10M"}}, {"name": "w",
            "projected": {"sources": [{"configMap": {"name": "m", "items": [{"key": "k", "path": "p", "mode": 420}]}}]}}]});
    let status = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [
        {"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2024-01-02T03:04:05Z"}]});
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer",
        "default": {"z": 1, "b": [null, 1.5]}, "minimum": 1.0, "maximum": 2.5, "enum": [1, "x"]},
        "b": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}},
        "additionalProperties": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.a > 1"}]});
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": pod});
    vec![
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": pod, "status": status}),
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "a"}, "matchExpressions": [
                {"key": "t", "operator": "In", "values": ["x", "y"]}]},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}, "type": "RollingUpdate"},
            "template": template}}),
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "data": {"k": "aGVsbG8=", "e": ""}, "type": "Opaque"}),
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"a": "b\nc"}, "binaryData": {"x": "/w=="}}),
        json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {"ports": [
            {"port": 80, "targetPort": "http", "nodePort": 30000}], "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 9}}}}),
        json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": metadata, "spec": {
            "renewTime": "2024-01-01T00:00:00.120000Z", "leaseDurationSeconds": 15}}),
        json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1", "metadata": metadata,
            "spec": {"group": "g", "names": {"plural": "p", "kind": "K"}, "scope": "Cluster", "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}),
        json!({"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": metadata,
            "spec": {"minAvailable": "50%"}, "status": {"disruptedPods": {"p": "2024-01-02T03:04:05Z"},
            "disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}}),
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u"}, "dryRun": ["All"], "propagationPolicy": "Orphan"}),
        json!({"kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1", "metadata": metadata,
            "spec": {"request": "aGVsbG8=", "signerName": "a/b", "usages": ["client auth"],
            "extra": {"k": ["v", "w"]}}}),
        json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
            "spec": {"user": "u", "extra": {"k": ["v"]}, "resourceAttributes": {"verb": "get"}}}),
    ]
}
