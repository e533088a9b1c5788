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

/// What is wrong with a schema, below a place in it. One version has its schema beside itself to
/// upstream.
#[track_caller]
fn check_below(place: &str, schema: &str, expected: &[&str]) {
    let full = |text: &&str| format!("spec.validation.openAPIV3Schema.{place}{text}");
    let expected: Vec<String> = expected.iter().map(full).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&with_schema(schema), &expected);
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
    let check = |schema: &str, expected: &[&str]| check_below("", schema, expected);
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
            "additionalProperties: Forbidden: must not be used at the root",
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
        "{type: object, properties: {a: {type: string}}, allOf: [{type: object, properties: {a: {description: d}}}]}",
        &[
            "allOf[0].properties[a].description: Forbidden: must be empty to be structural",
            "allOf[0].type: Forbidden: must be empty to be structural",
        ],
    );
    check(
        "{type: object, additionalProperties: {type: string, nullable: true}, nullable: true}",
        &[
            "nullable: Forbidden: nullable cannot be true at the root",
            "additionalProperties: Forbidden: must not be used at the root",
        ],
    );
    check(
        "{type: object, properties: {a: {type: object, x-kubernetes-preserve-unknown-fields: false}, b: {x-kubernetes-map-type: granular, x-kubernetes-preserve-unknown-fields: true}, c: {type: 'null'}}}",
        &[
            r#"properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"#,
            "properties[b].type: Required value: must be object if x-kubernetes-map-type is specified",
            r#"properties[c].type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string""#,
            "properties[c].type: Forbidden: type cannot be set to null, use nullable as an alternative",
        ],
    );
    check(
        "{type: object, properties: {n: {x-kubernetes-int-or-string: true, x-kubernetes-preserve-unknown-fields: true}}}",
        &[
            "properties[n].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ],
    );
}

