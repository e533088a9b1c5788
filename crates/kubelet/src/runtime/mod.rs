//! The runtime's view of a Pod: what is there ([`records`]), and how sandboxes and containers are
//! described to the runtime so that they can be recognized again ([`labels`], [`sandbox`],
//! [`container`]).

pub mod container;
pub mod dns;
pub mod hosts;
pub mod labels;
pub mod records;
pub mod sandbox;
pub mod security;
