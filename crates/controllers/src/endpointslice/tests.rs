use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::managed::SERVICE_NAME;
use super::plan::plan;
use super::*;
use crate::endpoints::test_objects::{pod, service};

fn node(_: &str) -> Option<Arc<Node>> {
    let mut node = Node::default();
    node.metadata.labels = Some([(ZONE.to_owned(), "z1".to_owned())].into());
    Some(Arc::new(node))
}

#[derive(Default)]
struct World {
    slices: Vec<Arc<EndpointSlice>>,
    created: usize,
}

impl World {
    /// Plans and carries the plan out; tells the numbers of creations, updates and deletions.
    fn sync(&mut self, service: &Service, pods: &[Arc<Pod>]) -> (usize, usize, usize) {
        let planned = plan(service, pods, node, &self.slices);
        let counts = (planned.create.len(), planned.update.len(), planned.delete.len());
        for mut slice in planned.create {
            self.created += 1;
            slice.metadata.name = Some(format!("web-{}", self.created));
            self.slices.push(Arc::new(slice));
        }
        for slice in planned.update {
            let at = self.slices.iter().position(|s| s.nm() == slice.nm()).unwrap();
            self.slices[at] = Arc::new(slice);
        }
        self.slices.retain(|s| !planned.delete.iter().any(|name| name == s.nm()));
        let again = plan(service, pods, node, &self.slices);
        assert!(again.is_empty(), "plan after execute is empty: {again:?}");
        counts
    }

    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> =
            self.slices.iter().map(|s| s.endpoints.iter().flatten().count()).collect();
        sizes.sort_unstable();
        sizes
    }
}

fn pods(count: u8) -> Vec<Arc<Pod>> {
    (0..count).map(|n| Arc::new(pod(&format!("p{n:03}"), &format!("10.0.0.{n}"), true))).collect()
}

#[test]
fn a_service_without_pods_has_an_empty_slice_that_is_filled_and_emptied() {
    let mut world = World::default();
    assert_eq!(world.sync(&service(), &[]), (1, 0, 0));
    world.sync(&service(), &pods(2));
    assert_eq!(world.sizes(), [2]);
    let slice = &world.slices[0];
    assert_eq!(slice.label(SERVICE_NAME), Some("web"));
    assert_eq!(slice.label("app"), Some("web"));
    assert!(slice.is_controlled_by("svc"));
    let endpoint = &slice.endpoints.as_ref().unwrap()[0];
    assert_eq!((endpoint.zone.as_deref(), endpoint.node_name.as_deref()), (Some("z1"), Some("w1")));
    assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
    world.sync(&service(), &[]);
    assert_eq!(world.sizes(), [0]);
}

#[test]
fn slices_hold_a_hundred_and_change_as_little_as_possible() {
    let mut world = World::default();
    assert_eq!(world.sync(&service(), &pods(250)), (3, 0, 0));
    assert_eq!(world.sizes(), [50, 100, 100]);
    let fewer: Vec<_> = pods(250).into_iter().skip(1).collect();
    assert_eq!(world.sync(&service(), &fewer), (0, 1, 0));
    assert_eq!(world.sync(&service(), &pods(250)), (0, 1, 0));
}

#[test]
fn conditions_tell_of_readiness_and_termination() {
    let mut leaving = pod("leaving", "10.0.0.2", true);
    leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut world = World::default();
    let pods = [
        Arc::new(pod("ready", "10.0.0.1", true)),
        Arc::new(leaving),
        Arc::new(pod("unready", "10.0.0.3", false)),
    ];
    world.sync(&service(), &pods);
    let told: Vec<_> = world.slices[0]
        .endpoints
        .iter()
        .flatten()
        .map(|e| {
            let c = e.conditions.clone().unwrap();
            (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())
        })
        .collect();
    assert_eq!(told, [(true, true, false), (false, true, true), (false, false, false)]);
}

#[test]
fn pods_that_resolve_a_named_port_differently_get_slices_of_their_own() {
    let mut other = pod("other", "10.0.0.2", true);
    let container = &mut other.spec.as_mut().unwrap().containers[0];
    container.ports.as_mut().unwrap()[0].container_port = 9090;
    let mut world = World::default();
    world.sync(&service(), &[Arc::new(pod("a", "10.0.0.1", true)), Arc::new(other)]);
    assert_eq!(world.sizes(), [1, 1]);
}

#[test]
fn label_changes_of_the_service_reach_its_slices() {
    let mut world = World::default();
    let mut service = service();
    world.sync(&service, &pods(1));
    service.metadata.labels.as_mut().unwrap().insert("tier".into(), "front".into());
    assert_eq!(world.sync(&service, &pods(1)), (0, 1, 0));
    assert_eq!(world.slices[0].label("tier"), Some("front"));
}

#[test]
fn traffic_distribution_becomes_hints() {
    let mut service = service();
    service.spec.as_mut().unwrap().traffic_distribution = Some("PreferClose".into());
    let mut world = World::default();
    world.sync(&service, &pods(1));
    let hints = world.slices[0].endpoints.as_ref().unwrap()[0].hints.clone().unwrap();
    assert_eq!(hints.for_zones.unwrap()[0].name, "z1");
}
