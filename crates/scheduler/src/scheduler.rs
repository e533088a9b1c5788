//! The loop that owns all state: applies what the watches bring, takes the next Pod, decides, and
//! hands the writing to tasks whose results come back as input.

use std::collections::HashSet;
use std::sync::Arc;

use client::{Event, EventRecorder, EventType};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::api::{Bound, Server};
use crate::cluster::{Cluster, OwnerKind};
use crate::cycle;
use crate::events::Change;
use crate::framework::{FitError, Plugin};
use crate::metrics::{Metrics, Outcome};
use crate::objects::{Namespace, Node, Pod};
use crate::preemption;
use crate::queue::{Queue, Queued};

/// Requests under way at once.
const WRITERS: usize = 256;
/// How often long-waiting Pods are looked for.
const FLUSH_PERIOD: Duration = Duration::from_secs(30);

/// Something that happened outside.
pub(crate) enum Input {
    Node(Event<Node>),
    Pod(Event<Pod>),
    Namespace(Event<Namespace>),
    Owner {
        kind: OwnerKind,
        namespace: String,
        name: String,
        selector: Option<machinery::selector::LabelSelector>,
    },
    Bound {
        pod: Arc<Pod>,
        node: String,
        started: Instant,
        bound: Bound,
    },
}

pub(crate) struct Scheduler {
    plugins: Vec<Box<dyn Plugin>>,
    /// The scheduler names that it answers to; the first also names its events.
    name: String,
    cluster: Cluster,
    queue: Queue,
    start: usize,
    server: Server,
    recorder: EventRecorder,
    metrics: Metrics,
    writers: Arc<Semaphore>,
    inputs: mpsc::UnboundedReceiver<Input>,
    results: mpsc::UnboundedSender<Input>,
}

// === impl Scheduler ===

impl Scheduler {
    pub(crate) fn new(
        plugins: Vec<Box<dyn Plugin>>,
        name: String,
        server: Server,
        recorder: EventRecorder,
        inputs: mpsc::UnboundedReceiver<Input>,
        results: mpsc::UnboundedSender<Input>,
    ) -> Self {
        Scheduler {
            plugins,
            name,
            cluster: Cluster::default(),
            queue: Queue::default(),
            start: 0,
            server,
            recorder,
            metrics: Metrics::new(),
            writers: Arc::new(Semaphore::new(WRITERS)),
            inputs,
            results,
        }
    }

