use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use testkit::etcd::EtcdCluster;

use super::*;

fn site<'a>(etcd: Option<&'a Member>) -> Site<'a> {
    let address = Ipv4Addr::new(192, 0, 2, 1);
    Site { node: "m1", address, port: 6443, image: "i:1", etcd, clock: Some("/etc/i/clock") }
}

fn member() -> Member {
    Member { image: "etcd:3".into(), initial_cluster: "m1=u".into(), joins: false }
}

fn check(config: &ClusterConfiguration, etcd: Option<&Member>, wanted: &[&str]) -> String {
    let pods = control_plane(config, &site(etcd));
    let names: Vec<_> = pods.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(names, wanted);
    for (file, pod) in &pods {
        let container = &pod["spec"]["containers"][0];
        let mounts = container["volumeMounts"].as_array().unwrap();
        for argument in container["command"].as_array().unwrap() {
            let Some((_, path)) = argument.as_str().unwrap().split_once("=/") else {
                continue;
            };
            let path = format!("/{path}");
            let mounted = mounts.iter().any(|m| path.starts_with(m["mountPath"].as_str().unwrap()));
            assert!(mounted, "{file}: {path} is not mounted");
        }
    }
    serde_json::to_string(&pods).unwrap()
}

const COMPONENTS: [&str; 4] = [
    "kube-apiserver.yaml",
    "kube-controller-manager.yaml",
    "kube-scheduler.yaml",
    "kube-certificates.yaml",
];

#[test]
fn the_control_plane_is_four_pods_that_mount_what_they_name() {
    let config = ClusterConfiguration::new("c", "192.0.2.1:6443");
    let text = check(&config, None, &COMPONENTS);
    assert!(!text.contains("etcd-servers") && !text.contains("snapshot"), "{text}");
}

#[test]
fn whoever_issues_certificates_knows_how_long_they_are_good() {
    let mut config = ClusterConfiguration::new("c", "192.0.2.1:6443");
    config.certificate_validity_period = Some("2m".to_owned());
    let text = check(&config, None, &COMPONENTS);
    for flag in ["--cluster-signing-duration=2m", "--validity=2m"] {
        assert!(text.contains(flag), "{text}");
    }
    assert_eq!(text.matches("--clock-file=/etc/i/clock").count(), COMPONENTS.len());
}

#[test]
fn one_of_several_has_a_member_of_the_store_and_may_get_the_address() {
    let mut config = ClusterConfiguration::new("c", "192.0.2.254:6443").with_local_etcd();
    config.virtual_address = Some(Ipv4Addr::new(192, 0, 2, 254));
    config.schedule_snapshots(std::time::Duration::from_secs(60), 2);
    let wanted = [&COMPONENTS[..], &["virtual-ip.yaml", "etcd.yaml"]].concat();
    let text = check(&config, Some(&member()), &wanted);
    for part in [
        "--etcd-servers=https://127.0.0.1:2379",
        "--snapshot-interval=60s",
        "--address=192.0.2.254",
        "--initial-cluster=m1=u",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_member_that_is_alone_is_not_ready_and_not_restarted() {
    let config = ClusterConfiguration::new("c", "192.0.2.1:6443").with_local_etcd();
    let pods = control_plane(&config, &site(Some(&member())));
    let (_, pod) = pods.iter().find(|(file, _)| file == "etcd.yaml").unwrap();
    let container = &pod["spec"]["containers"][0];

    let mut etcd = EtcdCluster::start(2, &[], None);
    let server = etcd.servers().swap_remove(0);
    let address = server.trim_start_matches("http://");
    let code = |probe: &str| {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        let mut stream = TcpStream::connect(address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1).map(str::to_owned)
    };
    let wait = |wanted: &str| {
        while code("readinessProbe").as_deref() != Some(wanted) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait("200");
    etcd.kill(1);
    wait("503");
    for probe in ["startupProbe", "livenessProbe"] {
        assert_eq!(code(probe).as_deref(), Some("200"), "{probe}");
    }
}
