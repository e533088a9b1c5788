//! What is said of errors.

use std::error::Error;
use std::io;

/// An error and what it comes from, each told once: some say themselves what they come from.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    with_causes(error.to_string(), error)
}

/// The same behind other words for the error itself.
#[must_use]
pub fn with_causes(mut text: String, error: &(dyn Error + 'static)) -> String {
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = text + ": " + &cause;
        }
    }
    text
}

/// Why there is no connection to `address` (host and port), as Go's clients have it, whose words
/// administrators know.
#[must_use]
pub fn dial(address: &str, error: &io::Error) -> String {
    format!("dial tcp {address}: {}", socket(error))
}

/// What the system says of a connection, in the same words.
#[must_use]
pub fn socket(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layer {
        #[error("reading: {0}")]
        Telling(#[source] Box<Layer>),
        #[error("opening")]
        Silent(#[source] io::Error),
    }

    #[test]
    fn every_cause_is_told_once() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = Layer::Telling(Box::new(Layer::Silent(refused)));
        assert_eq!(chain(&error), "reading: opening: connection refused");
    }
}
