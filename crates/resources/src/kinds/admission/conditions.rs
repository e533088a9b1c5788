//! Match conditions: expressions that decide whether a webhook is asked about a request.

use std::sync::LazyLock;

use cel::{Decl, Env, Program, Type};
use serde_json::json;

/// What the conditions of one webhook may cost together.
pub const BUDGET: u64 = cel::RUNTIME_BUDGET / 4;

/// The declaration of the variable `request`: an AdmissionRequest without its objects.
pub fn request() -> &'static Decl {
    static REQUEST: LazyLock<Decl> = LazyLock::new(|| {
        let text = json!({"type": "string"});
        let texts = json!({"type": "array", "items": text});
        let object = |fields: &[&str]| {
            let fields = fields.iter().map(|field| ((*field).to_owned(), text.clone()));
            json!({"type": "object", "properties": fields.collect::<serde_json::Map<_, _>>()})
        };
        let kind = object(&["group", "version", "kind"]);
        let resource = object(&["group", "version", "resource"]);
        let user = json!({"type": "object", "properties": {
            "username": text, "uid": text, "groups": texts,
            "extra": {"type": "object", "additionalProperties": texts},
        }});
        let schema = json!({"type": "object", "properties": {
            "kind": kind, "resource": resource, "subResource": text,
            "requestKind": kind, "requestResource": resource, "requestSubResource": text,
            "name": text, "namespace": text, "operation": text, "userInfo": user,
            "dryRun": {"type": "boolean"},
        }});
        let request = Decl::of_schema(&schema, false, "kubernetes.AdmissionRequest");
        request.expect("an object with fields can be declared")
    });
    &REQUEST
}

/// Compiles a condition.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn compile(expression: &str) -> Result<Program, String> {
    static ENV: LazyLock<Env> = LazyLock::new(|| {
        Env::new()
            .with("object", Type::Dyn)
            .with("oldObject", Type::Dyn)
            .with("request", request().ty().clone())
            .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
            .with(
                "authorizer.requestResource",
                Type::Opaque("kubernetes.authorization.ResourceCheck"),
            )
    });
    let program =
        ENV.compile(expression).map_err(|error| format!("compilation failed: {error}"))?;
    match program.result_type() {
        Type::Bool => Ok(program),
        _ => Err("must evaluate to bool".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let good = [
            "object.metadata.namespace == 'x'",
            "request.userInfo.username != 'system:admin' && !request.dryRun",
            "'system:nodes' in request.userInfo.groups",
            "request.resource.group == 'apps'",
            "authorizer.group('').resource('pods').check('get').allowed()",
            "authorizer.requestResource.check('update').allowed()",
            "oldObject == null",
        ];
        for expression in good {
            assert!(compile(expression).is_ok(), "{expression}: {:?}", compile(expression).err());
        }
        let check = |expression: &str, part: &str| {
            let error = compile(expression).unwrap_err();
            assert!(error.contains(part), "{expression}: {error}");
        };
        check("1", "must evaluate to bool");
        check("object.", "compilation failed: ERROR: <input>:1:8: Syntax error");
        check("request.nothing == 1", "undefined field 'nothing'");
        check("nobody == 1", "undeclared reference to 'nobody'");
    }
}
