use super::*;
use crate::events::Events;
use crate::objects::Node;

struct Wakes(Events, bool);

impl Plugin for Wakes {
    fn name(&self) -> &'static str {
        "Wakes"
    }
    fn unblocked_by(&self) -> Events {
        self.0
    }
    fn hint(&self, _: &Pod, _: &Change<'_>) -> bool {
        self.1
    }
}

fn pod(name: &str, priority: i32) -> Arc<Pod> {
    let mut pod = Pod { priority, ..Default::default() };
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.uid = Some(name.to_owned());
    Arc::new(pod)
}

fn popped(queue: &mut Queue, now: Instant) -> Option<String> {
    queue.pop(now).map(|q| q.pod.name().to_owned())
}

fn set(at: usize) -> PluginSet {
    let mut set = PluginSet::default();
    set.insert(at);
    set
}

#[test]
fn priority_comes_first_then_waiting_time() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for (name, priority) in [("a", 0), ("b", 0), ("urgent", 7), ("c", 0)] {
        queue.set(pod(name, priority), now);
    }
    queue.remove("b");
    let order: Vec<_> = std::iter::from_fn(|| popped(&mut queue, now)).collect();
    assert_eq!(order, ["urgent", "a", "c"]);
}

#[test]
fn unschedulable_pods_wait_for_a_change_that_helps() {
    let plugins: Vec<Box<dyn Plugin>> = vec![
        Box::new(Wakes(Events::NODE_ADD, true)),
        Box::new(Wakes(Events::NODE_ADD, false)),
        Box::new(Wakes(Events::POD_GONE, true)),
    ];
    let node = Node::default();
    for (rejected_by, woken) in [(set(0), true), (set(1), false), (set(2), false)] {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.set(pod("a", 0), now);
        assert_eq!(popped(&mut queue, now).as_deref(), Some("a"));
        queue.unschedulable("a", rejected_by, now);
        assert_eq!(popped(&mut queue, now), None);
        let later = now + Duration::from_secs(20);
        queue.changed(&Change::NodeAdded(&node), &plugins, later);
        assert_eq!(popped(&mut queue, later).is_some(), woken, "{rejected_by:?}");
    }
}

#[test]
fn back_off_doubles_up_to_ten_seconds_and_is_cut_short_when_idle() {
    let plugins: Vec<Box<dyn Plugin>> = vec![Box::new(Wakes(Events::NODE_ADD, true))];
    let node = Node::default();
    let mut queue = Queue::default();
    let mut now = Instant::now();
    queue.set(pod("a", 0), now);
    queue.pop(now);
    for want in [1, 2, 4, 8, 10, 10] {
        queue.failed("a", now);
        assert_eq!(queue.next_deadline(), Some(now + Duration::from_secs(want)));
        // Errors are not retried early.
        assert_eq!(popped(&mut queue, now), None);
        now += Duration::from_secs(want);
        assert_eq!(popped(&mut queue, now).as_deref(), Some("a"));
    }
    queue.unschedulable("a", set(0), now);
    queue.changed(&Change::NodeAdded(&node), &plugins, now);
    assert_eq!(queue.depth().backoff, 1);
    assert_eq!(popped(&mut queue, now).as_deref(), Some("a"));
    assert_eq!(queue.depth(), Depth::default());
}

#[test]
fn five_minutes_without_news_are_enough() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.set(pod("a", 0), now);
    queue.pop(now);
    queue.unschedulable("a", set(0), now);
    queue.flush_old(now + Duration::from_secs(299));
    assert_eq!(queue.depth().unschedulable, 1);
    queue.flush_old(now + Duration::from_secs(301));
    assert_eq!(queue.depth().active, 1);
}

#[test]
fn gates_hold_a_pod_back_until_the_last_is_removed() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let open = pod("a", 0);
    let mut gated = Pod::clone(&open);
    gated.gated = true;
    queue.set(Arc::new(gated), now);
    assert_eq!(popped(&mut queue, now), None);
    assert_eq!(queue.depth().gated, 1);
    queue.set(open, now);
    assert_eq!(popped(&mut queue, now).as_deref(), Some("a"));
}

#[test]
fn a_pod_in_flight_is_not_given_out_twice() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.set(pod("a", 0), now);
    assert_eq!(queue.pop(now).map(|q| q.attempts), Some(1));
    queue.set(pod("a", 0), now);
    assert_eq!(popped(&mut queue, now), None);
    queue.unschedulable("a", PluginSet::default(), now);
    let mut tolerant = Pod::clone(&pod("a", 0));
    tolerant.tolerations.push(Default::default());
    let later = now + Duration::from_secs(2);
    queue.set(Arc::new(tolerant), later);
    assert_eq!(queue.pop(later).map(|q| q.attempts), Some(2));
}
