//! Rules for the spec of a Job, in Jobs and in CronJobs.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, quote};
use machinery::names;

use super::indexes;
use crate::cursor::At;
use crate::kinds::forms;
use crate::kinds::pod::spec as pod_spec;

/// From here on a Job with a limit per index is limited further, so that its status stays small.
pub(super) const MANY_COMPLETIONS: i64 = 100_000;
/// What is allowed at once of a Job with so many completions.
pub(super) const MANY_AT_ONCE: i64 = 10_000;
const MAX_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_CONDITIONS: usize = 20;
const MAX_MANAGER: usize = 63;
const MAX_INDEXES_TEXT: usize = 64 * 1024;
const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Whether each Pod of a Job has an index.
pub(super) fn is_indexed(spec: &At<'_>) -> bool {
    spec.get("completionMode").str() == "Indexed"
}

/// Checks the spec of a Job but for its selector. It may replace another.
pub(super) fn check(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.get(field).non_negative(errors);
    }
    let per_index = spec.get("backoffLimitPerIndex");
    if spec.get("maxFailedIndexes").is_set() && !per_index.is_set() {
        per_index.required(errors, "when maxFailedIndexes is specified");
    }
    let manager = spec.get("managedBy");
    if manager.is_set() {
        forms::domain_prefixed_path(&manager, errors);
        if manager.str().len() > MAX_MANAGER {
            errors.push(Error::too_long(&manager.path, MAX_MANAGER));
        }
    }
    completion_mode(spec, errors);
    let (failure, success) = (spec.get("podFailurePolicy"), spec.get("successPolicy"));
    if failure.is_set() {
        failure_policy(spec, &failure, errors);
    }
    if success.is_set() {
        if is_indexed(spec) {
            success_policy(spec, &success, errors);
        } else {
            success.invalid(errors, "requires indexed completion mode");
        }
    }
    let replacement = spec.get("podReplacementPolicy");
    // What failed is judged before it is replaced.
    let supported: &[&str] =
        if failure.is_set() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    replacement.set_to_one_of(errors, supported);
    let template = spec.get("template");
    let template_before = before.map(|before| before.get("template"));
    pod_spec::template(&template, template_before.as_ref(), errors);
    let restart = template.get("spec").get("restartPolicy");
    match restart.str() {
        "Always" | "" => restart.required(errors, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" => {
            if failure.is_set() {
                let detail = "only \"Never\" is supported when podFailurePolicy is specified";
                restart.invalid(errors, detail);
            }
        }
        _ => restart.unsupported(errors, &["OnFailure", "Never"]),
    }
}

fn completion_mode(spec: &At<'_>, errors: &mut ErrorList) {
    let mode = spec.get("completionMode");
    mode.set_to_one_of(errors, &MODES);
    let (per_index, failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if !is_indexed(spec) {
        if !mode.is_set() || mode.str() == "NonIndexed" {
            for field in [per_index, failed] {
                if field.is_set() {
                    field.invalid(errors, "requires indexed completion mode");
                }
            }
        }
        return;
    }
    let at_most = |at: &At<'_>, max: i64, when: &str, errors: &mut ErrorList| {
        if at.int_or_zero() > max {
            at.invalid(errors, format!("must be less than or equal to {max}{when}"));
        }
    };
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    if !completions.is_set() {
        completions.required(errors, "when completion mode is Indexed");
    }
    at_most(&parallelism, MAX_PARALLELISM, " when completion mode is Indexed", errors);
    if completions.is_set() && failed.int_or_zero() > completions.int_or_zero() {
        failed.invalid(errors, "must be less than or equal to completions");
    }
    at_most(&failed, MAX_FAILED_INDEXES, "", errors);
    if completions.int_or_zero() > MANY_COMPLETIONS && per_index.is_set() {
        if !failed.is_set() {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            failed.required(errors, detail);
        }
        let when = format!(
            " when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        );
        at_most(&parallelism, MANY_AT_ONCE, &when, errors);
        at_most(&failed, MANY_AT_ONCE, &when, errors);
    }
}

/// A text from a closed set, whose values the error lists as Go prints them.
fn listed(at: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    if at.is_empty() {
        let quoted: Vec<String> = supported.iter().map(|value| quote(value)).collect();
        at.required(errors, format!("valid values: [{}]", quoted.join(" ")));
    } else if !supported.contains(&at.str()) {
        at.unsupported(errors, supported);
    }
}

fn failure_policy(spec: &At<'_>, policy: &At<'_>, errors: &mut ErrorList) {
    let rules = policy.get("rules");
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(&rules.path, rules.len(), MAX_RULES));
    }
    let pod = spec.get("template").get("spec");
    let containers: BTreeSet<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| pod.get(list).list())
        .map(|container| container.get("name").str())
        .collect();
    for rule in rules.list() {
        let action = rule.get("action");
        listed(&action, &ACTIONS, errors);
        if action.str() == "FailIndex" && !spec.get("backoffLimitPerIndex").is_set() {
            action.invalid(errors, "requires the backoffLimitPerIndex to be set");
        }
        let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, &containers, errors);
        }
        pod_conditions(&conditions, errors);
        let mut wrong = |detail: &str| {
            errors.push(Error::invalid_without_value(&rule.path, detail));
        };
        match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => {
                wrong("specifying both OnExitCodes and OnPodConditions is not supported");
            }
            (false, false) => {
                wrong("specifying one of OnExitCodes and OnPodConditions is required");
            }
            _ => {}
        }
    }
}

