//! Features that are switched on and off. They are the same for a whole process, which is why this
//! is a program of its own.

use machinery::Value;
use machinery::features::{self, Features};
use machinery::time::Timestamp;
use resources::strategy::Ctx;
use serde_json::json;

fn created(group: &str, version: &str, kind: &str, mut object: Value) -> Value {
    let registration = resources::find_kind(group, version, kind).expect("the kind is registered");
    let ctx = Ctx { now: Timestamp::UNIX_EPOCH, user: &Value::Null };
    registration.prepare_create(&ctx, &mut object);
    object
}

#[test]
fn fields_follow_their_features() {
    let texts =
        ["MaxUnavailableStatefulSet=true,EnvFiles=false,CrossNamespaceVolumeDataSource=true"];
    let choices = features::parse(texts).expect("they are well-formed");
    let (chosen, notices) = Features::choose(&choices, |gate| {
        resources::follows_feature(gate) || gate == "CrossNamespaceVolumeDataSource"
    })
    .expect("they can be set");
    assert_eq!(notices, []);
    features::install(chosen);

    let set = json!({"metadata": {"name": "s"}, "spec": {"updateStrategy": {"type": "RollingUpdate",
        "rollingUpdate": {"partition": 0, "maxUnavailable": 2}}}});
    let set = created("apps", "v1", "StatefulSet", set);
    assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 2);

    let source = json!({"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i",
        "env": [{"name": "E", "valueFrom": source}], "lifecycle": {"stopSignal": "SIGUSR1"}}]}});
    let pod = created("", "v1", "Pod", pod);
    let container = &pod["spec"]["containers"][0];
    assert!(container["env"][0]["valueFrom"]["fileKeyRef"].is_null(), "{container}");
    assert!(container["lifecycle"]["stopSignal"].is_null(), "this one is off by default");

    let claim = json!({"metadata": {"name": "c"}, "spec": {"dataSourceRef":
        {"apiGroup": "a.b", "kind": "C", "name": "x", "namespace": "other"}}});
    let claim = created("", "v1", "PersistentVolumeClaim", claim);
    assert_eq!(claim["spec"]["dataSourceRef"]["namespace"], "other");
}
