//! Taking the steps of a resize.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;

use super::ledger::Nudge;
use super::metrics::Trigger;
use super::plan::{Differences, Lowered, Step};
use crate::cgroup::resources::{self, GroupLimits, pod_limits};
use crate::pod::context::Context;
use crate::pod::spec;
use crate::seam::pod_uid;

/// Carries out what differs; stops at the first step that fails, with what is told of it.
pub(in crate::pod) async fn actuate(
    context: &Context,
    pod: &Pod,
    differences: &Differences,
) -> Result<(), String> {
    let begun = Instant::now();
    let done = take_steps(context, pod, differences).await;
    context.ledger.metrics.actuated(begun.elapsed(), done.is_ok());
    if done.is_ok() {
        context.ledger.nudge(Nudge::Room(Trigger::PodResized));
    }
    done
}

async fn take_steps(context: &Context, pod: &Pod, differences: &Differences) -> Result<(), String> {
    let uid = pod_uid(pod);
    let current = match &context.cgroups {
        Some(cgroups) => cgroups.pod_limits(pod),
        None => GroupLimits::default(),
    };
    let wanted = pod_limits(pod);
    check_memory(context, pod, &differences.lowered(&wanted, &current)).await?;
    for step in differences.steps(&wanted, &current) {
        match step {
            Step::Group(limits) => {
                if let Some(cgroups) = &context.cgroups {
                    cgroups.limit_pod(pod, &limits).map_err(|error| error.to_string())?;
                }
            }
            Step::Container { name, id, sizes, noted } => {
                let Some((_, container)) = spec::container(pod, &name) else { continue };
                let linux = resources::sized(pod, &container, &sizes, &context.memory);
                context
                    .runtime
                    .update_resources(&id, linux)
                    .await
                    .map_err(|error| error.to_string())?;
                context.ledger.actuate(&uid, [(name, noted)]);
            }
        }
    }
    if differences.group {
        let settled = differences.settled.iter().filter_map(|name| {
            let (_, container) = spec::container(pod, name)?;
            Some((name.clone(), container.resources.unwrap_or_default()))
        });
        context.ledger.actuate(&uid, settled);
        context.ledger.actuate_pod(&uid, spec::spec(pod).resources.as_ref());
    }
    Ok(())
}

/// A limit below what is used would end processes, or be refused by the kernel.
async fn check_memory(context: &Context, pod: &Pod, lowered: &[Lowered]) -> Result<(), String> {
    let mut problems = Vec::new();
    for one in lowered {
        let (what, limit, used) = match one {
            Lowered::Pod(limit) => {
                let used = context.cgroups.as_ref().map(|cgroups| cgroups.pod_usage(pod).memory);
                let Some(used) = used else { continue };
                ("pod".to_owned(), *limit, used)
            }
            Lowered::Container { name, id, limit } => {
                let stats = context.runtime.container_stats(id).await;
                let memory = stats.ok().and_then(|stats| stats.memory);
                let used = memory.and_then(|memory| memory.usage_bytes).map(|used| used.value);
                (format!("container {name:?}"), *limit, used)
            }
        };
        match used {
            None => problems.push(format!("missing {what} memory usage")),
            Some(used) if i128::from(used) >= i128::from(limit) => problems.push(format!(
                "attempting to set {what} memory limit ({limit}) below current usage ({used})"
            )),
            Some(_) => {}
        }
    }
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("cannot decrease memory limits: {one}")),
        all => Err(format!("cannot decrease memory limits: [{}]", all.join(", "))),
    }
}
