//! Rules for the status of a Job. Most hold only for what a write changes, so that a status from
//! before can still be mended.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::time;

use super::indexes;
use super::spec::is_indexed;
use crate::cursor::{At, same};
use crate::kinds::workloads::status::counts;

/// A Job before or after a write.
struct Job<'a> {
    spec: At<'a>,
    status: At<'a>,
}

impl<'a> Job<'a> {
    fn of(job: &'a Value) -> Self {
        Self { spec: At::root(job).get("spec"), status: At::root(job).get("status") }
    }

    fn is(&self, kind: &str) -> bool {
        self.status
            .get("conditions")
            .list()
            .any(|c| c.get("type").str() == kind && c.get("status").str() == "True")
    }

    fn finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }
}

/// What a write changed.
struct Change<'a> {
    new: Job<'a>,
    old: Job<'a>,
}

impl Change<'_> {
    fn of(&self, fields: &[&'static str]) -> bool {
        let differs = |field: &&'static str| {
            !same(self.new.status.get(field).value, self.old.status.get(field).value)
        };
        fields.iter().any(differs)
    }

    fn of_condition(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|kind| self.new.is(kind) != self.old.is(kind))
    }

    fn of_end(&self) -> bool {
        self.new.finished() != self.old.finished()
    }
}

/// Checks the change of a Job's status.
pub(super) fn check(new: &Value, old: &Value, errors: &mut ErrorList) {
    counts(new, &["active", "succeeded", "failed", "ready", "terminating"], errors);
    let change = Change { new: Job::of(new), old: Job::of(old) };
    uncounted(&change.new.status.get("uncountedTerminatedPods"), errors);
    let mut list = ErrorList::new();
    ends(&change, &mut list);
    finished(&change, &mut list);
    listed_indexes(&change, &mut list);
    numbers(&change, &mut list);
    success(&change.new, &mut list);
    transitions(&change, &mut list);
    errors.extend(list);
}

/// Pods that have terminated are counted once.
fn uncounted(pods: &At<'_>, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for uid in pods.get(list).list() {
            if uid.is_empty() {
                errors.push(Error::invalid(&uid.path, "", "must not be empty"));
            } else if !seen.insert(uid.str()) {
                uid.duplicate(errors);
            }
        }
    }
}

fn say(job: &Job<'_>, errors: &mut ErrorList, detail: impl Into<String>) {
    errors.push(Error::invalid_without_value(&job.status.get("conditions").path, detail));
}

/// How and when the Job ended.
fn ends(change: &Change<'_>, errors: &mut ErrorList) {
    let job = &change.new;
    let (complete, failed) = (job.is("Complete"), job.is("Failed"));
    if change.of_condition(&["Complete", "Failed"]) && complete && failed {
        say(job, errors, "cannot set Complete=True and Failed=true conditions");
    }
    if change.of_condition(&["Complete", "FailureTarget"]) && complete && job.is("FailureTarget") {
        say(job, errors, "cannot set Complete=True and FailureTarget=true conditions");
    }
    let (start, end) = (job.status.get("startTime"), job.status.get("completionTime"));
    if change.of_condition(&["Complete"]) || change.of(&["completionTime"]) {
        if end.is_set() && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            end.invalid(errors, detail);
        }
        if !end.is_set() && complete {
            end.required(errors, "completionTime is required for Complete jobs");
        }
    }
    if change.of(&["startTime", "completionTime"])
        && let (Some(start), Some(from)) = (time::parse(end.str()), time::parse(start.str()))
        && start < from
    {
        end.invalid(errors, "completionTime cannot be set before startTime");
    }
    if change.of_condition(&["Failed", "FailureTarget"]) && failed && !job.is("FailureTarget") {
        let detail = "cannot set Failed=True condition without the FailureTarget=true condition";
        say(job, errors, detail);
    }
    if change.of_condition(&["Complete", "SuccessCriteriaMet"])
        && complete
        && !job.is("SuccessCriteriaMet")
    {
        let detail =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        say(job, errors, detail);
    }
}

