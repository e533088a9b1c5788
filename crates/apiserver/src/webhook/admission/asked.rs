//! Authorization checks of expressions.

use std::sync::Arc;

use crate::authn::User;
use crate::authz::{self, Authorizer};
use crate::registry::Attributes;

/// Answers an expression's questions for the user of the request.
pub(crate) struct Asked {
    authorizer: Arc<Authorizer>,
    user: Arc<User>,
}

impl Asked {
    /// The variable `authorizer` of expressions about a request.
    pub(crate) fn of(attributes: &Attributes<'_>, authorizer: &Arc<Authorizer>) -> cel::Authorizer {
        let (authorizer, user) = (authorizer.clone(), attributes.context.user.clone());
        cel::Authorizer::new(Arc::new(Self { authorizer, user }))
    }
}

impl cel::Authorize for Asked {
    fn authorize(
        &self,
        account: Option<&(String, String)>,
        request: &cel::Request,
    ) -> cel::Decision {
        let account = account.map(|(namespace, name)| account_user(namespace, name));
        let user = account.as_ref().unwrap_or(&*self.user);
        let attributes = authz::Attributes {
            user,
            verb: &request.verb,
            is_resource: request.path.is_none(),
            group: &request.group,
            version: "*",
            resource: &request.resource,
            subresource: &request.subresource,
            namespace: &request.namespace,
            name: &request.name,
            path: request.path.as_deref().unwrap_or_default(),
            field_selector: request.field_selector.as_deref().unwrap_or_default(),
        };
        let (allowed, reason) = match self.authorizer.authorize(&attributes) {
            authz::Decision::Allow(reason) => (true, reason),
            authz::Decision::NoOpinion(reason) => (false, reason),
        };
        cel::Decision { allowed, reason, error: None }
    }
}

fn account_user(namespace: &str, name: &str) -> User {
    let all = "system:serviceaccounts";
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec![all.to_owned(), format!("{all}:{namespace}")],
        ..User::default()
    }
    .authenticated()
}
