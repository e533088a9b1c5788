use serde_json::json;

use crate::checks::{check, check_default, check_update, created, updated};

fn crd(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
    )
}

/// A definition with one version and `schema` in it.
fn with_schema(schema: &str) -> String {
    crd(
        "foos.a.b",
        &format!(
            "group: a.b, scope: Namespaced, names: {{plural: foos, kind: Foo}}, versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {schema}}}}}]"
        ),
    )
}

#[test]
fn defaults() {
    let good = with_schema("{type: object}");
    check_default(
        &good,
        "/spec/names",
        "{plural: foos, singular: foo, kind: Foo, listKind: FooList}",
    );
    check_default(&good, "/spec/conversion", "{strategy: None}");
    check(&good, &[]);
    assert_eq!(created(&good)["status"]["storedVersions"], json!(["v1"]));
}

#[test]
fn rules() {
    check(
        &crd(
            "x",
            "group: A, scope: World, names: {plural: Foos, kind: '9', listKind: '9'}, versions: [{name: v1, served: true, storage: false}]",
        ),
        &[
            r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#,
            "spec.group: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            r#"spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced""#,
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            r#"spec.versions: Invalid value: [{"name":"v1","served":true,"storage":false}]: must have exactly one version marked as storage version"#,
            "spec.names.plural: Invalid value: \"Foos\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "spec.names.singular: Invalid value: \"9\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "spec.names.kind: Invalid value: \"9\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "spec.names.listKind: Invalid value: \"9\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            r#"spec.names.listKind: Invalid value: "9": kind and listKind may not be the same"#,
            "status.storedVersions: Invalid value: []: must have at least one stored version",
        ],
    );
}

#[test]
fn schemas() {
    // One version has its schema beside itself to upstream.
    let at = "spec.validation.openAPIV3Schema";
    let check = |schema: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|text| format!("{at}.{text}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&with_schema(schema), &expected);
    };
    check(
        "{type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}, n: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}}}",
        &[],
    );
    check("{}", &["type: Required value: must not be empty at the root"]);
    check(
        "{type: array, items: {type: string}}",
        &[r#"type: Invalid value: "array": must be object at the root"#],
    );
    check(
        "{type: object, properties: {a: {}, b: {type: array}, c: {type: array, items: {}}, metadata: {type: object, properties: {labels: {type: object}}}}}",
        &[
            "properties[a].type: Required value: must not be empty for specified object fields",
            "properties[b].items: Required value: must be specified",
            "properties[c].items.type: Required value: must not be empty for specified array items",
            "properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
    check(
        "{type: object, uniqueItems: true, properties: {a: {type: string}}, additionalProperties: {type: string}}",
        &[
            "uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ],
    );
    check(
        "{type: object, properties: {l: {type: array, x-kubernetes-list-type: map, items: {type: object}}}}",
        &[
            "properties[l].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ],
    );
    check(
        "{type: object, allOf: [{type: object, properties: {a: {description: d}}}]}",
        &[
            "allOf[0].type: Forbidden: must be empty to be structural",
            "allOf[0].properties[a].description: Forbidden: must be empty to be structural",
        ],
    );
}

#[test]
fn updates() {
    let good = with_schema("{type: object}");
    check_update(
        &good,
        "{spec: {versions: [{name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}",
        &[
            r#"status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"#,
        ],
    );
    let new = updated(
        &good,
        "{spec: {versions: [{name: v1, served: true, storage: false}, {name: v2, served: true, storage: true}]}}",
    );
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    // Scope and kind stay once objects can exist.
    check_update(&good, "{spec: {scope: Cluster}}", &[]);
}

#[test]
fn protected_groups() {
    let protected = with_schema("{type: object}").replace("a.b", "a.k8s.io");
    check(
        &protected,
        &[
            r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#,
        ],
    );
}

#[test]
fn versions_that_differ() {
    let two = crd(
        "foos.a.b",
        "group: a.b, scope: Namespaced, names: {plural: foos, kind: Foo}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}, {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {}}, subresources: {scale: {specReplicasPath: .a, statusReplicasPath: .status.b}}, additionalPrinterColumns: [{name: a, type: x, jsonPath: .a}]}]",
    );
    check(
        &two,
        &[
            "spec.versions[1].schema.openAPIV3Schema.type: Required value: must not be empty at the root",
            r#"spec.versions[1].subresources.scale.specReplicasPath: Invalid value: ".a": should be a json path under .spec"#,
            r#"spec.versions[1].additionalPrinterColumns[0].type: Invalid value: "x": must be one of boolean,date,integer,number,string"#,
        ],
    );
}
