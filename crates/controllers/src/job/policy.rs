//! What failed Pods and completed indexes mean for their Job, by its policies. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{
    Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes;
use crate::object::Meta;
use crate::pods;

/// What to do about a failed Pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the backoff limit.
    Count,
    /// It is replaced and does not count.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The Job has failed, with this message.
    FailJob(String),
}

/// Judges by the first rule that applies.
pub(super) fn judge(job: &Job, pod: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|s| s.pod_failure_policy.as_ref());
    let Some(policy) = policy.filter(|_| pods::phase(pod) == "Failed") else {
        return Verdict::Count;
    };
    for (at, rule) in policy.rules.iter().enumerate() {
        let Some(cause) = cause(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => {
                let name = format!("{}/{}", pod.ns(), pod.nm());
                Verdict::FailJob(format!("{} matching FailJob rule at index {at}", cause(&name)))
            }
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// The first rule of the success policy that the completed indexes meet.
pub(super) fn success(job: &Job, completed: &BTreeSet<i32>) -> Option<usize> {
    let policy = job.spec.as_ref()?.success_policy.as_ref()?;
    policy.rules.iter().position(|rule| {
        let wanted = rule.succeeded_indexes.as_deref().map(indexes::parse);
        let met = match &wanted {
            Some(wanted) => completed.intersection(wanted).count(),
            None => completed.len(),
        };
        let enough = rule.succeeded_count.and_then(|count| usize::try_from(count).ok());
        match (enough, wanted) {
            (Some(enough), _) => met >= enough,
            (None, Some(wanted)) => met >= wanted.len(),
            (None, None) => false,
        }
    })
}

type Cause = Box<dyn Fn(&str) -> String>;

fn cause(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<Cause> {
    if let Some(codes) = &rule.on_exit_codes {
        let status = pod.status.as_ref()?;
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        let (container, code) =
            all.filter_map(|c| Some((c, exit_code(c)?))).find(|(c, code)| {
                codes.container_name.as_ref().is_none_or(|name| *name == c.name)
                    && matches(codes, *code)
            })?;
        let container = container.name.clone();
        return Some(Box::new(move |pod| {
            format!("Container {container} for pod {pod} failed with exit code {code}")
        }));
    }
    let wanted = rule.on_pod_conditions.iter().flatten().find(|wanted| {
        let status = wanted.status.as_deref().unwrap_or("True");
        pods::condition(pod, &wanted.type_).is_some_and(|c| c.status == status)
    })?;
    let type_ = wanted.type_.clone();
    Some(Box::new(move |pod| format!("Pod {pod} has condition {type_}")))
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    (code != 0).then_some(code)
}

fn matches(codes: &PodFailurePolicyOnExitCodesRequirement, code: i32) -> bool {
    codes.values.contains(&code) == (codes.operator == "In")
}
