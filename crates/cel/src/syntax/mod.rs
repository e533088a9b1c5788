//! From text to a tree: tokens, grammar, macros, and how mistakes are shown.

mod lexer;
mod macros;
mod parser;
mod source;
mod strings;

pub(crate) use parser::{Parsed, RESERVED, parse};
pub use source::{CompileError, Mistake};
