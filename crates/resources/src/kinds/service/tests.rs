use machinery::time::Timestamp;

use super::*;

fn ctx() -> Ctx<'static> {
    static NULL: Value = Value::Null;
    Ctx { now: Timestamp::UNIX_EPOCH, user: &NULL }
}

fn service(spec: &str) -> Value {
    let spec: Value = serde_yaml::from_str(spec).unwrap();
    let mut service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
    crate::find("", "v1", "services").unwrap().default(&mut service);
    service
}

fn created(spec: &str) -> Value {
    let mut service = service(spec);
    Service.prepare_for_create(&ctx(), &mut service);
    service
}

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    let errors = Service.validate(&ctx(), &created(spec));
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected, "{spec}");
}

#[test]
fn defaults() {
    let plain = service("{ports: [{port: 80}], selector: {a: b}}");
    assert_eq!(
        plain["spec"],
        json!({
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "selector": {"a": "b"},
            "sessionAffinity": "None",
            "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster",
        })
    );
    let balanced = service(
        "{type: LoadBalancer, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: http}]}",
    );
    assert_eq!(balanced["spec"]["allocateLoadBalancerNodePorts"], true);
    assert_eq!(balanced["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(balanced["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
}

#[test]
fn rules() {
    check("{ports: [{port: 80}]}", &[]);
    check("{clusterIP: None}", &[]);
    check("{type: ExternalName, externalName: a.b}", &[]);
    check("{}", &["spec.ports: Required value"]);
    check(
        "{ports: [{port: 0}, {port: 0, name: A}]}",
        &[
            "spec.ports[0].name: Required value",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":0,\"TargetPort\":0,\"NodePort\":0}",
        ],
    );
    check(
        "{type: X, ports: [{port: 80}]}",
        &[
            r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
        ],
    );
    check(
        "{ports: [{port: 80, nodePort: 30000}]}",
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    check(
        "{type: NodePort, clusterIP: None, ports: [{port: 80}]}",
        &[
            r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#,
        ],
    );
    check(
        "{ports: [{port: 80}], externalTrafficPolicy: Local}",
        &[
            r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#,
        ],
    );
}

#[test]
fn families() {
    let check = |spec: &str, cluster: &[Family], policy: &str, families: &[&str]| {
        let mut service = created(spec);
        let errors = init_families(&mut service, None, cluster);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(service["spec"]["ipFamilyPolicy"], policy, "{spec}");
        assert_eq!(service["spec"]["ipFamilies"], json!(families), "{spec}");
    };
    let single = [Family::V4];
    let dual = [Family::V4, Family::V6];
    check("{ports: [{port: 80}]}", &single, "SingleStack", &["IPv4"]);
    check(
        "{ports: [{port: 80}], ipFamilyPolicy: PreferDualStack}",
        &single,
        "PreferDualStack",
        &["IPv4"],
    );
    check(
        "{ports: [{port: 80}], ipFamilyPolicy: PreferDualStack}",
        &dual,
        "PreferDualStack",
        &["IPv4", "IPv6"],
    );
    check("{clusterIP: None}", &single, "RequireDualStack", &["IPv4", "IPv6"]);
    check("{clusterIP: None, selector: {a: b}}", &single, "SingleStack", &["IPv4"]);
    let mut service = created("{ports: [{port: 80}], ipFamilyPolicy: RequireDualStack}");
    assert_eq!(
        init_families(&mut service, None, &single).aggregate(),
        r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#
    );
}

fn settled(spec: &str) -> Value {
    let mut service = created(spec);
    assert!(init_families(&mut service, None, &[Family::V4]).is_empty());
    service
}

#[test]
fn needs() {
    let new = settled("{type: NodePort, ports: [{port: 80}, {port: 81, nodePort: 30001}]}");
    let needs = allocation_needs(&new, None);
    assert_eq!(needs.cluster_ips, [IpNeed { index: 0, family: Family::V4, wanted: None }]);
    assert_eq!(
        needs.node_ports,
        [
            PortNeed { index: 0, protocol: "TCP".into(), wanted: None },
            PortNeed { index: 1, protocol: "TCP".into(), wanted: Some(30001) },
        ]
    );
    assert_eq!(allocation_needs(&settled("{clusterIP: None}"), None), Needs::default());
    let balanced =
        settled("{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}");
    assert_eq!(allocation_needs(&balanced, None).health_check_port, Some(None));

    let mut stored = new.clone();
    set_cluster_ip(&mut stored, 0, "10.96.0.7");
    set_node_port(&mut stored, 0, 30000);
    assert_eq!(allocation_needs(&stored, Some(&stored)), Needs::default());
    assert_eq!(stored["spec"]["clusterIPs"], json!(["10.96.0.7"]));
}

#[test]
fn updates() {
    let mut old = settled("{type: NodePort, ports: [{port: 80}]}");
    set_cluster_ip(&mut old, 0, "10.96.0.7");
    set_node_port(&mut old, 0, 30000);

    // A manifest applied again keeps what was handed out.
    let mut new = service("{type: NodePort, ports: [{port: 80}]}");
    Service.prepare_for_update(&ctx(), &mut new, &old);
    assert_eq!(new["spec"]["clusterIP"], "10.96.0.7");
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30000);

    // Ports are known by their names.
    let mut new = service("{type: LoadBalancer, ports: [{port: 81, protocol: UDP}]}");
    Service.prepare_for_update(&ctx(), &mut new, &old);
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30000);

    // A change of type gives node ports back.
    let mut new = old.clone();
    new["spec"]["type"] = json!("ClusterIP");
    Service.prepare_for_update(&ctx(), &mut new, &old);
    assert!(new["spec"]["ports"][0].get("nodePort").is_none());
    assert!(new["spec"].get("externalTrafficPolicy").is_none());
    assert!(Service.validate_update(&ctx(), &new, &old).is_empty());
    let needs = allocation_needs(&new, Some(&old));
    assert_eq!(needs.release_node_ports, [("TCP".to_owned(), 30000)]);

    // An external name gives everything back.
    let mut new = old.clone();
    new["spec"]["type"] = json!("ExternalName");
    new["spec"]["externalName"] = json!("a.b");
    Service.prepare_for_update(&ctx(), &mut new, &old);
    assert!(new["spec"].get("clusterIP").is_none());
    assert_eq!(allocation_needs(&new, Some(&old)).release_cluster_ips, ["10.96.0.7"]);

    let mut new = old.clone();
    new["spec"]["clusterIP"] = json!("10.96.0.8");
    Service.prepare_for_update(&ctx(), &mut new, &old);
    assert_eq!(
        Service.validate_update(&ctx(), &new, &old).aggregate(),
        r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set"#
    );
}

#[test]
fn warnings() {
    let warned = |spec: &str, want: &[&str]| {
        crate::checks::check_warnings(
            &format!("{{apiVersion: v1, kind: Service, spec: {{ports: [{{port: 80}}], {spec}}}}}"),
            want,
        );
    };
    warned("type: ClusterIP", &[]);
    warned(
        "clusterIP: None, sessionAffinity: ClientIP, externalIPs: [1.2.3.4], loadBalancerIP: 1.2.3.4",
        &[
            "spec.loadBalancerIP is ignored for headless services",
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
        ],
    );
    warned(
        "externalIPs: ['2001:DB8::0:1', '::ffff:1.2.3.4'], trafficDistribution: PreferClose",
        &[
            "spec.externalIPs[0]: IPv6 address \"2001:DB8::0:1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
            "spec.externalIPs[1]: non-standard IP address \"::ffff:1.2.3.4\" will be considered invalid in a future Kubernetes release: use \"1.2.3.4\"",
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ],
    );
    warned(
        "type: LoadBalancer, loadBalancerSourceRanges: [10.1.2.3/24, 10.0.0.0/8]",
        &[
            "spec.loadBalancerSourceRanges[0]: CIDR value \"10.1.2.3/24\" is ambiguous in this context (should be \"10.1.2.0/24\" or \"10.1.2.3/32\"?)",
        ],
    );
    warned(
        "externalName: x.y",
        &["spec.externalName is ignored when spec.type is not \"ExternalName\""],
    );
}

#[test]
fn load_balancers_report_where_they_are() {
    let service = |kind: &str| {
        format!("{{apiVersion: v1, kind: Service, spec: {{type: {kind}, ports: [{{port: 80}}]}}}}")
    };
    let balancer = |ingress: &str, want: &[&str]| {
        let status = format!("{{status: {{loadBalancer: {{ingress: [{ingress}]}}}}}}");
        crate::checks::check_status(&service("LoadBalancer"), &status, want);
    };
    balancer("{ip: 1.2.3.4}, {hostname: a.example}", &[]);
    balancer(
        "{ip: x, ipMode: VIP}",
        &[
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
    balancer(
        "{hostname: 1.2.3.4, ipMode: Other}",
        &[
            "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
            "status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        ],
    );
    crate::checks::check_status(
        &service("ClusterIP"),
        "{status: {loadBalancer: {ingress: [{hostname: a}]}}}",
        &[
            "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
        ],
    );
}

#[test]
fn addresses_and_families() {
    let service = |rest: &str| format!("{{ports: [{{port: 80}}], {rest}}}");
    let check = |rest: &str, expected: &[&str]| check(&service(rest), expected);
    check("clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6]", &[]);
    check(
        "clusterIPs: [10.0.0.1]",
        &[
            r#"spec.clusterIPs: Invalid value: ["10.0.0.1"]: must be empty when `clusterIP` is not specified"#,
        ],
    );
    check(
        "clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2, 10.0.0.3, x], ipFamilies: [IPv4, IPv4, X], ipFamilyPolicy: X",
        &[
            r#"spec.clusterIPs: Invalid value: ["10.0.0.2","10.0.0.3","x"]: first value must match `clusterIP`"#,
            r#"spec.ipFamilies[1]: Duplicate value: "IPv4""#,
            r#"spec.ipFamilies[2]: Unsupported value: "X": supported values: "IPv4", "IPv6""#,
            r#"spec.ipFamilyPolicy: Unsupported value: "X": supported values: "PreferDualStack", "RequireDualStack", "SingleStack""#,
            r#"spec.clusterIPs[2]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
            r#"spec.clusterIPs: Invalid value: ["10.0.0.2","10.0.0.3","x"]: may only hold up to 2 values"#,
        ],
    );
    check(
        "clusterIP: None, clusterIPs: [None, None]",
        &[
            r#"spec.clusterIPs: Invalid value: ["None","None"]: 'None' must be the first and only value"#,
            r#"spec.clusterIPs[1]: Invalid value: "None": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
        ],
    );
    check(
        "clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 10.0.0.2], ipFamilies: [IPv6, IPv4]",
        &[
            r#"spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: may specify no more than one IP for each IP family"#,
            r#"spec.clusterIPs[0]: Invalid value: "10.0.0.1": expected an IPv6 value as indicated by `ipFamilies[0]`"#,
        ],
    );
    check(
        "externalIPs: [127.0.0.1, 010.0.0.1]",
        &[
            r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
            r#"spec.externalIPs[1]: Invalid value: "010.0.0.1": must not have leading 0s"#,
        ],
    );
    check(
        "trafficDistribution: '', internalTrafficPolicy: X",
        &[
            r#"spec.internalTrafficPolicy: Unsupported value: "X": supported values: "Cluster", "Local""#,
            r#"spec.trafficDistribution: Unsupported value: "": supported values: "PreferClose", "PreferSameZone", "PreferSameNode""#,
        ],
    );
    check(
        "type: LoadBalancer, externalTrafficPolicy: Local",
        &["spec.healthCheckNodePort: Required value"],
    );
    check(
        "type: LoadBalancer, loadBalancerSourceRanges: [' 10.0.0.0/8 ', 10.0.0.1/8]",
        &[
            r#"spec.LoadBalancerSourceRanges[1]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length"#,
        ],
    );
    crate::checks::check(
        "{apiVersion: v1, kind: Service, metadata: {name: 1.x, annotations: {service.kubernetes.io/topology-mode: a, service.kubernetes.io/topology-aware-hints: b}}, spec: {ports: [{port: 80}]}}",
        &[
            "metadata.name: Invalid value: \"1.x\": must not contain dots",
            r#"metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "a": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified"#,
        ],
    );
}

#[test]
fn what_stays_and_what_can_be_given_back() {
    let change = |old: Value, new: Value, expected: &[&str]| {
        let object = |extra: &Value| {
            let mut object = service("{ports: [{port: 80}]}");
            for (field, value) in extra.as_object().unwrap() {
                object["spec"][field] = value.clone();
            }
            object
        };
        let mut errors = ErrorList::new();
        changes::check(&object(&new), &object(&old), &mut errors);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected, "{new}");
    };
    let dual = json!({"clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]});
    change(
        dual.clone(),
        json!({"clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}),
        &[],
    );
    change(
        dual.clone(),
        json!({"clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "PreferDualStack"}),
        &[
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP",
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily",
        ],
    );
    change(
        dual,
        json!({"clusterIPs": [], "ipFamilies": []}),
        &[
            "spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset",
            "spec.ipFamilies[0]: Invalid value: []: primary ipFamily can not be unset",
        ],
    );
    change(
        json!({"clusterIPs": ["None"], "ipFamilies": ["IPv4"]}),
        json!({"clusterIPs": ["None"], "ipFamilies": ["IPv6"]}),
        &[],
    );
    let balanced = |port: i64| json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port});
    change(
        balanced(30001),
        balanced(30002),
        &["spec.healthCheckNodePort: Forbidden: field is immutable"],
    );
    let class = |class: &str| json!({"type": "LoadBalancer", "loadBalancerClass": class});
    change(
        class("a"),
        class("b"),
        &["spec.loadBalancerClass: Invalid value: \"b\": may not change once set"],
    );
    let mut old = service("{type: LoadBalancer, ports: [{port: 80}]}");
    old["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    let mut new = old.clone();
    new["spec"]["type"] = json!("ClusterIP");
    Service.prepare_for_update(&ctx(), &mut new, &old);
    assert_eq!(new["status"]["loadBalancer"], json!({}));
}
