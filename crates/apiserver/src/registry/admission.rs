//! The hook for admission: where it runs and what it gets.

use std::sync::Arc;

use futures::future::BoxFuture;
use machinery::{Value, apply, meta};

use super::{Context, Failure, Registry, Resource, Target, WriteOptions};

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// Another state of an object.
    Update,
    /// The end of an object.
    Delete,
    /// A connection to a subresource.
    Connect,
}

impl Operation {
    /// The word in admission reviews.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A write that is to be admitted.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// For look-ups.
    pub registry: &'a Registry,
    /// Who asks.
    pub context: &'a Context,
    /// What is done.
    pub operation: Operation,
    /// To which resource.
    pub resource: &'a Arc<Resource>,
    /// In which namespace; empty in cluster scope.
    pub namespace: &'a str,
    /// To which object; empty while a name is still to be generated.
    pub name: &'a str,
    /// Through which subresource.
    pub subresource: &'a str,
    /// The object (or what the subresource takes); none for deletions.
    pub object: Option<Value>,
    /// The object as it is; none for creations.
    pub old: Option<&'a Value>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The managed fields from before somebody outside changed the object; see
    /// [`Attributes::replace`].
    pub(crate) tracked: Option<Value>,
}

impl<'a> Attributes<'a> {
    /// Puts what a webhook or a policy made of the object in its place.
    pub(crate) fn replace(&mut self, object: Value) {
        let before = self.object.replace(object);
        if let (None, Some(mut before)) = (&self.tracked, before) {
            self.tracked = Some(apply::take(&mut before));
        }
    }

    /// Of the creation of an object.
    pub(super) fn create(
        registry: &'a Registry,
        context: &'a Context,
        target: &'a Target,
        name: &'a str,
        object: Value,
        options: &WriteOptions,
    ) -> Self {
        Self {
            registry,
            context,
            operation: Operation::Create,
            resource: &target.resource,
            namespace: &target.namespace,
            name,
            subresource: "",
            object: Some(object),
            old: None,
            dry_run: options.dry_run,
            tracked: None,
        }
    }

    /// The name of the object. What is being created has it in itself.
    pub(crate) fn object_name(&self) -> &str {
        match self.name {
            "" => self.object.as_ref().map(meta::name).unwrap_or_default(),
            name => name,
        }
    }
}

/// Judges every write. `admit` runs on the defaulted object before its kind's rules, `validate`
/// after them on what would be stored.
pub trait Admission: Send + Sync {
    /// May change `attributes.object`.
    ///
    /// # Errors
    /// When the write is refused.
    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// Only looks.
    ///
    /// # Errors
    /// When the write is refused.
    fn validate<'a>(&'a self, attributes: &'a Attributes<'_>)
    -> BoxFuture<'a, Result<(), Failure>>;
}

impl Registry {
    /// Runs both halves for a request whose object is not stored here, such as a connection.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn admit_only(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        let Some(admission) = self.0.admission.get() else { return Ok(()) };
        admission.admit(attributes).await?;
        admission.validate(attributes).await
    }

    pub(super) async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        match self.0.admission.get() {
            Some(admission) => admission.admit(attributes).await,
            None => Ok(()),
        }
    }

    pub(super) async fn admit_final(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        match self.0.admission.get() {
            Some(admission) => admission.validate(attributes).await,
            None => Ok(()),
        }
    }
}
