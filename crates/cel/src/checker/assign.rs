//! Type parameters of calls, and which type may stand where another is expected.

use std::sync::Arc;

use crate::library::Overload;
use crate::types::Type;

/// What is known of each type parameter.
#[derive(Default)]
pub(super) struct Unknowns {
    known: Vec<Option<Type>>,
    /// What was learned, in order, so that it can be taken back.
    learned: Vec<u32>,
}

/// Types nest no deeper than this; deeper ones come from types that contain themselves.
const MAX_DEPTH: u32 = 64;

impl Unknowns {
    /// A type of which nothing is known yet.
    pub(super) fn fresh(&mut self) -> Type {
        self.known.push(None);
        Type::Var(self.known.len() as u32 - 1)
    }

    /// The types of an overload with its parameters made unknown.
    pub(super) fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let mut names: Vec<(char, Type)> = Vec::new();
        let args = overload.args.iter().map(|ty| self.open(ty, &mut names)).collect();
        let result = self.open(&overload.result, &mut names);
        (args, result)
    }

    fn open(&mut self, ty: &Type, names: &mut Vec<(char, Type)>) -> Type {
        match ty {
            Type::Param(name) => match names.iter().find(|(known, _)| known == name) {
                Some((_, unknown)) => unknown.clone(),
                None => {
                    let unknown = self.fresh();
                    names.push((*name, unknown.clone()));
                    unknown
                }
            },
            Type::List(item) => Type::list(self.open(item, names)),
            Type::Map(key, value) => Type::map(self.open(key, names), self.open(value, names)),
            Type::Optional(inner) => Type::optional(self.open(inner, names)),
            Type::Type(of) => Type::Type(Arc::new(self.open(of, names))),
            other => other.clone(),
        }
    }

    /// The type with everything known put in; what stays unknown becomes `dyn` when `close` says so.
    pub(super) fn resolve(&self, ty: &Type, close: bool) -> Type {
        self.resolve_within(ty, close, MAX_DEPTH)
    }

    fn resolve_within(&self, ty: &Type, close: bool, depth: u32) -> Type {
        let Some(depth) = depth.checked_sub(1) else {
            return Type::Dyn;
        };
        let inner = |ty: &Type| self.resolve_within(ty, close, depth);
        match ty {
            Type::Var(number) => match self.known.get(*number as usize) {
                Some(Some(known)) => inner(known),
                _ if close => Type::Dyn,
                _ => ty.clone(),
            },
            Type::List(item) => Type::list(inner(item)),
            Type::Map(key, value) => Type::map(inner(key), inner(value)),
            Type::Optional(of) => Type::optional(inner(of)),
            Type::Type(of) => Type::Type(Arc::new(inner(of))),
            other => other.clone(),
        }
    }

    /// Whether values of type `actual` may stand where `expected` is, learning about the unknown.
    /// Nothing is learned when they may not.
    pub(super) fn assignable(&mut self, expected: &Type, actual: &Type) -> bool {
        self.all_assignable(std::slice::from_ref(expected), std::slice::from_ref(actual))
    }

    /// The same for all at once.
    pub(super) fn all_assignable(&mut self, expected: &[Type], actual: &[Type]) -> bool {
        self.learned.clear();
        let fits = expected
            .iter()
            .zip(actual)
            .all(|(expected, actual)| self.fits(expected, actual, MAX_DEPTH));
        if !fits {
            for number in self.learned.drain(..) {
                self.known[number as usize] = None;
            }
        }
        fits
    }

    fn fits(&mut self, expected: &Type, actual: &Type, depth: u32) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        let expected = self.shallow(expected);
        let actual = self.shallow(actual);
        match (&expected, &actual) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(number), other) | (other, Type::Var(number)) => {
                self.learn(*number, other, depth)
            }
            (a, b) if a.is_dyn() || b.is_dyn() => true,
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Object(_)
                    | Type::Opaque(_)
                    | Type::Optional(_)
                    | Type::Duration
                    | Type::Timestamp
            ),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
                self.fits(a, b, depth)
            }
            (Type::Map(a, b), Type::Map(c, d)) => self.fits(a, c, depth) && self.fits(b, d, depth),
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    fn learn(&mut self, number: u32, ty: &Type, depth: u32) -> bool {
        if self.mentions(ty, number, depth) {
            return false;
        }
        self.known[number as usize] = Some(ty.clone());
        self.learned.push(number);
        true
    }

    /// Follows what is known, until a type or something unknown.
    fn shallow(&self, ty: &Type) -> Type {
        let mut ty = ty.clone();
        while let Type::Var(number) = ty
            && let Some(Some(known)) = self.known.get(number as usize)
        {
            ty = known.clone();
        }
        ty
    }

    fn mentions(&self, ty: &Type, number: u32, depth: u32) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return true;
        };
        match self.shallow(ty) {
            Type::Var(other) => other == number,
            Type::List(of) | Type::Optional(of) | Type::Type(of) => {
                self.mentions(&of, number, depth)
            }
            Type::Map(key, value) => {
                self.mentions(&key, number, depth) || self.mentions(&value, number, depth)
            }
            _ => false,
        }
    }
}
