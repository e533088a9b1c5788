//! Compiling the expressions of a policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::Value as Json;
use machinery::field::{Error, ErrorList, Path};

use super::request::{NAMESPACE, REQUEST};
use super::{items, text};
use crate::env::{Env, Program};
use crate::types::{Fields, Object as ObjectType, Type};

/// An expression, or what is wrong with it: stored policies stay as they are.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) text: String,
    pub(super) program: Result<Program, String>,
}

impl Compiled {
    /// Reports what is wrong. That there is nothing at all is reported by whoever reads the field.
    pub(super) fn check(&self, path: &Path, errors: &mut ErrorList) {
        if let Err(detail) = &self.program
            && !self.text.trim().is_empty()
        {
            errors.push(Error::invalid(path, self.text.as_str(), detail.as_str()));
        }
    }
}

/// The variables of a policy, in their order.
pub(super) type Variables = Vec<(String, Compiled)>;

/// What the expressions of a policy may refer to.
pub(super) struct Compiler {
    env: Env,
    variables: BTreeMap<String, Type>,
}

/// The type of `variables`: only for mistakes, since each variable has a name of its own.
struct Composed(BTreeMap<String, Type>);

impl Fields for Composed {
    fn field(&self, name: &str) -> Option<Type> {
        self.0.get(name).cloned()
    }
}

impl Compiler {
    /// For objects of a type, and parameters of another where there are any.
    pub(super) fn new(object: &Type, params: Option<&Type>) -> Self {
        let check = Type::Opaque("kubernetes.authorization.ResourceCheck");
        let mut env = Env::new()
            .with("object", object.clone())
            .with("oldObject", object.clone())
            .with("request", REQUEST.ty().clone())
            .with("namespaceObject", NAMESPACE.ty().clone())
            .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
            .with("authorizer.requestResource", check);
        if let Some(params) = params {
            env = env.with("params", params.clone());
        }
        Self { env, variables: BTreeMap::new() }
    }

    /// For a policy about objects that nothing is known of.
    pub(super) fn untyped(spec: &Json) -> Self {
        let params = spec.get("paramKind").is_some_and(Json::is_object);
        Self::new(&Type::Dyn, params.then_some(&Type::Dyn))
    }

    /// The same, with the types that changes are written in.
    pub(super) fn with_patches(self) -> Self {
        Self { env: self.env.with_patches(), ..self }
    }

    /// Compiles the policy's variables. Each may refer to those before it, and expressions that
    /// are compiled afterwards to all.
    pub(super) fn variables(&mut self, spec: &Json) -> Variables {
        items(spec, "variables").map(|item| self.variable(item)).collect()
    }

    fn variable(&mut self, item: &Json) -> (String, Compiled) {
        let (name, expression) = (text(item, "name"), text(item, "expression"));
        let compiled = self.compile(&expression, &[]);
        let ty =
            compiled.program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        self.variables.insert(name.clone(), ty.clone());
        let all = Arc::new(Composed(self.variables.clone()));
        self.env = std::mem::take(&mut self.env)
            .with(&format!("variables.{name}"), ty)
            .with("variables", Type::Object(ObjectType::new("kubernetes.variables", all)));
        (name, compiled)
    }

    /// Compiles for one of these types; any type when there are none.
    pub(super) fn compile(&self, text: &str, types: &[Type]) -> Compiled {
        let program = match self.env.compile(text) {
            Err(error) => Err(format!("compilation failed: {error}")),
            Ok(program) => {
                let ty = program.result_type();
                if types.is_empty() || types.contains(ty) {
                    Ok(program)
                } else {
                    let names: Vec<String> = types.iter().map(declared_name).collect();
                    let wanted = match &names[..] {
                        [one] => one.clone(),
                        several => format!("one of [{}]", several.join(" ")),
                    };
                    Err(format!("must evaluate to {wanted} but got {}", declared_name(ty)))
                }
            }
        };
        Compiled { text: text.to_owned(), program }
    }

    /// What is wrong with an expression, whatever its type.
    pub(super) fn mistake(&self, text: &str) -> Option<String> {
        self.env.compile(text).err().map(|error| error.to_string())
    }
}

/// A type as declarations spell it, which differs from mistakes for null.
fn declared_name(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        other => other.to_string(),
    }
}
