use crate::checks::{check, check_status, check_update, decoded, status_updated};

const VERSION: &str = "{apiVersion: internal.apiserver.k8s.io/v1alpha1, kind: StorageVersion, metadata: {name: apps.deployments}, spec: {}}";
const MIGRATION: &str = "{apiVersion: storagemigration.k8s.io/v1beta1, kind: StorageVersionMigration, spec: {resource: {group: a, resource: b}}}";

#[test]
fn names_of_stored_versions() {
    let name = |name: &str, errors: &[&str]| {
        check(&VERSION.replace("apps.deployments", name), errors);
    };
    name("apps.deployments", &[]);
    name(
        "pods",
        &[
            r#"metadata.name: Invalid value: "pods": name must be in the form of <group>.<resource>"#,
        ],
    );
    name(
        "apps.1x",
        &[
            "metadata.name: Invalid value: \"apps.1x\": the resource segment a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
}

#[test]
fn stored_versions() {
    let server = |id: &str, versions: &str| {
        format!("{{apiServerID: {id}, encodingVersion: apps/v1, decodableVersions: [{versions}]}}")
    };
    let status = |rest: &str, errors: &[&str]| {
        check_status(VERSION, &format!("{{status: {{{rest}}}}}"), errors);
    };
    let good = server("a", "apps/v1");
    status(&format!("storageVersions: [{good}], commonEncodingVersion: apps/v1"), &[]);
    status(
        &format!("storageVersions: [{good}]"),
        &[
            "status.commonEncodingVersion: Invalid value: null: the common encoding version is apps/v1",
        ],
    );
    status(
        &format!("storageVersions: [{good}], commonEncodingVersion: v2"),
        &[
            r#"status.commonEncodingVersion: Invalid value: "v2": the actual common encoding version is apps/v1"#,
        ],
    );
    status(
        "commonEncodingVersion: v1",
        &[
            r#"status.commonEncodingVersion: Invalid value: "v1": should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet"#,
        ],
    );
    status(
        "storageVersions: [{apiServerID: a, encodingVersion: '', decodableVersions: [v1, a/v1], servedVersions: [v2]}], commonEncodingVersion: ''",
        &[
            r#"status.storageVersions[0].encodingVersion: Invalid value: "": version part: must be non-empty"#,
            r#"status.storageVersions[0].decodableVersions: Invalid value: ["v1","a/v1"]: decodableVersions must include encodingVersion "#,
            r#"status.storageVersions[0].servedVersions[0]: Invalid value: "v2": individual served version : v2 must be included in decodableVersions : [v1 a/v1]"#,
        ],
    );
    status(
        "conditions: [{type: A, status: 'True', reason: r, message: m}, {type: A, status: 'True'}]",
        &[
            r#"status[1].type: Invalid value: "A": the type of the condition is not unique, it also appears in conditions[0]"#,
            "status[1].reason: Required value: reason cannot be empty",
            "status[1].message: Required value: message cannot be empty",
        ],
    );
}

#[test]
fn migrations() {
    check(MIGRATION, &[]);
    check(
        &MIGRATION.replace("resource: b", "resource: ''"),
        &["spec.resource.resource: Required value: resource is required"],
    );
    check_update(
        MIGRATION,
        "{spec: {resource: {group: c, resource: d}}}",
        &[
            r#"group: Invalid value: "c": field is immutable"#,
            r#"resource: Invalid value: "d": field is immutable"#,
        ],
    );
}

fn condition(kind: &str) -> String {
    format!(
        "{{type: {kind}, status: 'True', reason: R, lastTransitionTime: '2024-01-01T00:00:00Z'}}"
    )
}

#[test]
fn progress_of_migrations() {
    check_status(
        MIGRATION,
        &format!("{{status: {{resourceVersion: '5', conditions: [{}]}}}}", condition("Running")),
        &[],
    );
    check_status(
        MIGRATION,
        "{status: {resourceVersion: x}}",
        &[
            r#"status.resourceVersion: Invalid value: "x": failed to parse resource version "x": strconv.ParseInt: parsing "x": invalid syntax"#,
        ],
    );
    check_status(
        MIGRATION,
        "{status: {resourceVersion: '-1'}}",
        &["status.resourceVersion: Invalid value: -1: must be greater than or equal to 0"],
    );
    let (registration, _) = decoded(MIGRATION);
    let ctx = crate::checks::ctx();
    let old = status_updated(
        MIGRATION,
        &format!("{{status: {{resourceVersion: '5', conditions: [{}]}}}}", condition("Failed")),
    );
    let mut new = status_updated(
        MIGRATION,
        &format!(
            "{{status: {{resourceVersion: '6', conditions: [{}, {}]}}}}",
            condition("Succeeded"),
            condition("Running")
        ),
    );
    registration.prepare_status_update(&ctx, &mut new, &old);
    let details: Vec<String> = registration
        .check_status_update(&ctx, &new, &old)
        .iter()
        .map(|error| format!("{}: {}", error.field, error.detail))
        .collect();
    assert_eq!(
        details,
        [
            "status.resourceVersion: cannot be updated",
            "status.conditions: Running condition cannot be true when success condition is true",
            "status.conditions: Failed condition cannot be set to false once it is true",
        ]
    );
}