fn pod_conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&conditions.path, conditions.len(), MAX_CONDITIONS));
    }
    for condition in conditions.list() {
        condition.get("type").form(errors, names::qualified_name);
        listed(&condition.get("status"), &STATUSES, errors);
    }
}

fn exit_codes(codes: &At<'_>, containers: &BTreeSet<&str>, errors: &mut ErrorList) {
    let operator = codes.get("operator");
    listed(&operator, &OPERATORS, errors);
    let container = codes.get("containerName");
    if container.is_set() && !containers.contains(container.str()) {
        let detail = "must be one of the container or initContainer names in the pod template";
        container.invalid(errors, detail);
    }
    let values = codes.get("values");
    if values.is_empty() {
        values.invalid(errors, "at least one value is required");
    } else if values.len() > MAX_EXIT_CODES {
        errors.push(Error::too_many(&values.path, values.len(), MAX_EXIT_CODES));
    }
    let mut taken = BTreeSet::new();
    let (mut ordered, mut last) = (true, i64::MIN);
    for value in values.list() {
        let code = value.int_or_zero();
        if operator.str() == "In" && code == 0 {
            value.invalid(errors, "must not be 0 for the In operator");
        }
        if !taken.insert(code) {
            value.duplicate(errors);
        }
        ordered &= last <= code;
        last = code;
    }
    if !ordered {
        values.invalid(errors, "must be ordered");
    }
}

fn success_policy(spec: &At<'_>, policy: &At<'_>, errors: &mut ErrorList) {
    let rules = policy.get("rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        rules.required(errors, detail);
    }
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(&rules.path, rules.len(), MAX_RULES));
    }
    let completions = spec.get("completions").int_or_zero();
    for rule in rules.list() {
        let (count, listed) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
        if !count.is_set() && !listed.is_set() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            rule.required(errors, detail);
        }
        if listed.str().len() > MAX_INDEXES_TEXT {
            errors.push(Error::too_long(&listed.path, MAX_INDEXES_TEXT));
        }
        let total = indexes::count(listed.str(), completions).unwrap_or_else(|why| {
            listed.invalid(errors, format!("error parsing succeededIndexes: {why}"));
            0
        });
        if !count.is_set() {
            continue;
        }
        count.non_negative(errors);
        let n = count.int_or_zero();
        let mut exceeds = |max: i64, of: &str| {
            count.invalid(errors, format!("must be less than or equal to {max} ({of})"));
        };
        if n > completions {
            exceeds(completions, "the number of specified completions");
        }
        if listed.is_set() && n > total {
            exceeds(total, "the number of indexes in the specified succeededIndexes field");
        }
    }
}
