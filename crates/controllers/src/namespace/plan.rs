//! What is left of a namespace that is being deleted, as conditions. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// What one round of deletion found.
#[derive(Debug, Default, Clone)]
pub(super) struct Remains {
    /// Objects left by resource (`pods.`, `deployments.apps`).
    pub(super) objects: BTreeMap<String, usize>,
    /// Objects left by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// Groups that could not be asked for their resources.
    pub(super) undiscovered: Vec<String>,
    /// What could not be deleted.
    pub(super) failures: Vec<String>,
}

impl Remains {
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.undiscovered.is_empty() && self.failures.is_empty()
    }
}

/// The conditions that tell of `remains`; those of `old` that say the same keep their times.
pub(super) fn conditions(
    remains: &Remains,
    old: &[NamespaceCondition],
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let told = [
        discovery(remains),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        content(remains),
        objects(remains),
        finalizers(remains),
    ];
    let mut conditions = old.to_vec();
    for (type_, status, reason, message) in told {
        let status = if status { "True" } else { "False" };
        let known = conditions.iter_mut().find(|c| c.type_ == type_);
        match known {
            Some(known) => {
                let same = known.status == status
                    && known.reason.as_deref() == Some(reason)
                    && known.message.as_deref() == Some(&message);
                if !same {
                    if known.status != status {
                        known.last_transition_time = Some(Time(now));
                    }
                    status.clone_into(&mut known.status);
                    known.reason = Some(reason.to_owned());
                    known.message = Some(message);
                }
            }
            None => conditions.push(NamespaceCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    conditions
}

type Told = (&'static str, bool, &'static str, String);

fn discovery(remains: &Remains) -> Told {
    let type_ = "NamespaceDeletionDiscoveryFailure";
    if remains.undiscovered.is_empty() {
        return (
            type_,
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        );
    }
    let groups = remains.undiscovered.join(", ");
    let message = format!(
        "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {groups}",
        remains.undiscovered.len(),
    );
    (type_, true, "DiscoveryFailed", message)
}

fn content(remains: &Remains) -> Told {
    let type_ = "NamespaceDeletionContentFailure";
    if remains.failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization";
        return (type_, false, "ContentDeleted", message.to_owned());
    }
    let message = format!(
        "Failed to delete all resource types, {} remaining: {}",
        remains.failures.len(),
        remains.failures.join(", "),
    );
    (type_, true, "ContentDeletionFailed", message)
}

fn objects(remains: &Remains) -> Told {
    let type_ = "NamespaceContentRemaining";
    if remains.objects.is_empty() {
        return (type_, false, "ContentRemoved", "All content successfully removed".to_owned());
    }
    let each = remains.objects.iter().map(|(name, n)| format!("{name} has {n} resource instances"));
    let message = format!("Some resources are remaining: {}", each.collect::<Vec<_>>().join(", "));
    (type_, true, "SomeResourcesRemain", message)
}

fn finalizers(remains: &Remains) -> Told {
    let type_ = "NamespaceFinalizersRemaining";
    if remains.finalizers.is_empty() {
        let message = "All content-preserving finalizers finished";
        return (type_, false, "ContentHasNoFinalizers", message.to_owned());
    }
    let each =
        remains.finalizers.iter().map(|(name, n)| format!("{name} in {n} resource instances"));
    let message = format!(
        "Some content in the namespace has finalizers remaining: {}",
        each.collect::<Vec<_>>().join(", ")
    );
    (type_, true, "SomeFinalizersRemain", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_tell_what_is_left_and_are_stable() {
        let now = Timestamp::UNIX_EPOCH;
        let mut remains = Remains::default();
        remains.objects.insert("pods.".into(), 2);
        remains.finalizers.insert("example.com/f".into(), 1);
        let told = conditions(&remains, &[], now);
        let text = |type_: &str, told: &[NamespaceCondition]| {
            let c = told.iter().find(|c| c.type_ == type_).unwrap();
            format!("{} {} {}", c.status, c.reason.clone().unwrap(), c.message.clone().unwrap())
        };
        assert_eq!(
            text("NamespaceContentRemaining", &told),
            "True SomeResourcesRemain Some resources are remaining: pods. has 2 resource instances"
        );
        assert_eq!(
            text("NamespaceFinalizersRemaining", &told),
            "True SomeFinalizersRemain Some content in the namespace has finalizers remaining: example.com/f in 1 resource instances"
        );
        let later = Timestamp::from_second(60).unwrap();
        assert_eq!(conditions(&remains, &told, later), told);
        let done = conditions(&Remains::default(), &told, later);
        assert_eq!(
            text("NamespaceContentRemaining", &done),
            "False ContentRemoved All content successfully removed"
        );
    }
}
