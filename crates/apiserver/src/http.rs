//! HTTP matters that know nothing of resources: bodies, queries, content negotiation, responses.

pub mod body;
pub mod compress;
pub mod negotiate;
pub mod query;
pub mod respond;
