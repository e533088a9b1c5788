//! Issuing a certificate anew, by hand or in time.

use std::path::Path;
use std::time::Duration;

use component::pki::{self, Authority, Certificate};

use super::files::{self, FileError};
use super::inventory::{self, Entry};

/// Why a certificate is not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// A file is of no use.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority's key is not here.
    #[error(
        "{certificate} is externally managed: the key of its authority {authority} is not here"
    )]
    External {
        /// The certificate.
        certificate: &'static str,
        /// The authority.
        authority: &'static str,
    },
    /// There is none, so nothing says what the new one should say.
    #[error("{0} is missing, or holds no certificate")]
    Missing(&'static str),
    /// Signing failed.
    #[error("{certificate}: {source}")]
    Sign {
        /// The certificate.
        certificate: &'static str,
        /// Why.
        #[source]
        source: pki::Error,
    },
}

/// Issues a certificate below `root` anew: it says what the old one says, and is good for `validity`
/// from now, but not longer than its authority.
///
/// # Errors
/// [`RenewError`]; the old one stays in place then.
pub fn renew(root: &Path, entry: &Entry, validity: Duration) -> Result<(), RenewError> {
    let authority = inventory::authority(entry.authority);
    let path = root.join(authority.path);
    let bundle = files::text(&path.with_added_extension("crt"))?;
    let key = files::text(&path.with_added_extension("key"))?;
    let Some((bundle, key)) = bundle.zip(key) else {
        return Err(RenewError::External { certificate: entry.name, authority: authority.name });
    };
    let old = files::read(root, entry)?.certificate;
    let old = old.and_then(|text| Certificate::parse(text.as_bytes()));
    let old = old.ok_or(RenewError::Missing(entry.name))?;
    let pair = Authority::load(&bundle, &key).and_then(|authority| authority.renew(&old, validity));
    let pair = pair.map_err(|source| RenewError::Sign { certificate: entry.name, source })?;
    Ok(files::write(root, entry, &pair, &bundle)?)
}
