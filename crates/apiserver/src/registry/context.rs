//! What is known of a request besides what it addresses.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use machinery::Value;
use machinery::time::Timestamp;
use resources::Ctx;
use serde_json::json;

use crate::audit::{Annotations, Record};
use crate::authn::User;

/// Texts for the client that do not make its request fail. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds a text, once.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }

    /// Takes all texts out.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who makes a request, and what the client and the audit log are to be told.
#[derive(Debug, Clone)]
pub struct Context {
    /// The user.
    pub user: Arc<User>,
    /// See [`Warnings`].
    pub warnings: Warnings,
    /// See [`Annotations`].
    pub annotations: Annotations,
    /// What is noted of the request, if anything is.
    pub(crate) audit: Option<Arc<Record>>,
    /// Whether it is a patch.
    patches: bool,
    /// Made when first needed: reads do without.
    info: OnceLock<Value>,
}

impl Context {
    /// A request of `user`.
    pub fn new(user: Arc<User>) -> Self {
        Self {
            user,
            warnings: Warnings::default(),
            annotations: Annotations::default(),
            audit: None,
            patches: false,
            info: OnceLock::new(),
        }
    }

    /// The same request, of which something is noted.
    pub(crate) fn recorded(self, record: Option<Arc<Record>>) -> Self {
        let annotations = record.as_ref().map(|record| record.annotations()).unwrap_or_default();
        Self { annotations, audit: record, ..self }
    }

    /// The same request, with the verb that it is authorized by.
    pub(crate) fn with_verb(self, verb: &str) -> Self {
        Self { patches: verb == "patch", ..self }
    }

    /// The verb of a change: `update` or `patch`.
    pub(crate) fn change_verb(&self) -> &'static str {
        if self.patches { "patch" } else { "update" }
    }

    /// What the server does on its own behalf.
    pub fn internal() -> Self {
        Self::new(Arc::new(User::api_server()))
    }

    pub(super) fn strategy(&self, now: Timestamp) -> Ctx<'_> {
        Ctx { now, user: self.user_info() }
    }

    /// The user in the form of `authentication.k8s.io` UserInfo.
    pub(crate) fn user_info(&self) -> &Value {
        self.info.get_or_init(|| info(&self.user))
    }
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}
