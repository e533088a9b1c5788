//! Flags that say how image registries are reached.

use clap::Args;
use cluster::registries::Registries;

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Mirrors of a registry that nodes ask before itself; may be given several times
    #[arg(long, value_name = "HOST=URL[,URL]")]
    registry_mirror: Vec<String>,
    /// Certificate of an authority that nodes trust for a registry or a mirror; may be given several times
    #[arg(long, value_name = "HOST=FILE")]
    registry_ca: Vec<String>,
}

impl Flags {
    pub(crate) fn registries(&self) -> anyhow::Result<Registries> {
        let mut registries = Registries::default();
        for text in &self.registry_mirror {
            registries.add_mirrors(text)?;
        }
        for text in &self.registry_ca {
            registries.add_authority(text)?;
        }
        Ok(registries)
    }
}
