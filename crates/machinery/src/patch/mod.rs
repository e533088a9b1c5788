//! The three kinds of patches that change an object on the server: JSON patch, merge patch and
//! strategic merge patch.

pub mod json;
pub mod merge;
pub mod strategic;

/// A patch that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch itself is malformed; the API answers 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object; the API answers 422.
    #[error("{0}")]
    Unprocessable(String),
    /// A test that the patch makes of the object fails, which makes it not fit either.
    #[error("{0}")]
    TestFailed(String),
    /// The patch has too many operations; the API answers 413.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooManyOperations {
        /// How many are allowed.
        max: usize,
        /// How many there are.
        got: usize,
    },
}
