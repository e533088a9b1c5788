use super::*;

#[test]
fn a_configuration_survives_its_writing_and_has_kubeadms_names() {
    let mut config = ClusterConfiguration::new("c", "192.0.2.1:6443");
    config.api_server.cert_sans = vec!["api.example.org".into()];
    config.certificate_validity_period = Some("90m".into());
    assert_eq!(config.certificate_validity(), Duration::from_secs(5400));
    config.etcd = Some(Etcd {
        external: ExternalEtcd {
            endpoints: vec!["https://192.0.2.9:2379".into()],
            ca_file: "/etc/etcd/ca.crt".into(),
            cert_file: String::new(),
            key_file: String::new(),
        },
    });
    let text = config.to_yaml();
    for part in ["controlPlaneEndpoint: 192.0.2.1:6443", "certSANs:", "serviceSubnet: 10.96."] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(ClusterConfiguration::parse(&text), Ok(config));
}

#[test]
fn addresses_come_from_the_services_range() {
    let mut config = ClusterConfiguration::new("c", "lb.example.org:443");
    config.networking.service_subnet = "192.168.128.0/20".into();
    assert_eq!(config.kubernetes_service(), Ipv4Addr::new(192, 168, 128, 1));
    assert_eq!(config.dns_service(), Ipv4Addr::new(192, 168, 128, 10));
    let names = config.api_server_names("m1", Ipv4Addr::new(192, 0, 2, 1));
    for name in ["m1", "192.0.2.1", "192.168.128.1", "lb.example.org", "localhost"] {
        assert_eq!(names.iter().filter(|known| *known == name).count(), 1, "{name}");
    }
}

#[test]
fn mistakes_are_named() {
    let check = |change: &dyn Fn(&mut ClusterConfiguration), wanted: &str| {
        let mut config = ClusterConfiguration::new("c", "192.0.2.1:6443");
        change(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
    };
    for (value, wanted) in [
        ("10.0.0.0", "networking.podSubnet: Invalid value: \"10.0.0.0\": not a range"),
        ("10.0.0.1/16", "networking.podSubnet: Invalid value"),
        ("10.0.0.0/33", "networking.podSubnet: Invalid value"),
        ("10.0.0.0/25", "networking.podSubnet: Invalid value: \"10.0.0.0/25\": the range has"),
    ] {
        check(&|config| config.networking.pod_subnet = value.into(), wanted);
    }
    for value in ["10.96.0.0/8", "10.96.0.0/30", "fd00::/112"] {
        check(
            &|config| config.networking.service_subnet = value.into(),
            "networking.serviceSubnet: Invalid value",
        );
    }
    for value in ["", "-a", "A.b", "a..b"] {
        check(
            &|config| config.networking.dns_domain = value.into(),
            "networking.dnsDomain: Invalid value",
        );
    }
    for value in ["1y", "59s", ""] {
        check(
            &|config| config.certificate_validity_period = Some(value.into()),
            "certificateValidityPeriod: Invalid value",
        );
    }
    for value in ["192.0.2.1", "a b:1", ":6443", "x:70000"] {
        check(
            &|config| config.control_plane_endpoint = value.into(),
            "controlPlaneEndpoint: Invalid value",
        );
    }
    assert!(matches!(ClusterConfiguration::parse("x: 1"), Err(ConfigError::Decode(_))));
}

#[test]
fn endpoints_are_hosts_with_ports() {
    for (text, wanted) in [
        ("a.b:1", Some(("a.b", 1))),
        ("[::1]:6443", Some(("::1", 6443))),
        ("192.0.2.1:6443", Some(("192.0.2.1", 6443))),
        ("https://a:1", None),
    ] {
        assert_eq!(split_endpoint(text), wanted, "{text}");
    }
}