    /// Runs until `shutdown`, or until nobody can send input any more.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut flush = tokio::time::interval(FLUSH_PERIOD);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Ok(input) = self.inputs.try_recv() {
                self.apply(input);
            }
            if shutdown.is_cancelled() {
                return;
            }
            if let Some(queued) = self.queue.pop(Instant::now()) {
                self.schedule(&queued);
                // Writers and watches get their turn between Pods.
                tokio::task::yield_now().await;
                continue;
            }
            self.metrics.depth(self.queue.depth());
            let deadline = self.queue.next_deadline();
            let wait = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.apply(input),
                    None => return,
                },
                () = wait => {}
                _ = flush.tick() => self.queue.flush_old(Instant::now()),
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn apply(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Node(event) => self.node(event, now),
            Input::Pod(event) => self.pod(event, now),
            Input::Namespace(event) => {
                let gone = matches!(event, Event::Deleted(_));
                let namespace = event.object();
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                let name = namespace.metadata.name.as_deref().unwrap_or_default();
                self.cluster.set_namespace(name, (!gone).then_some(labels));
            }
            Input::Owner { kind, namespace, name, selector } => {
                self.cluster.set_owner(kind, &namespace, &name, selector);
            }
            Input::Bound { pod, node, started, bound } => {
                self.bound(&pod, &node, started, bound, now)
            }
        }
    }

    fn node(&mut self, event: Event<Node>, now: Instant) {
        let change = match &event {
            Event::Added(node) => Change::NodeAdded(node),
            Event::Updated { old, new } => Change::NodeUpdated { old, new },
            Event::Deleted(node) => {
                self.cluster.remove_node(node.name());
                return;
            }
        };
        self.cluster.set_node(Arc::clone(event.object()));
        self.queue.changed(&change, &self.plugins, now);
    }

    fn pod(&mut self, event: Event<Pod>, now: Instant) {
        // The same name with another UID: the old Pod is gone, though no deletion was seen.
        if let Event::Updated { old, new } = &event
            && old.uid() != new.uid()
        {
            self.pod_gone(old, now);
        }
        let pod = Arc::clone(event.object());
        let uid = pod.uid().to_owned();
        if matches!(event, Event::Deleted(_)) || pod.terminal {
            self.pod_gone(&pod, now);
        } else if pod.node_name.is_some() {
            self.queue.remove(&uid);
            self.cluster.unnominate(&uid);
            let before = self.cluster.placed(&uid).map(|(pod, _)| Arc::clone(pod));
            self.cluster.set_pod(Arc::clone(&pod));
            let change = match &before {
                Some(old) => Change::PodUpdated { old, new: &pod },
                None => Change::PodPlaced(&pod),
            };
            self.queue.changed(&change, &self.plugins, now);
        } else if pod.scheduler_name == self.name && !pod.terminating() {
            if !self.cluster.is_assumed(&uid) {
                if let Some(node) = pod.nominated_node.clone() {
                    self.cluster.nominate(Arc::clone(&pod), &node);
                } else {
                    self.cluster.unnominate(&uid);
                }
                self.queue.set(pod, now);
            }
        } else {
            self.queue.remove(&uid);
            self.cluster.unnominate(&uid);
        }
    }

    fn pod_gone(&mut self, pod: &Pod, now: Instant) {
        self.queue.remove(pod.uid());
        self.cluster.unnominate(pod.uid());
        let placed = self.cluster.placed(pod.uid()).is_some();
        self.cluster.remove_pod(pod.uid());
        if placed {
            self.queue.changed(&Change::PodGone(pod), &self.plugins, now);
        }
    }

    fn schedule(&mut self, queued: &Queued) {
        let pod = &queued.pod;
        let started = Instant::now();
        let mut draw = |n: usize| rand::random_range(0..n);
        let found = cycle::schedule(&self.plugins, pod, &self.cluster, &mut self.start, &mut draw);
        match found {
            Ok(at) => {
                let node = self.cluster.nodes()[at].name().to_owned();
                self.cluster.assume(Arc::clone(pod), &node);
                self.cluster.unnominate(pod.uid());
                self.queue.changed(&Change::PodPlaced(pod), &self.plugins, started);
                self.bind(Arc::clone(pod), node, started);
            }
            Err(error) => self.unschedulable(pod, error, started),
        }
    }

    fn bind(&self, pod: Arc<Pod>, node: String, started: Instant) {
        let (server, results) = (self.server.clone(), self.results.clone());
        let writers = Arc::clone(&self.writers);
        tokio::spawn(async move {
            let _permit = writers.acquire_owned().await;
            let bound = server.bind(&pod, &node).await;
            // The loop has ended when nobody listens; then nothing is left to be told.
            results.send(Input::Bound { pod, node, started, bound }).ok();
        });
    }

    fn bound(&mut self, pod: &Arc<Pod>, node: &str, started: Instant, bound: Bound, now: Instant) {
        tracing::debug!(namespace = pod.namespace(), pod = pod.name(), node, ?bound, "binding");
        let seconds = started.elapsed().as_secs_f64();
        match bound {
            Bound::Done => {
                self.queue.remove(pod.uid());
                self.metrics.attempt(&self.name, Outcome::Scheduled, seconds);
                let message =
                    format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
                self.recorder.event(pod.as_ref(), EventType::Normal, "Scheduled", message);
            }
            Bound::Obsolete => {
                self.cluster.forget(pod.uid());
                self.queue.remove(pod.uid());
            }
            Bound::Failed(message) => {
                self.cluster.forget(pod.uid());
                self.queue.changed(&Change::PodGone(pod), &self.plugins, now);
                self.metrics.attempt(&self.name, Outcome::Error, seconds);
                tracing::warn!(pod = pod.name(), node, message, "binding failed");
                self.queue.failed(pod.uid(), now);
                let text = format!("running Bind plugin \"DefaultBinder\": {message}");
                self.explain(pod, "SchedulerError", text, None);
            }
        }
    }

    fn unschedulable(&mut self, pod: &Arc<Pod>, mut error: FitError, started: Instant) {
        let mut nominated = None;
        if error.total > 0 {
            match preemption::preempt(&self.plugins, pod, &self.cluster, &error) {
                Ok(found) => {
                    self.cluster.nominate(Arc::clone(pod), &found.node);
                    nominated = Some(found.node.clone());
                    self.evict(pod, found);
                }
                Err(text) => {
                    // A place that was made for the Pod earlier is of no use to it any more.
                    if pod.nominated_node.is_some() && !text.starts_with("not eligible") {
                        self.cluster.unnominate(pod.uid());
                        nominated = Some(String::new());
                    }
                    // Upstream's DynamicResources plugin speaks first, and so of every Pod without claims.
                    error.preemption =
                        Some(format!("no new claims to deallocate, preemption: {text}"));
                }
            }
        }
        tracing::debug!(namespace = pod.namespace(), pod = pod.name(), %error, "no node");
        self.queue.unschedulable(pod.uid(), error.plugins, started);
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.attempt(&self.name, Outcome::Unschedulable, seconds);
        self.explain(pod, "Unschedulable", error.to_string(), nominated);
    }

    /// Tells the world why `pod` has no node.
    fn explain(
        &self,
        pod: &Arc<Pod>,
        reason: &'static str,
        message: String,
        nominated: Option<String>,
    ) {
        self.recorder.event(pod.as_ref(), EventType::Warning, "FailedScheduling", message.clone());
        let (server, writers, pod) =
            (self.server.clone(), Arc::clone(&self.writers), Arc::clone(pod));
        tokio::spawn(async move {
            let _permit = writers.acquire_owned().await;
            server.explain(&pod, reason, &message, nominated.as_deref()).await;
        });
    }

    fn evict(&self, pod: &Arc<Pod>, found: preemption::Preemption) {
        let node = found.node;
        let mut seen = HashSet::new();
        for victim in found.victims {
            if victim.terminating() || !seen.insert(victim.uid().to_owned()) {
                continue;
            }
            let (server, recorder) = (self.server.clone(), self.recorder.clone());
            let (writers, name) = (Arc::clone(&self.writers), self.name.clone());
            let message = format!("Preempted by pod {} on node {node}", pod.uid());
            tokio::spawn(async move {
                let _permit = writers.acquire_owned().await;
                match server.evict(&victim, &name).await {
                    Ok(()) => {
                        recorder.event(victim.as_ref(), EventType::Normal, "Preempted", message);
                    }
                    Err(error) => {
                        tracing::warn!(victim = victim.name(), %error, "victim is not removed");
                    }
                }
            });
        }
    }
}
