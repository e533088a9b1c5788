use http::Uri;
use k8s_openapi::jiff::Timestamp;
use streams::remotecommand::StreamSet;

use super::stats::{ContainerReading, PodReading, Rates, Readings};
use super::*;
use crate::cgroup::usage::Usage;

#[test]
fn rights_of_paths() {
    let check = |method: Method, path: &str, verb: &str, subresources: &[&str]| {
        let rights = auth::rights(&method, path);
        let got: Vec<_> = rights.iter().map(|right| right.subresource).collect();
        assert_eq!((rights[0].verb, got.as_slice()), (verb, subresources), "{path}");
    };
    check(Method::GET, "/stats/summary", "get", &["stats"]);
    check(Method::GET, "/metrics/resource", "get", &["metrics"]);
    check(Method::GET, "/logs/", "get", &["log"]);
    check(Method::GET, "/pods", "get", &["pods", "proxy"]);
    check(Method::GET, "/containerLogs/n/p/c", "get", &["proxy"]);
    check(Method::POST, "/exec/n/p/c", "create", &["proxy"]);
    check(Method::GET, "/", "get", &["proxy"]);
}

#[test]
fn queries() {
    let uri: Uri =
        "/exec/n/p/c?command=sh&command=-c&command=echo%20a%2Bb+c&input=1&tty=0".parse().unwrap();
    let wanted = streaming::Wanted::parse(&uri);
    assert_eq!(wanted.command, ["sh", "-c", "echo a+b c"]);
    assert_eq!(wanted.streams, StreamSet { stdin: true, ..StreamSet::default() });
    let uri: Uri = "/x?stdout=true&stderr=true&tty=true".parse().unwrap();
    let streams = streaming::Wanted::parse(&uri).streams;
    assert!(streams.stdout && streams.tty && !streams.stderr);
}

#[test]
fn log_options() {
    let now = Timestamp::from_second(1000).unwrap();
    let parse = |query: &str| logs::parse(&format!("/x?{query}").parse().unwrap(), now);
    let (options, previous) =
        parse("follow=true&tailLines=5&sinceSeconds=10&timestamps=true").unwrap();
    assert!(options.follow && options.timestamps && !previous);
    assert_eq!(options.tail, Some(5));
    assert_eq!(options.since, Some(Timestamp::from_second(990).unwrap()));
    assert!(parse("previous=true").unwrap().1);
    assert!(parse("tailLines=-1").is_err());
    assert!(parse("sinceTime=yesterday").is_err());
    assert_eq!(parse("tailLines=all").unwrap().0.tail, None);
}

fn readings(second: i64, cpu_nanos: u64) -> Readings {
    let usage = Usage { cpu_nanos: Some(cpu_nanos), working_set: Some(4096), ..Usage::default() };
    let time = Timestamp::from_second(second).unwrap();
    let container = ContainerReading {
        name: "c".into(),
        started_at: Some(Timestamp::from_second(1).unwrap()),
        usage,
        ..ContainerReading::default()
    };
    let pod = PodReading {
        namespace: "n".into(),
        name: "p".into(),
        uid: "u".into(),
        usage,
        containers: vec![container],
        ..PodReading::default()
    };
    let node = usage;
    let pods_total = usage;
    Readings { time, boot: None, node, pods_total, memory_capacity: Some(10_000), pods: vec![pod] }
}

#[test]
fn the_second_reading_has_rates() {
    let rates = Rates::default();
    let first = stats::summary("w1", &readings(100, 1_000_000_000), &rates);
    assert!(first["pods"][0]["containers"][0]["cpu"].get("usageNanoCores").is_none());
    let second = stats::summary("w1", &readings(110, 2_000_000_000), &rates);
    assert_eq!(second["pods"][0]["containers"][0]["cpu"]["usageNanoCores"], 100_000_000);
    assert_eq!(second["node"]["memory"]["availableBytes"], 5904);
    assert_eq!(second["pods"][0]["podRef"]["uid"], "u");
}

#[test]
fn resource_metrics_have_upstreams_names() {
    let text = metrics::resource(&readings(100, 1_500_000_000));
    for line in [
        "# TYPE container_cpu_usage_seconds_total counter",
        "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 1.5 100000",
        "container_start_time_seconds{container=\"c\",namespace=\"n\",pod=\"p\"} 1 100000",
        "node_memory_working_set_bytes 4096 100000",
        "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 1.5 100000",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn node_logs_stay_inside_their_directory() {
    let root = tempfile::tempdir().unwrap();
    let logs = root.path().join("log");
    std::fs::create_dir(&logs).unwrap();
    std::fs::write(logs.join("syslog"), "hello").unwrap();
    std::fs::write(root.path().join("secret"), "no").unwrap();
    std::os::unix::fs::symlink(root.path().join("secret"), logs.join("out")).unwrap();
    let status = |path: &'static str| {
        let logs = logs.clone();
        async move { node_logs::show(&logs, path, true).await.status().as_u16() }
    };
    assert_eq!(status("syslog").await, 200);
    assert_eq!(status("").await, 200);
    assert_eq!(status("../secret").await, 404);
    assert_eq!(status("%2e%2e/secret").await, 404);
    assert_eq!(status("out").await, 404);
}
