use crate::checks::check;

fn object(kind: &str, rest: &str) -> String {
    format!("{{apiVersion: rbac.authorization.k8s.io/v1, kind: {kind}, {rest}}}")
}

#[test]
fn rules() {
    check(
        &object(
            "ClusterRole",
            "rules: [{verbs: [get], nonResourceURLs: [/a]}, {verbs: [get], apiGroups: [''], resources: [pods]}]",
        ),
        &[],
    );
    check(
        &object(
            "Role",
            "rules: [{verbs: [get], nonResourceURLs: [/a], resources: [pods]}, {verbs: [get]}]",
        ),
        &[
            r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs"#,
            r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs"#,
            "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[1].resources: Required value: resource rules must supply at least one resource",
        ],
    );
    check(
        &object("ClusterRole", "aggregationRule: {clusterRoleSelectors: []}"),
        &[
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
        ],
    );
}

#[test]
fn bindings() {
    let subjects =
        "subjects: [{kind: ServiceAccount, name: a, namespace: n}, {kind: Group, name: g}]";
    check(&object("RoleBinding", &format!("roleRef: {{kind: Role, name: r}}, {subjects}")), &[]);
    check(
        &object(
            "ClusterRoleBinding",
            "roleRef: {kind: Role, name: '', apiGroup: x}, subjects: [{kind: ServiceAccount, name: '', apiGroup: y}, {kind: Robot, name: r}, {kind: User, name: ''}, {kind: Group, name: '', apiGroup: z}]",
        ),
        &[
            r#"roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io""#,
            r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
            "roleRef.name: Required value",
            "subjects[0].name: Required value",
            r#"subjects[0].apiGroup: Unsupported value: "y": supported values: """#,
            "subjects[0].namespace: Required value",
            r#"subjects[1].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group""#,
            "subjects[2].name: Required value",
            r#"subjects[2].name: Invalid value: "": user name cannot be empty"#,
            "subjects[3].name: Required value",
            r#"subjects[3].name: Invalid value: "": group name cannot be empty"#,
            r#"subjects[3].apiGroup: Unsupported value: "z": supported values: "rbac.authorization.k8s.io""#,
        ],
    );
}
