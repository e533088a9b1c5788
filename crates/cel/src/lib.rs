//! The Common Expression Language as Kubernetes v1.36 speaks it.
//!
//! Text becomes a tree (`syntax`, macros expanded), the tree gets types (`checker`), a checked
//! tree is a [`Program`] with an estimate of its cost (`cost`), and a program gives values for a
//! limit of cost (`eval`). The functions are one table (`library`). [`rules`] uses all of this for
//! the validation rules of custom resources, [`policy`] for those of admission policies.
//!
//! Invariants: nothing here panics, whatever the input; text, nesting, compiled regular
//! expressions and results are bounded, and every turn of a loop costs something, so evaluation
//! ends; a program is immutable and evaluates without a clock and without I/O.
//!
//! Parser, checker and evaluator are our own. The libraries at hand have no types with declared
//! fields, no limit of nesting, no count of cost, and none of upstream's texts, and those are most
//! of what is needed here.

mod ast;
mod checker;
mod cost;
mod env;
mod eval;
mod library;
mod patch;
pub mod policy;
pub mod rules;
mod schema;
mod syntax;
mod types;
mod value;

pub use cost::Range;
pub use env::{Env, Program};
pub use eval::{EvalError, Evaluation, Variables};
pub use library::authorizer::{Authorize, Authorizer, Decision, Request};
pub use library::cidr::Cidr;
pub use library::convert::double_text;
pub use library::format::Format;
pub use library::semver::Semver;
pub use library::url::Url;
pub use schema::{Decl, escape, is_identifier};
pub use syntax::{CompileError, Mistake};
pub use types::{Fields, Object as ObjectType, Type};
pub use value::{Key, List, ListKind, Object, Opaque, Value};

/// What one expression may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;

/// What all rules about one object may cost together.
pub const RUNTIME_BUDGET: u64 = 10_000_000;
