//! The API server: the gateway to the cluster's state and the only one that opens the store.
//!
//! Flow of a request: connection ([`server`]) → [`pipeline`]: authentication ([`authn`]), flow
//! control, authorization ([`authz`]) → [`handlers`]: decoding, options → [`registry`]: admission
//! ([`admission`]), validation, storage → response in the form the client takes.
//!
//! Invariants: each of those steps is in one place and no handler repeats it; no handler knows a
//! kind, except the few whose answer is not an object (logs, reviews, tokens).

pub mod admission;
mod aggregation;
pub mod audit;
pub mod authn;
pub mod authz;
mod backup;
pub mod bootstrap;
pub mod cache;
mod component_status;
mod config;
mod credentials;
mod custom;
pub mod discovery;
mod feed;
mod flow;
pub mod handlers;
mod health;
pub mod http;
mod members;
mod metrics;
mod outward;
pub mod pipeline;
pub mod registry;
pub mod request_info;
pub mod reviews;
mod server;
mod webhook;

pub use cache::ROOT;
pub use config::Config;
pub use machinery::duration::parse as parse_duration;
pub use machinery::{features, hex};
pub use metrics::resource_of_key;
pub use resources::{Enablement, follows_feature};
pub use server::{Error, STORE_FILE, run, serve};
pub use store::etcd::Options as EtcdOptions;
