//! Claims and volumes are protected from the beginning: they stay for as long as they are used,
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection>.
//! Controllers take the protection away.

use machinery::meta;

use super::{Plugin, is};
use crate::registry::{Attributes, Failure, Operation};

const PROTECTED: [(&str, &str); 2] = [
    ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("persistentvolumes", "kubernetes.io/pv-protection"),
];

pub(super) struct StorageInUse;

impl Plugin for StorageInUse {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        let finalizer = PROTECTED
            .into_iter()
            .find(|(resource, _)| is(attributes, Operation::Create, "", resource))
            .map(|(_, finalizer)| finalizer);
        if let (Some(finalizer), Some(object)) = (finalizer, &mut attributes.object) {
            let mut all: Vec<String> = meta::finalizers(object).map(str::to_owned).collect();
            if !all.iter().any(|known| known == finalizer) {
                all.push(finalizer.to_owned());
                meta::set_finalizers(object, all);
            }
        }
        Ok(())
    }
}
