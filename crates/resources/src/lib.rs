//! The built-in resources of the Kubernetes API: one [`Registration`] each, with its names,
//! columns, selectable fields and [`Strategy`].
//!
//! A write flows: decode, [`Registration::default`], admission, [`Registration::prepare_create`]
//! or [`Registration::prepare_update`], then the matching `check_`; what passes is stored.
//!
//! Invariants: everything is a pure function of the objects, the user and the time of the request;
//! rules that all kinds share are written once, in [`Registration`]; texts of errors are those of
//! upstream, because people and tests read them.

mod amounts;
#[cfg(test)]
mod checks;
pub mod columns;
mod convert;
mod cursor;
mod declarative;
mod enablement;
#[cfg(test)]
mod golden;
pub mod kinds;
mod object_meta;
pub mod quota;
mod reach;
mod registration;
pub mod selectable;
pub mod strategy;

pub use columns::{ColumnDefinition, Columns};
pub use convert::{Conversion, Step, WebhookConversion};
pub use declarative::follows_feature;
pub use enablement::{Enablement, EnablementError};
pub use kinds::batch::Schedule;
pub use kinds::flowcontrol::mandatory as mandatory_flow_control;
pub use kinds::pod::resources::total as pod_total;
pub use kinds::service;
pub use object_meta::check_embedded as check_embedded_metadata;
pub use registration::{Registration, ScalePaths, Storage, Subresource, all, find, find_kind};
pub use selectable::{Read, SelectableField, SelectableFields};
pub use strategy::{
    Ctx, Generation, PlainSubdomain, Propagation, StatusMetadata, StatusOnCreate, Strategy,
};
