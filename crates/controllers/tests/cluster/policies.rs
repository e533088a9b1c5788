use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{World, object, until};

fn policy(expression: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"],
                "resources": ["deployments", "replicasets", "deployments/scale", "unknown"],
                "operations": ["*"],
            }]},
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "validations": [
                {"expression": expression},
                {"expression": "object.metadata.labels.size.startsWith('s') && params.data.x == 'y'"},
                {"expression": "object.spec.template.spec.containers.all(c, c.resources.limits.cpu == '1')"},
            ],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_that_do_not_fit_the_types_are_told_in_the_status() {
    let world = World::start_with(false, true).await;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client.clone());
    let created = policy("object.replicas > 1");
    policies.create(&PostParams::default(), &object(created)).await.unwrap();
    let status_of = |generation: i64| {
        let policies = policies.clone();
        move || {
            let policies = policies.clone();
            async move {
                let status = policies.get("p").await.unwrap().status?;
                (status.observed_generation == Some(generation)).then_some(status)
            }
        }
    };
    let status = until(status_of(1)).await;
    let warnings = status.type_checking.unwrap().expression_warnings.unwrap();
    let told: Vec<(&str, &str)> =
        warnings.iter().map(|w| (w.field_ref.as_str(), w.warning.as_str())).collect();
    assert_eq!(
        told,
        [(
            "spec.validations[0].expression",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n\napps/v1, Kind=ReplicaSet: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n",
        )]
    );

    let mended = json!({"spec": policy("object.spec.replicas > 1")["spec"]});
    policies.patch("p", &PatchParams::default(), &Patch::Merge(&mended)).await.unwrap();
    let status = until(status_of(2)).await;
    assert_eq!(status.type_checking.unwrap().expression_warnings.unwrap_or_default(), []);
}
