//! What every engine must do ([`contract`], [`model`]) and what must survive ([`crash`], [`power`]).

mod contract;
mod crash;
mod embedded;
mod model;
mod power;
