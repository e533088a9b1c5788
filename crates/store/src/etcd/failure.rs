//! What a failed call means: whether it may have been made, and what the caller is told.

use tonic::{Code, Status};

use crate::types::Error;

/// Why a call gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server did not take it up, so it can be repeated elsewhere.
    NotMade(Status),
    /// It may have been made, or be made still.
    Unknown(Status),
    /// It was refused, as it would be everywhere.
    Refused(Refusal),
}

/// What etcd refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A revision before the compacted one.
    Compacted,
    /// A revision that is not there yet.
    Future,
    /// All else, which needs no more facts.
    Other(Error),
}

// etcd tells its refusals apart by their texts alone: several share a code.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
const NO_LEASE: &str = "etcdserver: requested lease not found";
const TOO_LARGE: &str = "etcdserver: request is too large";
/// Of the layer below, which refuses what is far too large.
const MESSAGE_TOO_LARGE: &str = "grpc: received message larger than max";
const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";
/// The server has not proposed the request to the others.
const NOT_PROPOSED: [&str; 4] = [
    "etcdserver: no leader",
    "etcdserver: not leader",
    "etcdserver: too many requests",
    "etcdserver: rpc not supported for learner",
];

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let refused = |error| Self::Refused(Refusal::Other(error));
        match status.message() {
            COMPACTED => return Self::Refused(Refusal::Compacted),
            FUTURE => return Self::Refused(Refusal::Future),
            NO_SPACE => return refused(Error::NoSpace),
            NO_LEASE => return refused(Error::LeaseNotFound),
            DUPLICATE => return refused(Error::DuplicateKey),
            TOO_LARGE => return refused(Error::TooLarge),
            text if text.starts_with(MESSAGE_TOO_LARGE) => return refused(Error::TooLarge),
            text if NOT_PROPOSED.contains(&text) => return Self::NotMade(status),
            _ => {}
        }
        if never_left(&status) {
            return Self::NotMade(status);
        }
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::Unknown
            | Code::Internal => Self::Unknown(status),
            _ => refused(Error::Refused(status.message().to_owned())),
        }
    }
}

/// Whether there was no connection to send the call on.
fn never_left(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Failure {
    /// The error after the last attempt.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotMade(status) | Self::Unknown(status) => unavailable(&status),
            Self::Refused(Refusal::Other(error)) => error,
            // Callers that name revisions look at these themselves.
            Self::Refused(Refusal::Compacted) => Error::Refused(COMPACTED.to_owned()),
            Self::Refused(Refusal::Future) => Error::Refused(FUTURE.to_owned()),
        }
    }
}

pub(super) fn unavailable(status: &Status) -> Error {
    let text = status.message();
    if text.starts_with("etcdserver: ") {
        return Error::Unavailable(text.to_owned());
    }
    Error::Unavailable(format!("rpc error: code = {:?} desc = {text}", status.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_whether_a_call_can_be_repeated() {
        let check = |code: Code, text: &str, want: &str| {
            let got = match Failure::from(Status::new(code, text)) {
                Failure::NotMade(_) => "repeat".to_owned(),
                Failure::Unknown(status) => format!("unknown: {}", unavailable(&status)),
                Failure::Refused(Refusal::Other(error)) => format!("{error:?}"),
                Failure::Refused(refusal) => format!("{refusal:?}"),
            };
            assert_eq!(got, want, "{code} {text}");
        };
        check(Code::OutOfRange, COMPACTED, "Compacted");
        check(Code::OutOfRange, FUTURE, "Future");
        check(Code::ResourceExhausted, NO_SPACE, "NoSpace");
        check(Code::NotFound, NO_LEASE, "LeaseNotFound");
        check(Code::InvalidArgument, DUPLICATE, "DuplicateKey");
        check(Code::Unavailable, "etcdserver: no leader", "repeat");
        check(Code::ResourceExhausted, "etcdserver: too many requests", "repeat");
        check(
            Code::Unavailable,
            "etcdserver: request timed out",
            "unknown: etcdserver: request timed out",
        );
        check(
            Code::Unavailable,
            "broken pipe",
            "unknown: rpc error: code = Unavailable desc = broken pipe",
        );
        check(Code::InvalidArgument, TOO_LARGE, "TooLarge");
        check(
            Code::ResourceExhausted,
            "grpc: received message larger than max (2097999 vs. 2097152)",
            "TooLarge",
        );
        check(
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request",
            "Refused(\"etcdserver: too many operations in txn request\")",
        );
    }
}
