use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::Method;
use serde_json::json;

use super::*;
use crate::bootstrap::flow_control::{defaults, kind_of};
use crate::http::query::Query;

/// A server of so many seats with the default configuration.
fn server(seats: usize) -> Flow {
    let flow = Flow::new(seats / 2, seats - seats / 2, Duration::from_secs(60));
    for default in defaults() {
        let mut object = default.object.clone();
        object["metadata"]["uid"] = format!("uid-{}", default.name).into();
        match kind_of(&object) {
            "FlowSchema" => flow.apply_schema(default.name, Some(&object)),
            _ => flow.apply_level(default.name, Some(&object)),
        }
    }
    flow
}

fn user(name: &str, groups: &[&str]) -> User {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    User { name: name.to_owned(), groups, ..User::default() }.authenticated()
}

fn with_info<T>(method: &Method, path: &str, use_it: impl FnOnce(&RequestInfo<'_>) -> T) -> T {
    let query = Query::parse("");
    use_it(&RequestInfo::parse(method, path, &query).unwrap())
}

#[test]
fn default_schemas_part_requests_as_upstreams_do() {
    let flow = server(600);
    let check = |user: &User, method: Method, path: &str, schema: &str, level: &str| {
        let found = with_info(&method, path, |info| flow.classify(user, info));
        assert_eq!(
            (found.rules.name.as_str(), found.rules.level.as_str()),
            (schema, level),
            "{path}"
        );
        assert_eq!(found.schema_uid, format!("uid-{schema}"));
        assert_eq!(found.level_uid, format!("uid-{level}"));
    };
    let pods = "/api/v1/namespaces/a/pods";
    check(&user("admin", &["system:masters"]), Method::GET, pods, "exempt", "exempt");
    check(&user("jane", &[]), Method::GET, "/livez", "probes", "exempt");
    check(&user("jane", &[]), Method::GET, "/version", "global-default", "global-default");
    let node = user("system:node:n", &["system:nodes"]);
    check(&node, Method::PATCH, "/api/v1/nodes/n/status", "system-node-high", "node-high");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
    check(&node, Method::PUT, lease, "system-node-high", "node-high");
    check(&node, Method::GET, pods, "system-nodes", "system");
    let manager = user("system:kube-controller-manager", &[]);
    check(&manager, Method::PUT, lease, "system-leader-election", "leader-election");
    check(&manager, Method::GET, pods, "kube-controller-manager", "workload-high");
    let endpoints = "/api/v1/namespaces/a/endpoints/e";
    check(&manager, Method::PUT, endpoints, "endpoint-controller", "workload-high");
    let account = |name: &str| user(name, &["system:serviceaccounts"]);
    let own = account("system:serviceaccount:kube-system:x");
    check(&own, Method::PUT, endpoints, "workload-leader-election", "leader-election");
    check(&own, Method::GET, pods, "kube-system-service-accounts", "workload-high");
    let other = account("system:serviceaccount:a:x");
    check(&other, Method::GET, pods, "service-accounts", "workload-low");
    let nobody = User { name: "x".to_owned(), ..User::default() };
    check(&nobody, Method::GET, pods, "catch-all", "catch-all");
}

#[test]
fn seats_are_parted_by_shares() {
    let flow = server(600);
    let nominal = |level: &str| flow.config().levels[level].nominal();
    assert_eq!(nominal("workload-low"), 245);
    assert_eq!(nominal("catch-all"), 13);
    assert_eq!(nominal("exempt"), 0);
    // Lists of many objects take more, but no request takes a level alone.
    assert_eq!(seats(0, 245), 1);
    assert_eq!(seats(101, 245), 2);
    assert_eq!(seats(100_000, 245), 10);
    assert_eq!(seats(100_000, 13), 2);
    assert_eq!(seats(100_000, 0), 1);
}

async fn enter(flow: &Flow, user: &User) -> Result<Turn, Refusal> {
    let query = Query::parse("");
    let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", &query).unwrap();
    let schema = flow.classify(user, &info);
    flow.enter(&schema, user, &info, 0).await
}

#[tokio::test(start_paused = true)]
async fn the_one_too_many_waits_and_then_is_told_to_come_back() {
    // One seat per level that has shares.
    let flow = server(2);
    let jane = user("jane", &[]);
    let first = enter(&flow, &jane).await.unwrap();
    assert_eq!(enter(&flow, &jane).await.unwrap_err(), Refusal::TimeOut);
    // Other levels have seats of their own.
    let node = enter(&flow, &user("system:node:n", &["system:nodes"])).await.unwrap();
    // Nobody waits for the exempt.
    let master = user("admin", &["system:masters"]);
    let many: Vec<_> = (0..100).map(|_| enter(&flow, &master).now_or_never()).collect();
    assert!(many.iter().all(|turn| matches!(turn, Some(Ok(_)))));
    // Who has no place to wait is refused at once.
    let nobody = User { name: "x".to_owned(), ..User::default() };
    let turn = enter(&flow, &nobody).await.unwrap();
    let refused = enter(&flow, &nobody).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused, Refusal::ConcurrencyLimit);
    drop((first, node, turn));
    enter(&flow, &jane).now_or_never().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_who_asks_much_does_not_keep_others_waiting() {
    let flow = server(2);
    let (greedy, modest) = (user("greedy", &[]), user("modest", &[]));
    let running = enter(&flow, &greedy).await.unwrap();
    let mut waiting = Vec::new();
    // As many as find a place: its hand of queues gets full.
    loop {
        let mut next = Box::pin(enter(&flow, &greedy));
        match next.as_mut().now_or_never() {
            None => waiting.push(next),
            Some(refused) => {
                assert_eq!(refused.unwrap_err(), Refusal::QueueFull);
                break;
            }
        }
    }
    assert_eq!(waiting.len(), 6 * 50);
    let mut other = Box::pin(enter(&flow, &modest));
    assert!(other.as_mut().now_or_never().is_none(), "there is no seat yet");
    // Who gives up makes room.
    drop(waiting.pop());
    let mut place = Box::pin(enter(&flow, &greedy));
    assert!(place.as_mut().now_or_never().is_none());
    // Each queue gets its turn, so the newcomer's comes within a round.
    let mut turn = Some(running);
    for _ in 0..7 {
        drop(turn.take());
        if let Some(entered) = other.as_mut().now_or_never() {
            return drop(entered.unwrap());
        }
        turn = waiting.iter_mut().find_map(|next| next.as_mut().now_or_never()).map(Result::unwrap);
        waiting.retain_mut(|next| next.as_mut().now_or_never().is_none());
    }
    panic!("the newcomer waits for all of them");
}

#[tokio::test(start_paused = true)]
async fn a_change_lets_in_who_waits() {
    let flow = Arc::new(Flow::new(1, 1, Duration::from_secs(60)));
    let level = |shares: u32| {
        json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1}}}}})
    };
    flow.apply_level("catch-all", Some(&level(0)));
    let jane = user("jane", &[]);
    let mut waiting = Box::pin(enter(&flow, &jane));
    assert!(waiting.as_mut().now_or_never().is_none());
    flow.apply_level("catch-all", Some(&level(1)));
    let turn = waiting.now_or_never().unwrap().unwrap();
    drop(turn);
    // 0 is no limit.
    let unlimited = Flow::new(0, 200, Duration::from_secs(60));
    let turns: Vec<_> = (0..1000).map(|_| enter(&unlimited, &jane).now_or_never()).collect();
    assert!(turns.iter().all(|turn| matches!(turn, Some(Ok(_)))));
}

#[tokio::test(start_paused = true)]
async fn levels_lend_what_they_do_not_need() {
    let flow = server(600);
    let jane = user("jane", &[]);
    let mut turns = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..120 {
        let mut next = Box::pin(enter(&flow, &jane));
        match next.as_mut().now_or_never() {
            Some(turn) => turns.push(turn.unwrap()),
            None => waiting.push(next),
        }
    }
    assert_eq!(turns.len(), 49, "the level's own seats");
    flow.config().lend(flow.seats);
    let let_in = waiting.iter_mut().filter_map(|next| next.as_mut().now_or_never()).count();
    assert_eq!(let_in, waiting.len());
}
