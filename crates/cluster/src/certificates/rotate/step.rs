//! Which step of a rotation is next: pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::RotateError;

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Take the new one, and believe it not yet.
    Prepare,
    /// Let control planes trust it beside the old one.
    Trust,
    /// Wait until all others do.
    AwaitTrust,
    /// Let it sign, and the old one no more.
    Sign,
    /// Issue the control planes' certificates.
    Issue,
    /// Wait until all others have theirs.
    AwaitIssue,
    /// Let control planes forget the old one.
    Drop,
    /// Wait until all others have.
    AwaitDrop,
    /// Clean up.
    Finish,
    /// Nothing is left to do.
    Done,
}

/// What a control plane has of an authority, or of the keys of service-account tokens, by digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// What is trusted, the one that signs first.
    pub(super) trusted: Vec<String>,
    /// What is to take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    /// Whether there is a key.
    pub(super) key: bool,
    /// Whose key it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signer: Option<String>,
    /// Who issued all certificates here, if that was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<String>,
}

/// Who has not followed the control planes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// In what is trusted.
    pub(super) trust: Vec<String>,
    /// In what was issued.
    pub(super) issue: Vec<String>,
}

/// What all control planes together have to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The step.
    pub(super) step: Step,
    /// Who takes it now; nobody while it is waited for others.
    pub(super) members: BTreeSet<String>,
    /// Who is waited for.
    pub(super) missing: Vec<String>,
}

/// Decides what is next for a control plane, where `new` takes over.
pub(super) fn decide(report: &Report, new: &str, behind: &Behind) -> Step {
    let is_new = |digest: &String| digest == new;
    let prepared = report.next.as_ref().is_some_and(is_new);
    let signs = report.signer.as_ref().is_some_and(is_new);
    let issued = report.issuer.as_ref().is_some_and(is_new);
    let followed = behind.trust.is_empty();
    let trusted: Vec<_> = report.trusted.iter().map(is_new).collect();
    match trusted.as_slice() {
        [true] if !prepared => Step::Done,
        _ if !prepared => Step::Prepare,
        // The key was replaced, the bundle not yet.
        [false, true] if signs || followed => Step::Sign,
        [false, true] => Step::AwaitTrust,
        [true, false] if !signs => Step::Sign,
        [true, false] if !issued => Step::Issue,
        [true, false] if !(followed && behind.issue.is_empty()) => Step::AwaitIssue,
        [true, false] => Step::Drop,
        [true] if !followed => Step::AwaitDrop,
        [true] => Step::Finish,
        // Others are refused before: see `plan`.
        _ => Step::Trust,
    }
}

/// The step of a control plane of its own, as if all others had followed.
pub(super) fn own(report: &Report, new: &str) -> Step {
    decide(report, new, &Behind::default())
}

/// Decides what is next for the control planes that reported; `one_by_one` for what has to be
/// restarted, so that most of them always run.
///
/// # Errors
/// When one cannot take part.
pub(super) fn plan(
    reports: &BTreeMap<String, Report>,
    new: &str,
    behind: &Behind,
    one_by_one: bool,
) -> Result<Plan, RotateError> {
    for (name, report) in reports {
        if !report.key {
            return Err(RotateError::External(name.clone()));
        }
        let strangers = report.trusted.iter().filter(|digest| *digest != new).count();
        let known = strangers + usize::from(report.trusted.iter().any(|digest| digest == new));
        if strangers > 1 || known != report.trusted.len() || report.trusted.is_empty() {
            return Err(RotateError::Foreign(name.clone()));
        }
    }
    let steps: Vec<_> = reports.values().map(|report| decide(report, new, behind)).collect();
    let step = together(&steps);
    let due = reports.iter().filter(|(_, report)| own(report, new) == step);
    let due: BTreeSet<_> = due.map(|(name, _)| name.clone()).collect();
    let waits = |mut missing: Vec<String>| {
        missing.dedup();
        Ok(Plan { step, members: BTreeSet::new(), missing })
    };
    match step {
        Step::AwaitTrust | Step::AwaitDrop => waits(behind.trust.clone()),
        Step::AwaitIssue => waits([&behind.trust[..], &behind.issue].concat()),
        Step::Trust | Step::Drop if one_by_one && !behind.trust.is_empty() => {
            waits(behind.trust.clone())
        }
        Step::Trust | Step::Drop if one_by_one => {
            let first: BTreeSet<_> = due.into_iter().take(1).collect();
            Ok(Plan { step, missing: names(&first), members: first })
        }
        _ => Ok(Plan { step, missing: names(&due), members: due }),
    }
}

