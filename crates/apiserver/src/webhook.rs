//! Webhooks: other people's programs that this server asks over HTTPS.
//!
//! Data flow: a review object → [`Caller::call`] (who is asked is a [`ClientConfig`], reached
//! through a Service or a URL, trusted by its certificate) → the review with a response, which
//! [`conversion`] and [`admission`] check for what it means.
//!
//! Invariants: a call ends within its timeout and with the request it belongs to; what a webhook
//! answers is believed only after it was checked; connections are kept per webhook.

pub(crate) mod admission;
mod answer;
mod caller;
mod config;
pub(crate) mod conversion;

pub(crate) use caller::Caller;
pub(crate) use config::ClientConfig;
