//! What every engine must do ([`contract`], [`model`]) and what must survive ([`crash`], [`full`], [`power`]).

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod contract;
mod crash;
mod damage;
mod embedded;
mod etcd;
mod full;
mod model;
mod power;
mod snapshot;
