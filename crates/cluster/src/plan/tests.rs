use super::*;

fn request(name: &str, nodes: usize) -> Request {
    Request::new(name, nodes)
}

#[test]
fn several_control_planes_share_an_etcd_cluster_and_an_address() {
    let request = Request { control_planes: 3, ..request("c", 5) };
    let several = plan(&request, &[]).unwrap();
    let rows: Vec<_> = several
        .nodes
        .iter()
        .map(|n| format!("{} {:?} {} {}", n.name, n.role, n.address, n.tainted))
        .collect();
    assert_eq!(
        rows,
        [
            "m1 ControlPlane 10.189.0.2 true",
            "m2 ControlPlane 10.189.0.3 true",
            "m3 ControlPlane 10.189.0.4 true",
            "w1 Worker 10.189.0.5 false",
            "w2 Worker 10.189.0.6 false"
        ]
    );
    let config = several.config();
    assert_eq!(config.server(), "https://10.189.0.254:6443");
    assert!(config.local_etcd().is_some());
    let alone = plan(&Request { nodes: 3, ..request.clone() }, &[]).unwrap();
    assert!(alone.nodes.iter().all(|node| !node.tainted));
    let embedded = Request { store: Some(Store::Embedded), ..request };
    assert_eq!(plan(&embedded, &[]).unwrap_err(), PlanError::Shared(3));
}

#[test]
fn one_control_plane_stores_where_it_is_told() {
    let embedded = plan(&request("c", 1), &[]).unwrap();
    assert!(embedded.config().etcd.is_none() && embedded.virtual_address.is_none());
    let etcd = Request { store: Some(Store::Etcd), ..request("c", 1) };
    let etcd = plan(&etcd, &[]).unwrap();
    assert!(etcd.config().local_etcd().is_some());
    assert_eq!(etcd.config().server(), "https://10.189.0.2:6443");
}

#[test]
fn numbers_of_control_planes_that_bear_no_loss_are_refused() {
    for (control_planes, nodes) in [(0, 3), (2, 3), (4, 5), (3, 2), (9, 20)] {
        let request = Request { control_planes, ..request("c", nodes) };
        let want = PlanError::ControlPlanes(control_planes, nodes);
        assert_eq!(plan(&request, &[]).unwrap_err(), want);
    }
}

#[test]
fn three_nodes_are_one_control_plane_and_two_workers() {
    let plan = plan(&request("c", 3), &[0, 1]).unwrap();
    let rows: Vec<_> = plan
        .nodes
        .iter()
        .map(|n| format!("{} {:?} {} {} {}", n.name, n.role, n.address, n.interface, n.tainted))
        .collect();
    assert_eq!(
        rows,
        [
            "m1 ControlPlane 10.189.2.2 ic2n0 true",
            "w1 Worker 10.189.2.3 ic2n1 false",
            "w2 Worker 10.189.2.4 ic2n2 false"
        ]
    );
    assert_eq!(
        (plan.bridge.as_str(), plan.config().server().as_str()),
        ("ic2", "https://10.189.2.2:6443")
    );
}

#[test]
fn a_worker_more_takes_the_place_of_one_that_is_gone() {
    let mut plan = plan(&request("c", 4), &[]).unwrap();
    plan.nodes.retain(|node| node.name != "w2");
    let next = plan.worker().unwrap();
    assert_eq!((next.name.as_str(), next.interface.as_str()), ("w2", "ic0n2"));
    assert_eq!(next.address, Ipv4Addr::new(10, 189, 0, 4));
    plan.nodes.push(next);
    assert_eq!(plan.worker().unwrap().name, "w4");
    let full = super::plan(&request("c", MAX_NODES), &[]).unwrap();
    assert_eq!(full.worker().unwrap_err(), PlanError::Nodes(MAX_NODES + 1));
}

#[test]
fn a_control_plane_more_stands_among_the_others_and_shares_their_store() {
    let mut plan = plan(&Request { control_planes: 3, ..request("c", 4) }, &[]).unwrap();
    plan.nodes.remove(0);
    let next = plan.further_control_plane().unwrap();
    assert_eq!((next.name.as_str(), next.tainted, next.role), ("m1", true, Role::ControlPlane));
    assert_eq!(next.address, Ipv4Addr::new(10, 189, 0, 2));
    plan.insert(next);
    let worker = plan.worker().unwrap();
    plan.insert(worker);
    let names: Vec<_> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["m2", "m3", "m1", "w1", "w2"]);
    let alone = super::plan(&request("c", 3), &[]).unwrap();
    assert_eq!(alone.further_control_plane().unwrap_err(), PlanError::Alone("c".into()));
}

#[test]
fn a_lone_node_is_not_tainted() {
    assert!(!plan(&request("c", 1), &[]).unwrap().nodes[0].tainted);
}

#[test]
fn bad_requests_are_refused() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for (request, taken, want) in [
        (request("", 1), &[][..], PlanError::Name(String::new())),
        (request("-a", 1), &[], PlanError::Name("-a".into())),
        (request("A", 1), &[], PlanError::Name("A".into())),
        (request("a", 0), &[], PlanError::Nodes(0)),
        (request("a", 101), &[], PlanError::Nodes(101)),
        (request("a", 1), &all, PlanError::NoNetwork),
    ] {
        assert_eq!(plan(&request, taken).unwrap_err(), want);
    }
}

#[test]
fn interface_names_fit_the_kernel() {
    let taken: Vec<u8> = (0..u8::MAX).collect();
    let plan = plan(&request("c", MAX_NODES), &taken).unwrap();
    assert!(plan.nodes.iter().all(|n| n.interface.len() <= 15));
}