#[test]
fn fields_of_every_object() {
    let check = |schema: &str, expected: &[&str]| check_below("properties", schema, expected);
    check(
        "{type: object, properties: {metadata: {type: object, properties: {name: {type: string, maxLength: 3}}}}}",
        &[],
    );
    check(
        "{type: object, properties: {kind: {type: integer}, metadata: {type: object, description: d}}}",
        &[
            r#"[kind].type: Invalid value: "integer": must be string"#,
            "[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
    check(
        "{type: object, properties: {kind: {type: string, default: X}, metadata: {type: object, properties: {name: {type: string, default: x}}}, e: {type: object, x-kubernetes-embedded-resource: true, properties: {metadata: {type: object, additionalProperties: {type: string, default: x}}}}}}",
        &[
            "[e].properties[metadata].additionalProperties.default: Forbidden: must not be set inside additionalProperties applying to object metadata",
            "[kind].default: Forbidden: must not be set in top-level kind",
            "[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
        ],
    );
}

#[test]
fn lists_that_are_sets_or_maps() {
    let check = |list: &str, expected: &[&str]| {
        let schema = format!("{{type: object, properties: {{l: {{type: array, {list}}}}}}}");
        check_below("properties[l].", &schema, expected);
    };
    check(
        "x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k, p], items: {type: object, required: [k], properties: {k: {type: string}, p: {type: string, default: TCP}}}",
        &[],
    );
    check(
        "x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k, x, k, n], items: {type: object, nullable: true, required: [n], properties: {k: {type: object}, n: {type: string, nullable: true}}}",
        &[
            r#"items.properties[k].type: Invalid value: "object": must be a scalar type if parent array's x-kubernetes-list-type is map"#,
            "items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            r#"x-kubernetes-list-map-keys: Invalid value: ["k","x","k","n"]: entries must all be names of item properties"#,
            r#"items.properties[k].type: Invalid value: "object": must be a scalar type if parent array's x-kubernetes-list-type is map"#,
            "items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            r#"x-kubernetes-list-map-keys: Invalid value: ["k","x","k","n"]: must not contain duplicate entries"#,
            "items.properties[n].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            "items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map",
        ],
    );
    check(
        "x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: string}",
        &[
            r#"items.type: Invalid value: "string": must be object if parent array's x-kubernetes-list-type is map"#,
        ],
    );
    check(
        "x-kubernetes-list-type: set, items: {type: object, x-kubernetes-map-type: granular}",
        &[
            r#"items.x-kubernetes-map-type: Invalid value: "granular": must be atomic as item of a list with x-kubernetes-list-type=set"#,
        ],
    );
}

#[test]
fn limits_need_a_structure() {
    let check = |more: &str, expected: &[&str]| {
        check_below("", &format!("{{type: object, {more}}}"), expected);
    };
    check(
        "properties: {a: {x-kubernetes-int-or-string: true, allOf: [{anyOf: [{type: integer}, {type: string}]}, {pattern: x}]}}",
        &[],
    );
    check(
        "properties: {a: {type: object}}, anyOf: [{required: [a], properties: {b: {minimum: 1}}}], not: {items: {}}",
        &[
            "items: Required value: because it is defined in spec.validation.openAPIV3Schema.not.items",
            "properties[b]: Required value: because it is defined in spec.validation.openAPIV3Schema.anyOf[0].properties[b]",
        ],
    );
    check(
        "properties: {metadata: {type: object}}, oneOf: [{properties: {metadata: {minProperties: 1}}}], allOf: [{x-kubernetes-validations: [{rule: 'true'}], x-kubernetes-list-type: set}]",
        &[
            "allOf[0].x-kubernetes-list-type: Forbidden: must be undefined to be structural",
            "allOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
            "oneOf[0].properties[metadata]: Forbidden: must not be specified in a nested context",
            "allOf[0].type: Required value: must be array if x-kubernetes-list-type is specified",
        ],
    );
}

#[test]
fn roots_beside_a_status() {
    let version = |schema: &str| {
        crd(
            "foos.a.b",
            &format!(
                "group: a.b, scope: Namespaced, names: {{plural: foos, kind: Foo}}, versions: [{{name: v1, served: true, storage: true, subresources: {{status: {{}}}}, schema: {{openAPIV3Schema: {schema}}}}}]"
            ),
        )
    };
    check(&version("{type: object, description: d, properties: {a: {type: string}}}"), &[]);
    check(
        &version("{type: object, minProperties: 1}"),
        &[
            r#"spec.validation.openAPIV3Schema: Invalid value: {"type":"object","minProperties":1}: only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled"#,
        ],
    );
    check(
        &version("{type: string}"),
        &[
            r#"spec.validation.openAPIV3Schema.type: Invalid value: "string": only "object" is allowed as the type at the root of the schema if the status subresource is enabled"#,
            r#"spec.validation.openAPIV3Schema.type: Invalid value: "string": must be object at the root"#,
        ],
    );
}

#[test]
fn what_versions_say_of_themselves() {
    let version = |more: &str| {
        crd(
            "foos.a.b",
            &format!(
                "group: a.b, scope: Namespaced, names: {{plural: foos, kind: Foo}}, versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, properties: {{a: {{type: string}}, o: {{type: object}}}}}}}}, {more}}}]"
            ),
        )
    };
    check(&version("deprecated: true, deprecationWarning: use v2"), &[]);
    check(
        &version("deprecationWarning: use v2"),
        &[
            r#"spec.versions[0].deprecationWarning: Invalid value: "use v2": can only be set for deprecated versions"#,
        ],
    );
    check(
        &version(r#"deprecated: true, deprecationWarning: "a\nb""#),
        &[
            r#"spec.versions[0].deprecationWarning: Invalid value: "a\nb": must only contain printable UTF-8 characters; non-printable character found at index 1"#,
        ],
    );
    check(
        &version(
            "selectableFields: [{jsonPath: .a}, {jsonPath: .a}, {jsonPath: .o}, {jsonPath: '.a[x]'}, {jsonPath: .b}]",
        ),
        &[
            r#"spec.selectableFields[1].jsonPath: Duplicate value: ".a""#,
            r#"spec.selectableFields[2].jsonPath: Invalid value: ".o": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."#,
            r#"spec.selectableFields[3].jsonPath: Invalid value: ".a[x]": is an invalid path: expected [ or . but got: ["#,
            r#"spec.selectableFields[4].jsonPath: Invalid value: ".b": is an invalid path: does not refer to a valid field"#,
        ],
    );
    check(
        &version(
            "additionalPrinterColumns: [{name: A, type: string, format: binary, jsonPath: a}, {name: B, type: string}]",
        ),
        &[
            r#"spec.additionalPrinterColumns[0].format: Invalid value: "binary": must be one of byte,date,date-time,double,float,int32,int64,password"#,
            r#"spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with ."#,
            "spec.additionalPrinterColumns[1].JSONPath: Required value",
        ],
    );
    check(
        &version(
            "subresources: {scale: {specReplicasPath: spec.n, statusReplicasPath: .status.n, labelSelectorPath: .x}}",
        ),
        &[
            r#"spec.subresources.scale.specReplicasPath: Invalid value: "spec.n": must be a simple json path starting with ."#,
            r#"spec.subresources.scale.labelSelectorPath: Invalid value: ".x": should be a json path under either .spec or .status"#,
        ],
    );
}

#[test]
fn conversions() {
    let conversion = |webhook: &str| {
        let good = with_schema("{type: object}");
        let end = format!(", conversion: {{strategy: Webhook, webhook: {{{webhook}}}}}}}}}");
        format!("{}{end}", good.strip_suffix("}}").unwrap())
    };
    let client = "clientConfig: {url: 'https://a/b'}";
    check(&conversion(&format!("{client}, conversionReviewVersions: [v1]")), &[]);
    check(
        &conversion(&format!("{client}, conversionReviewVersions: [v2, v2, V]")),
        &[
            r#"spec.conversion.conversionReviewVersions[1]: Invalid value: "v2": duplicate version"#,
            r#"spec.conversion.conversionReviewVersions[2]: Invalid value: "V": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"#,
            r#"spec.conversion.conversionReviewVersions: Invalid value: ["v2","v2","V"]: must include at least one of v1, v1beta1"#,
        ],
    );
}

#[test]
fn what_was_borne_is_borne() {
    let protected = with_schema("{type: object}").replace("a.b", "a.k8s.io");
    check_update(&protected, "{metadata: {labels: {a: b}}}", &[]);
    let open =
        with_schema("{type: object}").replace("spec: {", "spec: {preserveUnknownFields: true, ");
    check_update(&open, "{metadata: {labels: {a: b}}}", &[]);
    check_update(
        &with_schema("{type: object}"),
        "{spec: {preserveUnknownFields: true}}",
        &[
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
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

#[test]
fn costs_of_what_is_stored_are_borne() {
    let open = "{type: array, items: {type: array, items: {type: string}}, x-kubernetes-validations: [{rule: 'self.all(x, x.all(y, self.all(z, y in z)))'}]}";
    let costly =
        |more: &str| with_schema(&format!("{{type: object, {more} properties: {{spec: {open}}}}}"));
    let (registration, object) = crate::checks::decoded(&costly(""));
    let errors = registration.check_create(&crate::checks::ctx(), &object);
    assert!(errors.iter().any(|error| error.detail.starts_with("estimated rule cost exceeds")));
    check_update(&costly(""), "{metadata: {labels: {a: b}}}", &[]);
    // Another schema is another matter.
    let before = created(&costly(""));
    let mut after = before.clone();
    let schema = after.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").unwrap();
    schema["description"] = json!("new");
    let errors = registration.check_update(&crate::checks::ctx(), &after, &before);
    assert!(errors.iter().any(|error| error.detail.starts_with("estimated rule cost exceeds")));
}
