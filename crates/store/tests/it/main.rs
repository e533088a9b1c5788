//! What every engine must do ([`contract`], [`model`]) and what must survive ([`crash`], [`dead`], [`full`],
//! [`power`]).

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod contract;
mod crash;
mod damage;
mod dead;
mod embedded;
mod etcd;
mod full;
mod model;
mod power;
mod snapshot;
