//! API services: which server serves a version of a group.

use machinery::field::{Error, ErrorList, quote};
use machinery::{Value, meta, names, time};
use serde_json::json;

use crate::cursor::{At, set_default};
use crate::strategy::{Ctx, StatusMetadata, Strategy};

/// The rules of APIServices.
pub(super) struct ApiService;

impl Strategy for ApiService {
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn default(&self, service: &mut Value) {
        if let Some(backend) = service.pointer_mut("/spec/service").filter(|s| s.is_object()) {
            set_default(backend, "port", 443);
        }
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, service: &mut Value) {
        if At::root(service).get("spec").get("service").is_set() {
            return;
        }
        // Nobody needs to find out whether the API server itself is there.
        service["status"] = json!({"conditions": [{
            "type": "Available",
            "status": "True",
            "lastTransitionTime": time::format(ctx.now),
            "reason": "Local",
            "message": "Local APIServices are always available",
        }]});
    }

    fn validate(&self, _ctx: &Ctx<'_>, service: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(service).get("spec");
        let (version, group) = (spec.get("version"), spec.get("group"));
        let expected = format!("{}.{}", version.str(), group.str());
        if meta::name(service) != expected && !meta::name(service).is_empty() {
            let name = At::root(service).get("metadata").get("name");
            let detail = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&expected));
            name.invalid(&mut errors, detail);
        }
        if group.is_empty() && version.str() != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            group.required(&mut errors, detail);
        }
        group.may_form(&mut errors, names::dns1123_subdomain);
        for message in names::dns1035_label(version.str()) {
            errors.push(Error::invalid(&version.path, version.str(), message));
        }
        for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let field = spec.get(field);
            let n = field.int_or_zero();
            if n <= 0 || n > max {
                let detail = format!("must be positive and less than {max}");
                errors.push(Error::invalid(&field.path, n, detail));
            }
        }
        check_backend(&spec, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for condition in At::root(new).get("status").get("conditions").list() {
            let status = condition.get("status");
            if !STATUSES.contains(&status.str()) {
                status.unsupported(&mut errors, &STATUSES);
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

fn check_backend(spec: &At<'_>, errors: &mut ErrorList) {
    let (service, bundle) = (spec.get("service"), spec.get("caBundle"));
    let insecure = spec.get("insecureSkipTLSVerify");
    if !service.is_set() {
        if !bundle.is_empty() {
            let text = bundle.str();
            let bytes = text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count();
            let detail = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(&bundle.path, format!("{bytes} bytes"), detail));
        }
        if insecure.bool() {
            insecure.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    service.get("namespace").must(errors);
    service.get("name").must(errors);
    let port = service.get("port");
    let messages = names::port_number(port.int_or_zero());
    if !messages.is_empty() {
        port.invalid(errors, format!("port is not valid: {}", messages.join(",")));
    }
    if insecure.bool() && !bundle.is_empty() {
        insecure.invalid(errors, "may not be true if caBundle is present");
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::{check, check_default, check_status, created};

    fn service(name: &str, spec: &str) -> String {
        format!(
            "{{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
        )
    }

    const REST: &str = "group: a.b, version: v1, groupPriorityMinimum: 100, versionPriority: 10";

    #[test]
    fn statuses() {
        check_status(
            &service("v1.a.b", REST),
            "{status: {conditions: [{type: Available, status: Maybe}]}}",
            &[
                r#"status.conditions[0].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown""#,
            ],
        );
    }

    #[test]
    fn rules() {
        check(&service("v1.a.b", REST), &[]);
        let object = created(&service("v1.a.b", REST));
        assert_eq!(object["status"]["conditions"][0]["reason"], "Local");
        check_default(
            &service("v1.a.b", &format!("{REST}, service: {{name: s, namespace: n}}")),
            "/spec/service/port",
            "443",
        );
        check(
            &service(
                "x",
                "version: v2, caBundle: eA==, groupPriorityMinimum: 0, versionPriority: 1001",
            ),
            &[
                r#"metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v2.""#,
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
                r#"spec.caBundle: Invalid value: "1 bytes": local APIServices may not have a caBundle"#,
            ],
        );
    }
}
