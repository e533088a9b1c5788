//! The tree of an expression, with macros already expanded.

use std::sync::Arc;

use crate::value::Value;

/// A node. Its id finds the position in the text and, once checked, the type.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Value),
    Ident(Arc<str>),
    Select(Select),
    Call(Call),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Message(Message),
    Comprehension(Box<Comprehension>),
}

/// `operand.field`, or the `has` macro about it.
#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) operand: Box<Expr>,
    pub(crate) field: Arc<str>,
    pub(crate) test_only: bool,
}

/// A function or operator; operators go by names such as `_+_`.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: Arc<str>,
    pub(crate) target: Option<Box<Expr>>,
    pub(crate) args: Vec<Expr>,
}

#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A value of a named type, such as `Object.spec{replicas: 1}`.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: Arc<str>,
    pub(crate) fields: Vec<Initializer>,
}

/// One field of a message.
#[derive(Debug)]
pub(crate) struct Initializer {
    /// Stands for the field where mistakes are shown.
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A loop: from `init`, `step` for each item while `condition` holds, then `result`.
#[derive(Debug)]
pub(crate) struct Comprehension {
    pub(crate) range: Expr,
    /// The item of a list or key of a map; with a second variable the index or key.
    pub(crate) variable: Arc<str>,
    pub(crate) second: Option<Arc<str>>,
    pub(crate) accumulator: Arc<str>,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

/// The accumulator of the macros; no expression can spell it.
pub(crate) const RESULT: &str = "@result";

/// Names of operators.
pub(crate) mod operator {
    pub(crate) const CONDITIONAL: &str = "_?_:_";
    pub(crate) const AND: &str = "_&&_";
    pub(crate) const OR: &str = "_||_";
    pub(crate) const NOT: &str = "!_";
    pub(crate) const NEGATE: &str = "-_";
    pub(crate) const ADD: &str = "_+_";
    pub(crate) const EQUALS: &str = "_==_";
    pub(crate) const INDEX: &str = "_[_]";
    pub(crate) const OPTIONAL_INDEX: &str = "_[?_]";
    pub(crate) const OPTIONAL_SELECT: &str = "_?._";
    pub(crate) const IN: &str = "@in";
    pub(crate) const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
    pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";
}

impl Expr {
    /// The name, when the node is one.
    pub(crate) fn as_ident(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    /// Dotted name of a chain of selections from an identifier.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select(select) if !select.test_only => {
                let mut name = select.operand.qualified_name()?;
                name.push('.');
                name.push_str(&select.field);
                Some(name)
            }
            _ => None,
        }
    }
}
