//! The load generator against a real server: what it says was answered is what the server counted.

use std::time::Duration;

use bench::api::{Options, run};
use bench::connection::{Format, Protocol, Target};
use bench::report::{Figures, Report};
use testkit::{ApiServer, Error};

const OBJECTS: usize = 130;
const SHORT: usize = 500;
const WATCHERS: usize = 12;
/// All but those whose writes cannot be told from others' by what the server counts.
const ONLY: [&str; 7] =
    ["memory", "create", "get-one", "list", "gzip", "watch-paced", "watch-most"];

fn options(protocol: Protocol) -> Options {
    Options {
        duration: Duration::from_millis(150),
        objects: OBJECTS,
        pods: 20,
        custom: 10,
        watchers: WATCHERS,
        protocol,
        formats: vec![Format::Json, Format::Protobuf],
        only: ONLY.map(str::to_owned).to_vec(),
        server_pid: None,
        settle: Duration::ZERO,
    }
}

/// The server's own count of requests that ended so.
async fn counted(server: &ApiServer, labels: &[&str]) -> Result<u64, Error> {
    let text = testkit::send(&server.client()?, "GET", "/metrics", &[], Vec::new()).await?.text;
    let lines = text.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && labels.iter().all(|label| line.contains(label))
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(values.sum())
}

fn answers(report: &Report, scenario: &str) -> usize {
    let of = |figures: &&Figures| figures.scenario.starts_with(scenario);
    report.scenarios.iter().filter(of).map(|figures| figures.answers).sum()
}

async fn check(protocol: Protocol) -> Result<(), Error> {
    let server = ApiServer::start().await?;
    let target = Target::from_kubeconfig(&server.kubeconfig()).await?;
    let report = run(&target, &options(protocol)).await?;
    for figures in &report.scenarios {
        assert_eq!((figures.errors, &figures.first_error), (0, &None), "{figures:?}");
        assert!(figures.answers > 0 && figures.p99_ms >= figures.p50_ms, "{figures:?}");
    }
    // Most scenarios once in each format.
    assert_eq!(report.scenarios.len(), 9 * 2 + 4, "{report}");

    let posts = ["verb=\"POST\"", "resource=\"configmaps\"", "code=\"201\""];
    let watched = 4 * 16;
    let made = answers(&report, "create") + OBJECTS + SHORT + watched;
    assert_eq!(counted(&server, &posts).await?, made as u64);
    let gets = ["verb=\"GET\"", "resource=\"configmaps\"", "code=\"200\""];
    assert_eq!(counted(&server, &gets).await?, answers(&report, "get") as u64);
    let puts = ["verb=\"PUT\"", "resource=\"configmaps\"", "code=\"200\""];
    let events = answers(&report, "events") as u64;
    assert_eq!(counted(&server, &puts).await? * WATCHERS as u64, events);

    // The lists had in them what they should.
    let size = |scenario: &str| {
        let of = |figures: &&Figures| figures.scenario.starts_with(scenario);
        report.scenarios.iter().find(of).map_or(0, |figures| figures.answer_bytes)
    };
    let all = size(&format!("list {OBJECTS} "));
    assert!(all > OBJECTS as u64 * 1024 && all < OBJECTS as u64 * 2048, "{all}");
    // Group 7 of 100 has objects 7 and 107.
    let group = size("list by label");
    assert!(group > 2 * 1024 && group < 3 * 1024 + 512, "{group}");
    assert!(size("list Pods by node") > 200);
    let custom = size("list 10 custom objects");
    assert!(custom > 10 * 1024 && custom < 10 * 2048, "{custom}");

    // Requests go on beside many watches on one connection.
    let only = vec!["get-beside-watches".to_owned()];
    let beside = run(&target, &Options { only, ..options(protocol) }).await?;
    assert_eq!(beside.scenarios.len(), 1);
    assert!(beside.scenarios.iter().all(|row| row.answers > 0 && row.errors == 0), "{beside}");

    // The server is this process, found by a connection to it.
    assert!(report.memory.iter().all(|memory| memory.resident_mb.is_some_and(|mb| mb > 1.0)));
    // Nothing is left.
    let client = server.client()?;
    for resource in ["configmaps", "pods"] {
        let path = format!("/api/v1/{resource}");
        let answer = testkit::send(&client, "GET", &path, &[], Vec::new()).await?;
        assert!(!answer.text.contains("\"namespace\":\"bench-"), "{}", answer.text);
        assert_eq!(answer.code, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_agree_with_the_server_over_http1() -> Result<(), Error> {
    check(Protocol::Http1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_agree_with_the_server_over_http2() -> Result<(), Error> {
    check(Protocol::Http2).await
}