/// What a Job that ended must have, and must not have any more.
fn finished(change: &Change<'_>, errors: &mut ErrorList) {
    let job = &change.new;
    if !job.finished() {
        return;
    }
    let (active, start) = (job.status.get("active"), job.status.get("startTime"));
    if (change.of_end() || change.of(&["active"])) && active.int_or_zero() > 0 {
        active.invalid(errors, "active>0 is invalid for finished job");
    }
    if (change.of_end() || change.of(&["startTime"])) && !start.is_set() {
        start.required(errors, "startTime is required for finished job");
    }
    let uncounted = job.status.get("uncountedTerminatedPods");
    let left = !uncounted.get("succeeded").is_empty() || !uncounted.get("failed").is_empty();
    if (change.of_end() || change.of(&["uncountedTerminatedPods"])) && left {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        uncounted.invalid(errors, detail);
    }
}

fn listed_indexes(change: &Change<'_>, errors: &mut ErrorList) {
    let job = &change.new;
    let (done, failed) = (job.status.get("completedIndexes"), job.status.get("failedIndexes"));
    let (done_changed, failed_changed) =
        (change.of(&["completedIndexes"]), change.of(&["failedIndexes"]));
    let completions = job.spec.get("completions");
    let per_index = job.spec.get("backoffLimitPerIndex").is_set();
    let mut readable = |list: &At<'_>, name: &str| {
        if let Err(why) = indexes::count(list.str(), completions.int_or_zero()) {
            list.invalid(errors, format!("error parsing {name}: {why}"));
        }
    };
    if done_changed && completions.is_set() {
        readable(&done, "completedIndexes");
    }
    if failed_changed && completions.is_set() && per_index && failed.is_set() {
        readable(&failed, "failedIndexes");
    }
    if done_changed && !done.is_empty() && !is_indexed(&job.spec) {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        done.invalid(errors, detail);
    }
    if failed_changed && !per_index && failed.is_set() {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        failed.invalid(errors, detail);
    }
    if (done_changed || failed_changed)
        && completions.is_set()
        && let Some(index) = indexes::overlap(done.str(), failed.str(), completions.int_or_zero())
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        failed.invalid(errors, detail);
    }
}

fn numbers(change: &Change<'_>, errors: &mut ErrorList) {
    let job = &change.new;
    let (terminating, ready) = (job.status.get("terminating"), job.status.get("ready"));
    if (change.of_end() || change.of(&["terminating"]))
        && job.finished()
        && terminating.int_or_zero() > 0
    {
        terminating.invalid(errors, "terminating>0 is invalid for finished job");
    }
    if ready.is_set()
        && change.of(&["ready", "active"])
        && ready.int_or_zero() > job.status.get("active").int_or_zero()
    {
        ready.invalid(errors, "cannot set more ready pods than active");
    }
}

fn success(job: &Job<'_>, errors: &mut ErrorList) {
    let met = job.is("SuccessCriteriaMet");
    if met && job.is("Failed") {
        say(job, errors, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && job.is("FailureTarget") {
        say(job, errors, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if job.spec.get("successPolicy").is_set() && !met && job.is("Complete") {
        let detail =
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        say(job, errors, detail);
    }
}

/// What does not go back.
fn transitions(change: &Change<'_>, errors: &mut ErrorList) {
    let (job, old) = (&change.new, &change.old);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if old.is(kind) && !job.is(kind) {
            say(job, errors, format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    let mut decreases = |field: &'static str| {
        let now = job.status.get(field);
        if now.int_or_zero() < old.status.get(field).int_or_zero() {
            let detail = format!("cannot decrease the {field} counter");
            errors.push(Error::invalid(&now.path, now.int_or_zero(), detail));
        }
    };
    decreases("failed");
    // An elastic Job forgets what it completed beyond its new size.
    let sizes = [job.spec.get("completions"), job.spec.get("parallelism")];
    if !is_indexed(&job.spec) || !same(sizes[0].value, sizes[1].value) {
        decreases("succeeded");
    }
    let (end, old_end) = (job.status.get("completionTime"), old.status.get("completionTime"));
    if end.is_set() && old_end.is_set() && end.value != old_end.value {
        end.invalid(errors, "completionTime cannot be mutated");
    }
    let (start, old_start) = (job.status.get("startTime"), old.status.get("startTime"));
    if old_start.is_set() && start.value != old_start.value && !job.spec.get("suspend").bool() {
        start.required(errors, "startTime cannot be removed for unsuspended job");
    }
    let met = |job: &Job<'_>| job.is("SuccessCriteriaMet");
    if met(old) && !met(job) {
        say(job, errors, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if old.is("Complete") && !met(old) && met(job) {
        let detail =
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        say(job, errors, detail);
    }
}
