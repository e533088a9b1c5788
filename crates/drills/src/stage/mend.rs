//! What a drill broke, and how it is mended: by the drill itself as one of its steps, or after it
//! when it ended before.

use super::Stage;
use crate::failure::Outcome;

/// Something that is not as the drill found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A service of a node was stopped.
    Service {
        /// kubelet or containerd.
        service: &'static str,
        /// The node.
        node: String,
    },
    /// A node is off.
    Power {
        /// The node.
        node: String,
    },
    /// The network cable of a node is out.
    Cable {
        /// The node.
        node: String,
    },
    /// The manifest of a static Pod was moved.
    TakenAway {
        /// The component.
        component: String,
        /// Its node.
        node: String,
    },
    /// A node has a taint that says it is out of service.
    OutOfService {
        /// The node.
        node: String,
    },
    /// A node takes no Pods.
    Cordoned {
        /// The node.
        node: String,
    },
    /// The clock of a node is wrong.
    Clock {
        /// The node.
        node: String,
        /// By how much, as `2h` or `-4m`.
        offset: &'static str,
    },
    /// There is a node that was not there.
    Added {
        /// The node.
        node: String,
    },
}

// === impl Broken ===

impl Broken {
    /// A service that is stopped.
    pub(crate) fn service(service: &'static str, node: &str) -> Self {
        Self::Service { service, node: node.to_owned() }
    }

    /// A node that is off.
    pub(crate) fn power(node: &str) -> Self {
        Self::Power { node: node.to_owned() }
    }

    /// A node that is cut off.
    pub(crate) fn cable(node: &str) -> Self {
        Self::Cable { node: node.to_owned() }
    }

    /// A clock that is wrong.
    pub(crate) fn clock(node: &str, offset: &'static str) -> Self {
        Self::Clock { node: node.to_owned(), offset }
    }

    /// How it is broken with a command.
    pub(super) fn command(&self) -> String {
        match self {
            Self::Service { service, node } => format!("service stop {service} --node {node}"),
            Self::Power { node } => format!("node poweroff {node}"),
            Self::Cable { node } => format!("node disconnect {node}"),
            Self::Clock { node, offset } => format!("node clock {node} --offset {offset}"),
            Self::Added { .. } => "node add".to_owned(),
            Self::TakenAway { .. } | Self::OutOfService { .. } | Self::Cordoned { .. } => {
                String::new()
            }
        }
    }

    /// How it is mended with a command.
    fn mending(&self) -> Option<String> {
        Some(match self {
            Self::Service { service, node } => format!("service start {service} --node {node}"),
            Self::Power { node } => format!("node poweron {node}"),
            Self::Cable { node } => format!("node connect {node}"),
            Self::Clock { node, .. } => format!("node clock {node} --offset 0s"),
            Self::Added { node } => format!("node remove {node}"),
            Self::TakenAway { .. } | Self::OutOfService { .. } | Self::Cordoned { .. } => {
                return None;
            }
        })
    }
}

impl Stage {
    /// Mends what the drill broke, as one of its steps.
    pub(crate) async fn mend(&mut self, broken: &Broken) -> Outcome {
        match broken {
            Broken::TakenAway { component, node } => self.set_aside(component, node, false)?,
            Broken::OutOfService { node } => self.taint_out_of_service(node, false).await?,
            Broken::Cordoned { node } => self.set_schedulable(node, true).await?,
            // It did not come so far.
            Broken::Added { node } if !self.has_node(node) => {}
            other => {
                let command = other.mending().expect("all others are mended with a command");
                self.ironclad(&command).await?;
            }
        }
        self.broken.retain(|one| one != broken);
        Ok(())
    }

    /// Puts a component back that the drill took away.
    pub(crate) async fn put_back(&mut self, component: &str, node: &str) -> Outcome {
        self.mend(&Broken::TakenAway { component: component.into(), node: node.into() }).await
    }

    /// Has a node take no further Pods.
    pub(crate) async fn cordon(&mut self, node: &str) -> Outcome {
        self.broken.push(Broken::Cordoned { node: node.to_owned() });
        self.set_schedulable(node, false).await
    }

    /// Has it take Pods again.
    pub(crate) async fn uncordon(&mut self, node: &str) -> Outcome {
        self.mend(&Broken::Cordoned { node: node.to_owned() }).await
    }

    fn has_node(&self, name: &str) -> bool {
        self.plan().is_some_and(|plan| plan.nodes.iter().any(|node| node.name == name))
    }

    /// Mends what is still broken; what cannot be mended is said.
    pub(crate) async fn mend_all(&mut self) -> Outcome {
        let mut first = Ok(());
        self.mending = true;
        // Whether it could do it or not: it is undone.
        drop(self.command_ended().await);
        while let Some(broken) = self.broken.last().cloned() {
            if let Err(failure) = self.mend(&broken).await {
                self.timeline.say(&format!("             {failure}"));
                first = first.and(Err(failure));
            }
            self.broken.pop_if(|one| *one == broken);
        }
        first
    }
}
