//! Whether the expressions of a policy fit the types that the policy is about. What does not fit is
//! a warning in the policy's status and changes nothing else.

use machinery::Value as Json;
use machinery::field::Path;

use super::expression::Compiler;
use super::items;
use crate::schema::Decl;
use crate::types::Type;

/// A type that a policy is about.
#[derive(Debug)]
pub struct Subject {
    /// As warnings name it, such as `apps/v1, Kind=Deployment`.
    pub name: String,
    /// What expressions know of it; `None` where its schema says nothing.
    pub decl: Option<Decl>,
}

/// A warning about one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionWarning {
    /// Where the expression is.
    pub field_ref: String,
    /// What does not fit, for each type.
    pub warning: String,
}

/// Compiles the validations and messages of a policy's `spec` against each of the `subjects`.
/// `params` is the type of the parameters, if it is known.
pub fn expression_warnings(
    spec: &Json,
    subjects: &[Subject],
    params: Option<&Subject>,
) -> Vec<ExpressionWarning> {
    let ty = |subject: &Subject| subject.decl.as_ref().map_or(Type::Dyn, |d| d.ty().clone());
    let params = params.map(ty);
    let compilers: Vec<(&str, Compiler)> = subjects
        .iter()
        .map(|subject| {
            let mut compiler = Compiler::new(&ty(subject), params.as_ref());
            compiler.variables(spec);
            (subject.name.as_str(), compiler)
        })
        .collect();
    let mut warnings = Vec::new();
    for (at, validation) in items(spec, "validations").enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = validation.get(field).and_then(Json::as_str).unwrap_or_default();
            if text.is_empty() && field == "messageExpression" {
                continue;
            }
            let mistakes: Vec<String> = compilers
                .iter()
                .filter_map(|(name, compiler)| Some((name, compiler.mistake(text)?)))
                .map(|(name, mistake)| format!("{name}: {mistake}\n"))
                .collect();
            if !mistakes.is_empty() {
                let path = Path::new("spec").child("validations").index(at).child(field);
                let warning = mistakes.join("\n");
                warnings.push(ExpressionWarning { field_ref: path.to_string(), warning });
            }
        }
    }
    warnings
}
