//! Nodes that have the Pod's images already are liked better.

use crate::cluster::{Cluster, ImageState, NodeInfo};
use crate::framework::{MAX_SCORE, Plugin, Score};
use crate::objects::Pod;

const MB: i64 = 1024 * 1024;
/// Below this an image is not worth a preference.
const MIN: i64 = 23 * MB;
/// Above this, per container, more makes no difference.
const MAX_PER_CONTAINER: i64 = 1000 * MB;

pub(super) struct ImageLocality;

struct Images<'a> {
    present: Vec<(&'a str, ImageState)>,
    nodes: i64,
    containers: i64,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn pre_score<'a>(
        &self,
        pod: &'a Pod,
        cluster: &'a Cluster,
        _feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let present: Vec<_> = pod
            .images
            .iter()
            .filter_map(|image| Some((image.as_str(), cluster.image(image)?)))
            .collect();
        let (nodes, containers) = (cluster.nodes().len() as i64, pod.images.len() as i64);
        (!present.is_empty())
            .then(|| Box::new(Images { present, nodes, containers }) as Box<dyn Score>)
    }
}

impl Score for Images<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        // An image that few nodes have counts less, so that Pods do not pile up on those few.
        let sum: i64 = self
            .present
            .iter()
            .filter(|(name, _)| node.node.images.iter().any(|(have, _)| have == name))
            .map(|(_, image)| (image.size as f64 * image.nodes as f64 / self.nodes as f64) as i64)
            .sum();
        let max = MAX_PER_CONTAINER * self.containers;
        MAX_SCORE * (sum.clamp(MIN, max) - MIN) / (max - MIN)
    }
}
