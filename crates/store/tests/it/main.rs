//! What every engine must do ([`contract`], [`model`]) and what must survive ([`crash`], [`power`]).

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod contract;
mod crash;
mod embedded;
mod etcd;
mod model;
mod power;
