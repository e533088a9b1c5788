//! Errors of reconciliations; all of them end in a retry.

use machinery::selector::ParseError;
use thiserror::Error;

/// Why a key could not be brought to its desired state yet.
#[derive(Debug, Error)]
pub(crate) enum SyncError {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The object's selector is no selector.
    #[error("invalid label selector: {0}")]
    Selector(#[from] ParseError),
    /// Something cannot be written as JSON.
    #[error("encoding: {0}")]
    Json(#[from] serde_json::Error),
    /// What is needed is not there yet.
    #[error("{0}")]
    NotReady(String),
}

/// Whether the object is gone, which is as good as done for most writes.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// Whether an object of that name is there already.
pub(crate) fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// Whether somebody else wrote in between.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

/// Whether creation failed because the namespace is going away; retrying is futile.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.as_ref().is_some_and(|details| {
        details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
    })
}

/// Whether the write is not worth another try: its object is there, or its place is not.
pub(crate) fn is_settled(error: &kube::Error) -> bool {
    is_already_exists(error) || is_namespace_terminating(error) || is_not_found(error)
}

/// The text of an error as upstream's events and conditions show it.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
