//! The language: what expressions give, which errors they make, what they cost.

mod costs;
mod errors;
mod expressions;
mod robustness;
