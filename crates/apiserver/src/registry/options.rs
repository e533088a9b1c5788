//! Options of reads and writes, and which of them go together.

use machinery::codec::FieldValidation;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::status::Status;
use machinery::{Value, features};

use super::Failure;

/// Which objects a list or watch is about, as of when, and how many of them.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Selects by labels.
    pub label_selector: LabelSelector,
    /// Selects by fields, under the names of the served version.
    pub field_selector: FieldSelector,
    /// As the client wrote it.
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub resource_version_match: String,
    /// At most so many objects; 0 is unlimited.
    pub limit: u64,
    /// Where to go on; from a former page.
    pub continue_token: String,
    /// Whether the watcher understands bookmarks.
    pub allow_watch_bookmarks: bool,
    /// Whether a watch starts with the objects there are.
    pub send_initial_events: Option<bool>,
}

/// Options of creations, updates and patches.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Do everything but store.
    pub dry_run: bool,
    /// Who owns the fields that are set; empty for the server itself.
    pub field_manager: String,
    /// What to do about unknown fields in the result of a patch.
    pub field_validation: FieldValidation,
    /// For apply: take over fields of other managers.
    pub force: bool,
    /// An update or apply must not make an object that is not there: it was there when the
    /// request was authorized.
    pub only_existing: bool,
}

/// The form of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Strategic merge.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// Options of deletions.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds until the object must be gone.
    pub grace_period_seconds: Option<i64>,
    /// The UID that the object must have.
    pub uid: Option<String>,
    /// The resourceVersion that the object must have.
    pub resource_version: Option<String>,
    /// The old form of the propagation policy.
    pub orphan_dependents: Option<bool>,
    /// `Orphan`, `Background` or `Foreground`.
    pub propagation_policy: Option<String>,
    /// Do everything but delete.
    pub dry_run: bool,
}

impl WriteOptions {
    /// Who owns the fields that are set.
    pub(super) fn manager(&self) -> &str {
        if self.field_manager.is_empty() { "kube-apiserver" } else { &self.field_manager }
    }
}

impl DeleteOptions {
    /// From a decoded `DeleteOptions` object.
    ///
    /// # Errors
    /// When the options contradict each other.
    pub fn from_value(value: &Value) -> Result<Self, Failure> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let preconditions = value.get("preconditions");
        let precondition = |name| text(preconditions.and_then(|p| p.get(name)));
        let options = Self {
            grace_period_seconds: value.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            orphan_dependents: value.get("orphanDependents").and_then(Value::as_bool),
            propagation_policy: text(value.get("propagationPolicy")),
            dry_run: value.get("dryRun").and_then(Value::as_array).is_some_and(|d| !d.is_empty()),
        };
        let mut errors = options.check();
        for word in value.get("dryRun").and_then(Value::as_array).into_iter().flatten() {
            if word != "All" {
                let given = word.as_str().unwrap_or_default();
                errors.push(Error::not_supported(&Path::new("dryRun"), given, &["All"]));
            }
        }
        if errors.is_empty() { Ok(options) } else { Err(invalid("DeleteOptions", &errors)) }
    }

    fn check(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("propagationPolicy");
        let policy = self.propagation_policy.as_deref();
        if self.orphan_dependents.is_some() && policy.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(Error::invalid(&path, policy.unwrap_or_default(), detail));
        }
        let known = ["Background", "Foreground", "Orphan", "nil"];
        if let Some(policy) = policy
            && !known[..3].contains(&policy)
        {
            errors.push(Error::not_supported(&path, policy, &known));
        }
        errors
    }
}

impl ListOptions {
    /// Which options do not go together in a list or a watch.
    pub(super) fn check(&self, watch: bool) -> Result<(), Failure> {
        let mut errors = ErrorList::new();
        let version = Path::new("resourceVersion");
        let matching = Path::new("resourceVersionMatch");
        let mut forbid = |path: &Path, detail: &str| errors.push(Error::forbidden(path, detail));
        let given = self.resource_version_match.as_str();
        if watch {
            if self.send_initial_events.is_some() {
                if given.is_empty() {
                    forbid(
                        &matching,
                        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                    );
                } else if given != "NotOlderThan" {
                    let path = &matching;
                    errors.push(Error::not_supported(path, given, &["NotOlderThan"]));
                }
                if features::enabled("WatchList") == Some(false) {
                    let detail = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
                    errors.push(Error::forbidden(&Path::new("sendInitialEvents"), detail));
                }
                if self.send_initial_events == Some(true) && !self.allow_watch_bookmarks {
                    let detail = "sendInitialEvents requires setting allowWatchBookmarks to true";
                    errors.push(Error::forbidden(&Path::new("allowWatchBookmarks"), detail));
                }
            } else if !given.is_empty() {
                forbid(
                    &matching,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
        } else {
            if self.send_initial_events.is_some() {
                let path = Path::new("sendInitialEvents");
                forbid(&path, "sendInitialEvents is forbidden for list");
            }
            if !given.is_empty() {
                if self.resource_version.is_empty() {
                    forbid(
                        &matching,
                        "resourceVersionMatch is forbidden unless resourceVersion is provided",
                    );
                }
                if !self.continue_token.is_empty() {
                    forbid(
                        &matching,
                        "resourceVersionMatch is forbidden when continue is provided",
                    );
                }
                if !["Exact", "NotOlderThan"].contains(&given) {
                    let allowed = ["Exact", "NotOlderThan", ""];
                    errors.push(Error::not_supported(&matching, given, &allowed));
                }
                if given == "Exact" && self.resource_version == "0" {
                    let detail =
                        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                    errors.push(Error::forbidden(&matching, detail));
                }
            }
        }
        if !self.resource_version.is_empty() && self.resource_version.parse::<u64>().is_err() {
            let detail =
                format!("strconv.ParseUint: parsing {:?}: invalid syntax", self.resource_version);
            errors.push(Error::invalid(&version, self.resource_version.as_str(), detail));
        }
        if errors.is_empty() { Ok(()) } else { Err(invalid("ListOptions", &errors)) }
    }
}

fn invalid(kind: &str, errors: &ErrorList) -> Failure {
    Status::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors).into()
}
