//! The status of ValidatingAdmissionPolicies: whether their expressions fit the types that they are
//! about,
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking>.
//! What does not fit is told and changes nothing.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use client::{Action, Api, Client, WorkQueue};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::{Patch, PatchParams};
use machinery::gvk::{GroupVersion, GroupVersionKind};
use machinery::openapi;
use serde_json::Value;

use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::informers::enqueue;
use crate::object::Key;

use plan::{Types, plan};

/// The controller's name, also as the owner of the fields that it writes.
pub(crate) const NAME: &str = "validatingadmissionpolicy-status-controller";

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let policies = &context.informers.validating_policies;
    enqueue(policies, &queue);
    policies.synced().await;
    let ctx = context.clone();
    context.work(queue, 5, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(policy) = context.informers.validating_policies.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    if !plan::is_new(&policy) {
        return Ok(Action::Done);
    }
    let spec = serde_json::to_value(&policy.spec)?;
    let types = Published::new(&context.client).types(&spec).await?;
    let status = plan(&policy, &spec, &types);
    let api: Api<ValidatingAdmissionPolicy> = Api::all(context.client.clone());
    let params = PatchParams::apply(NAME).force();
    match api.patch_status(&key.name, &params, &Patch::Apply(&status)).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// What the API server publishes about types. Every document is asked for once.
struct Published<'c> {
    client: &'c Client,
    documents: BTreeMap<String, Option<Value>>,
}

impl<'c> Published<'c> {
    fn new(client: &'c Client) -> Self {
        Self { client, documents: BTreeMap::new() }
    }

    /// The types that a policy's spec is about, and that of its parameters.
    async fn types(mut self, spec: &Value) -> Result<Types, SyncError> {
        let mut types = Types::default();
        let mut kinds = Vec::new();
        'rules: for rule in plan::rules(spec) {
            let mut found = 0;
            for resource in rule {
                let version = GroupVersion::new(&*resource.group, &*resource.version);
                let served = self.served(&version).await?;
                let Some(kind) = served.and_then(|served| plan::kind(served, &resource)) else {
                    continue;
                };
                kinds.push(kind);
                found += 1;
                if found == plan::MAX_TYPES {
                    break 'rules;
                }
            }
        }
        kinds.sort_by_key(ToString::to_string);
        kinds.dedup();
        for kind in kinds {
            if let Some(schema) = self.schema(&kind).await? {
                types.subjects.push((kind, schema));
            }
        }
        if let Some(kind) = plan::param_kind(spec) {
            let served = self.served(&kind.group_version()).await?;
            if served.is_some_and(|served| plan::serves(served, &kind)) {
                types.params = Some(self.schema(&kind).await?.unwrap_or_default());
            }
        }
        Ok(types)
    }

    /// The resources of a group and version.
    async fn served(&mut self, version: &GroupVersion) -> Result<Option<&Value>, SyncError> {
        let path = openapi::v3_path(&version.group, &version.version);
        self.document(format!("/{path}")).await
    }

    async fn schema(&mut self, kind: &GroupVersionKind) -> Result<Option<Value>, SyncError> {
        let path = openapi::v3_path(&kind.group, &kind.version);
        let document = self.document(format!("/openapi/v3/{path}")).await?;
        Ok(document.and_then(|document| openapi::v3_schema(document, kind)))
    }

    async fn document(&mut self, path: String) -> Result<Option<&Value>, SyncError> {
        if !self.documents.contains_key(&path) {
            let request =
                http::Request::get(&path).body(Vec::new()).map_err(kube::Error::HttpError)?;
            let document = match self.client.request(request).await {
                Ok(document) => Some(document),
                Err(error) if is_not_found(&error) => None,
                Err(error) => return Err(error.into()),
            };
            self.documents.insert(path.clone(), document);
        }
        Ok(self.documents.get(&path).and_then(Option::as_ref))
    }
}
