use crate::checks::{check, check_update, created, updated};

const GROUP: &str = "apiVersion: scheduling.k8s.io/v1alpha2\nkind: PodGroup\n";
const WORKLOAD: &str = "apiVersion: scheduling.k8s.io/v1alpha2\nkind: Workload\n";
const POOLS: &str = "apiVersion: resource.k8s.io/v1alpha3\nkind: ResourcePoolStatusRequest\n";

#[test]
fn markers_of_a_field() {
    let pools = |spec: &str, errors: &[&str]| check(&format!("{POOLS}spec: {{{spec}}}"), errors);
    pools("driver: d.example", &[]);
    pools("driver: D.example, poolName: a/b, limit: 7", &[]);
    pools("", &["spec.driver: Required value"]);
    pools(
        "driver: d, limit: 0",
        &["spec.limit: Invalid value: 0: must be greater than or equal to 1"],
    );
    pools(
        "driver: d, limit: 1001",
        &["spec.limit: Invalid value: 1001: must be less than or equal to 1000"],
    );
    check_update(
        &format!("{POOLS}spec: {{driver: d}}"),
        "spec: {limit: 5}",
        &["spec: Invalid value: {\"driver\":\"d\",\"limit\":5}: field is immutable"],
    );
}

#[test]
fn unions_and_lists() {
    let policy = |policy: &str, errors: &[&str]| {
        check(&format!("{GROUP}spec: {{schedulingPolicy: {policy}}}"), errors);
    };
    policy("{basic: {}}", &[]);
    policy("{gang: {minCount: 2}}", &[]);
    policy(
        "{gang: {minCount: -1}}",
        &[
            "spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1",
        ],
    );
    policy("{gang: {minCount: 0}}", &["spec.schedulingPolicy.gang.minCount: Required value"]);
    policy(
        "{}",
        &["spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"],
    );
    policy(
        "{basic: {}, gang: {minCount: 1}}",
        &[
            "spec.schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`",
        ],
    );
    let template = |name: &str| format!("{{name: {name}, schedulingPolicy: {{basic: {{}}}}}}");
    let templates = |names: &[&str], errors: &[&str]| {
        let list: Vec<String> = names.iter().map(|name| template(name)).collect();
        check(&format!("{WORKLOAD}spec: {{podGroupTemplates: [{}]}}", list.join(", ")), errors);
    };
    templates(&["a", "b"], &[]);
    templates(&[], &["spec.podGroupTemplates: Required value"]);
    templates(
        &["a", "a"],
        &[
            "spec.podGroupTemplates[1]: Duplicate value: {\"name\":\"a\",\"schedulingPolicy\":{\"basic\":{}}}",
        ],
    );
    templates(&["a"; 1], &[]);
    let nine: Vec<String> = (0..9).map(|n| format!("t{n}")).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    templates(&nine, &["spec.podGroupTemplates: Too many: 9: must have at most 8 items"]);
}

#[test]
fn fields_of_features_that_are_off_are_dropped() {
    let pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: i}], schedulingGroup: {podGroupName: g}}";
    assert_eq!(created(pod)["spec"].get("schedulingGroup"), None);
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nspec: {selector: {}, template: {spec: {schedulingGroup: {podGroupName: g}}}}";
    assert_eq!(created(deployment)["spec"]["template"]["spec"].get("schedulingGroup"), None);
    let lease = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nspec: {holderIdentity: a}";
    let after = updated(lease, "spec: {strategy: OldestEmulationVersion}");
    assert_eq!(after["spec"].get("strategy"), None);
}
