//! The slices of one manager: finding those of a Service and writing them. Endpoints come as slices
//! from selected Pods and from hand-written Endpoints; both ways end here.

use std::sync::Arc;

use client::{Api, WorkQueue};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};

use super::pending::Pending;
use crate::context::Context;
use crate::error::{is_namespace_terminating, is_not_found};
use crate::informers::SERVICE;
use crate::object::{Key, Meta};

/// Label: the Service that a slice belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label: the controller that writes a slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The writes that bring slices in line.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<String>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// What the controller that names itself `manager` in [`MANAGED_BY`] has written.
pub(crate) struct Managed {
    context: Context,
    manager: &'static str,
    pending: Pending,
}

impl Managed {
    /// Events of these slices bring their Service to the queue.
    pub(crate) fn new(context: &Context, manager: &'static str, queue: &WorkQueue<Key>) -> Self {
        let queue = queue.clone();
        context.informers.slices.on_event(move |event| {
            let slice = event.object();
            if slice.label(MANAGED_BY) == Some(manager)
                && let Some(service) = slice.label(SERVICE_NAME)
            {
                queue.add(Key::new(slice.ns(), service));
            }
        });
        Self { context: context.clone(), manager, pending: Pending::default() }
    }

    /// The slices of a Service; `None` while the informer lacks own writes.
    pub(crate) fn of(&self, service: &Key) -> Option<Vec<Arc<EndpointSlice>>> {
        let mut slices = self.context.informers.slices.by_index(SERVICE, &service.to_string());
        slices.retain(|slice| slice.label(MANAGED_BY) == Some(self.manager));
        (!self.pending.is_behind(service, &slices)).then_some(slices)
    }

    /// The Service is gone.
    pub(crate) fn forget(&self, service: &Key) {
        self.pending.forget(service);
    }

    /// Carries a plan out.
    pub(crate) async fn execute(&self, service: &Key, plan: Plan) -> Result<(), kube::Error> {
        let api: Api<EndpointSlice> = self.context.api(&service.namespace);
        let params = PostParams::default();
        for slice in &plan.create {
            match api.create(&params, slice).await {
                Ok(written) => self.pending.wrote(service, &written),
                Err(error) if is_namespace_terminating(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        for slice in &plan.update {
            let written = api.replace(slice.nm(), &params, slice).await?;
            self.pending.wrote(service, &written);
        }
        for name in &plan.delete {
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => self.pending.deleted(service, name),
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
