use super::*;
use crate::http::query::Query;
use http::Method;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints, services]}]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", /version]
- level: Request
  resources: [{group: "", resources: [configmaps], resourceNames: [one]}]
  namespaces: [kube-system]
  omitManagedFields: false
- level: Metadata
  resources: [{group: "", resources: [secrets, "pods/*", "*/scale"]}]
  omitStages: [ResponseStarted]
- level: RequestResponse
  resources: [{group: apps}, {group: batch, resources: ["*"]}]
- level: Metadata
  namespaces: [""]
- level: None
"#;

fn check(policy: &Policy, name: &str, method: Method, target: &str, want: Level) -> Scope {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = Query::parse(query);
    let info = RequestInfo::parse(&method, path, &query).unwrap();
    let user = User { name: name.to_owned(), ..User::default() }.authenticated();
    let scope = policy.scope(Some(&user), &info);
    assert_eq!(scope.level, want, "{method} {target}");
    scope
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = Policy::parse(POLICY.as_bytes()).unwrap();
    let (get, none) = (Method::GET, Level::None);
    let pods = "/api/v1/namespaces/a/pods";
    check(&policy, "system:kube-proxy", get.clone(), "/api/v1/services?watch=1", none);
    check(&policy, "jane", get.clone(), "/api/v1/services?watch=1", Level::Metadata);
    check(&policy, "jane", get.clone(), "/apis/apps", none);
    check(&policy, "jane", get.clone(), "/version", none);
    check(&policy, "jane", get.clone(), "/version/x", none);
    let one = "/api/v1/namespaces/kube-system/configmaps/one";
    let scope = check(&policy, "jane", Method::PUT, one, Level::Request);
    assert!(!scope.omit_managed_fields);
    check(&policy, "jane", Method::PUT, &one.replace("one", "two"), none);
    let log = format!("{pods}/p/log");
    let scope = check(&policy, "jane", get.clone(), &log, Level::Metadata);
    assert!(scope.omit_managed_fields);
    let included = Stage::ALL.map(|stage| scope.includes(stage));
    assert_eq!(included, [false, false, true, true]);
    // `pods/*` means the Pod itself too.
    check(&policy, "jane", get.clone(), pods, Level::Metadata);
    let scale = "/api/v1/namespaces/a/replicationcontrollers/r/scale";
    check(&policy, "jane", get.clone(), scale, Level::Metadata);
    let deployments = "/apis/apps/v1/namespaces/a/deployments/d/status";
    check(&policy, "jane", get.clone(), deployments, Level::RequestResponse);
    let jobs = "/apis/batch/v1/namespaces/a/jobs/j/status";
    check(&policy, "jane", get.clone(), jobs, Level::RequestResponse);
    check(&policy, "jane", get.clone(), "/api/v1/nodes", Level::Metadata);
    check(&policy, "jane", get, "/metrics", none);
}

#[test]
fn who_is_not_known_matches_no_user() {
    let policy = Policy::parse(
        b"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, userGroups: [a]}, \
              {level: None, users: [b]}, {level: Metadata}]}",
    )
    .unwrap();
    let query = Query::parse("");
    let info = RequestInfo::parse(&Method::GET, "/api", &query).unwrap();
    assert_eq!(policy.scope(None, &info).level, Level::Metadata);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let check = |rules: &str, want: &str| {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n");
        assert_eq!(Policy::parse(text.as_bytes()).unwrap_err().to_string(), want, "{rules}");
    };
    check("[]", "loaded illegal policy with 0 rules");
    check("[{}]", "rules[0].level: Required value");
    check(
        "[{level: All}]",
        "rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \
             \"Request\", \"RequestResponse\"",
    );
    check(
        "[{level: None, nonResourceURLs: [x, \"/a*b\"], namespaces: [a]}]",
        "rules[0].nonResourceURLs[0]: Invalid value: \"x\": non-resource URL rules must begin \
             with a '/' character, rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": \
             non-resource URL wildcards '*' must be the final character of the rule, \
             rules[0].nonResourceURLs: Invalid value: [\"x\",\"/a*b\"]: rules cannot apply to both \
             regular resources and non-resource URLs",
    );
    check(
        "[{level: None, resources: [{group: a/v1, resourceNames: [x]}], omitStages: [End]}]",
        "rules[0].resources.group: Invalid value: \"a/v1\": a lowercase RFC 1123 subdomain must \
             consist of lower case alphanumeric characters, '-' or '.', and must start and end \
             with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), \
             rules[0].resources.resourceNames: Invalid value: [\"x\"]: using resourceNames \
             requires at least one resource, rules[0].omitStages[0]: Invalid value: \"End\": \
             allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
    );
    let unknown = b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrule: []\n";
    let refused = Policy::parse(unknown).unwrap_err().to_string();
    assert_eq!(refused, "failed decoding: strict decoding error: unknown field \"rule\"");
    assert!(Policy::parse(b"kind: Policy\n").is_err());
}
