use component::pki::{self, Subject};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::world::{World, object, until};

/// The request of a kubelet for its client certificate, and the key.
fn kubelet(name: &str) -> (CertificateSigningRequest, String) {
    let subject = Subject {
        common_name: format!("system:node:{name}"),
        organizations: vec!["system:nodes".to_owned()],
        ..Subject::default()
    };
    let (request, key) = pki::signing_request(&subject).unwrap();
    let csr = CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(format!("csr-{name}")), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: "kubernetes.io/kube-apiserver-client-kubelet".to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    (csr, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_kubelet_gets_its_certificate_once_its_group_may_have_one() {
    let world = World::start(false).await;
    let groups = ["system:bootstrappers", "system:authenticated"];
    let kubelet_client = world.server.client_for("system:bootstrap:abcdef", &groups).unwrap();
    let bind = |name: &str, role: &str| {
        object(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": groups[0],
            }],
        }))
    };
    let bindings: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> =
        Api::all(world.client.clone());
    let params = PostParams::default();
    bindings.create(&params, &bind("ask", "system:node-bootstrapper")).await.unwrap();

    let own: Api<CertificateSigningRequest> = Api::all(kubelet_client.clone());
    let (csr, key) = kubelet("n1");
    until(|| async { own.create(&params, &csr).await.ok() }).await;
    // The binding comes after the request: the controller tries again.
    let role = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
    bindings.create(&params, &bind("approve", role)).await.unwrap();
    let status = until(|| async {
        let status = own.get("csr-n1").await.unwrap().status?;
        status.certificate.is_some().then_some(status)
    })
    .await;
    let approval = &status.conditions.unwrap()[0];
    assert_eq!(
        (approval.type_.as_str(), approval.reason.as_deref()),
        ("Approved", Some("AutoApproved"))
    );

    // The certificate is good for what it says: the API server knows the node by it.
    let certificate = String::from_utf8(status.certificate.unwrap().0).unwrap();
    let node = world.server.client_with_certificate(&certificate, &key).unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = testkit::send_json(&node, "POST", path, &review).await.unwrap().json();
    assert_eq!(answer["status"]["userInfo"]["username"], "system:node:n1");
    assert!(answer["status"]["userInfo"]["groups"].to_string().contains("system:nodes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_signer_does_not_sign_is_said_to_have_failed() {
    let world = World::start(false).await;
    let api: Api<CertificateSigningRequest> = Api::all(world.client.clone());
    let (mut csr, _) = kubelet("n2");
    csr.spec.signer_name = "kubernetes.io/kubelet-serving".to_owned();
    csr.spec.usages = Some(vec!["digital signature".to_owned(), "server auth".to_owned()]);
    let made = api.create(&PostParams::default(), &csr).await.unwrap();
    let mut approved = made.clone();
    approved.status = Some(object(json!({"conditions": [
        {"type": "Approved", "status": "True", "reason": "Test", "message": "by hand"},
    ]})));
    let params = PostParams::default();
    api.replace_subresource("approval", "csr-n2", &params, &approved).await.unwrap();
    let failed = until(|| async {
        let status = api.get("csr-n2").await.unwrap().status?;
        status.conditions?.into_iter().find(|condition| condition.type_ == "Failed")
    })
    .await;
    assert_eq!(failed.reason.as_deref(), Some("SignerValidationFailure"));
    assert_eq!(failed.message.as_deref(), Some("DNS or IP subjectAltName is required"));
}