fn names(members: &BTreeSet<String>) -> Vec<String> {
    members.iter().map(|name| format!("control plane {name}")).collect()
}

/// The step of several control planes: that of the hindmost, who need not wait for what another one
/// found done.
fn together(steps: &[Step]) -> Step {
    let hindmost = steps.iter().copied().min().unwrap_or(Step::Done);
    let foremost = steps.iter().copied().max().unwrap_or(Step::Done);
    match hindmost {
        Step::AwaitTrust if foremost > Step::Sign => Step::Sign,
        Step::AwaitIssue if foremost > Step::Drop => Step::Drop,
        Step::AwaitDrop if foremost > Step::Finish => Step::Finish,
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old";
    const NEW: &str = "new";

    fn report(trusted: &[&str], signer: &str, issuer: &str) -> Report {
        let text = |text: &str| Some(text.to_owned());
        Report {
            trusted: trusted.iter().map(|one| (*one).to_owned()).collect(),
            next: text(NEW),
            key: true,
            signer: text(signer),
            issuer: text(issuer),
        }
    }

    fn behind() -> Behind {
        Behind { trust: vec!["node w1".to_owned()], issue: vec!["node w1".to_owned()] }
    }

    #[test]
    fn what_broke_off_anywhere_goes_on() {
        let unprepared = |report: Report| Report { next: None, ..report };
        for (report, wanted) in [
            (unprepared(report(&[OLD], OLD, OLD)), Step::Prepare),
            (report(&[OLD], OLD, OLD), Step::Trust),
            (report(&[OLD, NEW], OLD, OLD), Step::AwaitTrust),
            // The key was replaced, the bundle not yet; and the other way round.
            (report(&[OLD, NEW], NEW, OLD), Step::Sign),
            (report(&[NEW, OLD], OLD, OLD), Step::Sign),
            (report(&[NEW, OLD], NEW, OLD), Step::Issue),
            (report(&[NEW, OLD], NEW, NEW), Step::AwaitIssue),
            (report(&[NEW], NEW, NEW), Step::AwaitDrop),
            (unprepared(report(&[NEW], NEW, NEW)), Step::Done),
        ] {
            assert_eq!(decide(&report, NEW, &behind()), wanted, "{report:?}");
        }
        assert_eq!(own(&report(&[NEW], NEW, NEW), NEW), Step::Finish);
    }

    #[test]
    fn control_planes_go_together() {
        for (steps, wanted) in [
            (&[Step::AwaitTrust, Step::AwaitTrust][..], Step::AwaitTrust),
            (&[Step::Issue, Step::AwaitTrust], Step::Sign),
            (&[Step::AwaitDrop, Step::AwaitIssue], Step::Drop),
            (&[Step::AwaitTrust, Step::Trust], Step::Trust),
            (&[Step::Done, Step::AwaitDrop], Step::Finish),
        ] {
            assert_eq!(together(steps), wanted, "{steps:?}");
        }
    }

    #[test]
    fn what_is_restarted_is_restarted_one_by_one() {
        let reports: BTreeMap<_, _> =
            ["a", "b"].map(|name| (name.to_owned(), report(&[OLD], OLD, OLD))).into();
        let plan = |behind: &Behind, one_by_one| plan(&reports, NEW, behind, one_by_one).unwrap();
        let all = |plan: Plan| (plan.step, plan.members.into_iter().collect::<Vec<_>>());
        let none = Behind::default();
        assert_eq!(all(plan(&none, false)), (Step::Trust, vec!["a".into(), "b".into()]));
        assert_eq!(all(plan(&none, true)), (Step::Trust, vec!["a".into()]));
        let waits = plan(&behind(), true);
        assert_eq!(waits.missing, ["node w1"]);
        assert!(waits.members.is_empty());
    }

    #[test]
    fn authorities_of_others_and_keys_that_are_elsewhere_are_left_alone() {
        let check = |report: Report| {
            plan(&[("a".to_owned(), report)].into(), NEW, &Behind::default(), false).unwrap_err()
        };
        let strange = [&["x", OLD][..], &[OLD, NEW, "x"], &[NEW, NEW], &[]];
        for trusted in strange {
            assert!(matches!(check(report(trusted, OLD, OLD)), RotateError::Foreign(_)));
        }
        let external = Report { key: false, ..report(&[OLD], OLD, OLD) };
        assert!(matches!(check(external), RotateError::External(_)));
    }
}
