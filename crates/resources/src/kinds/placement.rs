//! Leases, priorities and runtimes: what decides who runs and how.

#[cfg(test)]
mod tests;

use cel::Semver;
use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};

use super::forms;
use super::pod::{requirements, scheduling, warnings};
use crate::cursor::{At, set_default};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

// === Lease ===

/// The rules of Leases.
pub(super) struct Lease;

impl Strategy for Lease {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, lease: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(lease).get("spec");
        let seconds = spec.get("leaseDurationSeconds");
        if seconds.int().is_some_and(|n| n <= 0) {
            seconds.invalid(&mut errors, "must be greater than 0");
        }
        let transitions = spec.get("leaseTransitions");
        if transitions.int().is_some_and(|n| n < 0) {
            transitions.invalid(&mut errors, "must be greater than or equal to 0");
        }
        let strategy = spec.get("strategy");
        if strategy.is_set() {
            lease_strategy(&strategy, &mut errors);
        }
        let preferred = spec.get("preferredHolder");
        if !preferred.is_empty() && strategy.is_empty() {
            let detail = "may only be specified if `strategy` is defined";
            preferred.forbidden(&mut errors, detail);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

const OLDEST: &str = "OldestEmulationVersion";

/// How a holder of a lease is chosen.
fn lease_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    // Upstream's path has the name twice.
    let at = At::new(strategy.value, strategy.path.child("strategy"));
    if strategy.str().contains('/') {
        at.form(errors, names::qualified_name);
    } else if strategy.str() != OLDEST {
        at.unsupported(errors, &[OLDEST]);
    }
}

// === LeaseCandidate ===

/// The rules of LeaseCandidates.
pub(super) struct LeaseCandidate;

impl Strategy for LeaseCandidate {
    fn check_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        names::config_map_key(name)
    }

    fn validate(&self, _ctx: &Ctx<'_>, candidate: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(candidate).get("spec");
        spec.get("leaseName").must(&mut errors);
        let (emulated, binary) = (spec.get("emulationVersion"), spec.get("binaryVersion"));
        let version = |at: &At<'_>, errors: &mut ErrorList| {
            let version = Semver::parse(at.str());
            if version.is_none() && !at.is_empty() {
                at.invalid(errors, "must be a valid semantic version");
            }
            version
        };
        let emulation = version(&emulated, &mut errors);
        if binary.must(&mut errors) {
            let own = version(&binary, &mut errors);
            let older = match (&own, &emulation) {
                (Some(own), Some(emulation)) => own.compare(emulation).is_lt(),
                // What is no version is the lowest.
                (None, Some(emulation)) => !emulation.is_zero(),
                (_, None) => false,
            };
            if older {
                let detail = "must be greater than or equal to `emulationVersion`";
                binary.invalid(&mut errors, detail);
            }
        }
        let strategy = spec.get("strategy");
        if strategy.must(&mut errors) {
            if strategy.str() == OLDEST && emulation.is_none_or(|version| version.is_zero()) {
                let detail = "must be specified when `strategy` is 'OldestEmulationVersion'";
                emulated.required(&mut errors, detail);
            }
            lease_strategy(&strategy, &mut errors);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let name = |candidate| At::root(candidate).get("spec").get("leaseName");
        name(new).unchanged(&name(old), &mut errors);
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

// === PodGroup ===

/// The rules of PodGroups that their markers do not say.
pub(super) struct PodGroup;

impl Strategy for PodGroup {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        forms::conditions(&status.get("conditions"), &mut errors);
        let claims = At::root(new).get("spec").get("resourceClaims");
        for status in status.get("resourceClaimStatuses").list() {
            let name = status.get("name");
            if !claims.list().any(|claim| claim.get("name").str() == name.str()) {
                let detail = "must match the name of an entry in `spec.resourceClaims`";
                name.invalid(&mut errors, detail);
            }
        }
        errors
    }
}

// === PriorityClass ===

/// The rules of PriorityClasses.
pub(super) struct PriorityClass;

const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const MAX_USER_PRIORITY: i64 = 1_000_000_000;

impl Strategy for PriorityClass {
    fn default(&self, class: &mut Value) {
        set_default(class, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Fixed
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (name, value) = (meta::name(class), At::root(class).get("value"));
        if name.starts_with("system-") {
            if let Some(why) = unlike_system_class(class) {
                let path = Path::new("metadata").child("name");
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errors.push(Error::forbidden(&path, detail));
            }
        } else if value.int_or_zero() > MAX_USER_PRIORITY {
            let detail =
                format!("maximum allowed value of a user defined priority is {MAX_USER_PRIORITY}");
            value.forbidden(&mut errors, detail);
        }
        let policy = At::root(class).get("preemptionPolicy");
        policy.one_of(&mut errors, &["PreemptLowerPriority", "Never"]);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (new, old) = (At::root(new), At::root(old));
        if new.get("value").int_or_zero() != old.get("value").int_or_zero() {
            new.get("value").forbidden(&mut errors, "may not be changed in an update.");
        }
        new.get("preemptionPolicy").unchanged(&old.get("preemptionPolicy"), &mut errors);
        errors
    }
}

/// How a class differs from the class of the system whose name it has.
fn unlike_system_class(class: &Value) -> Option<String> {
    let name = meta::name(class);
    let Some((_, value)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    let class = At::root(class);
    if class.get("value").int_or_zero() != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    let global = class.get("globalDefault").bool();
    global.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

// === RuntimeClass ===

/// The rules of RuntimeClasses.
pub(super) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let selector = At::root(new).get("scheduling").get("nodeSelector");
        let deprecated = selector.entries().filter_map(|(key, _)| warnings::node_label(key));
        deprecated.map(|why| format!("{}: {why}", selector.path)).collect()
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let class = At::root(class);
        let handler = class.get("handler");
        for message in names::dns1123_label(handler.str()) {
            errors.push(Error::invalid(&handler.path, handler.str(), message));
        }
        let overhead = class.get("overhead");
        let fixed = At::new(overhead.get("podFixed").value, overhead.path);
        requirements::fixed_overhead(&fixed, &mut errors);
        let scheduling = class.get("scheduling");
        crate::object_meta::labels(&scheduling.get("nodeSelector"), &mut errors);
        let tolerations = scheduling.get("tolerations");
        for (i, toleration) in tolerations.list().enumerate() {
            if tolerations.items()[..i].contains(toleration.value) {
                toleration.duplicate(&mut errors);
            }
        }
        self::scheduling::tolerations(&tolerations, &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        At::root(new).get("handler").unchanged(&At::root(old).get("handler"), &mut errors);
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
