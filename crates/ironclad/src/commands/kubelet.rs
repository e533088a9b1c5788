//! `ironclad kubelet`.

use std::path::PathBuf;

use clap::Args;
use kubelet::config::{Config, KubeletConfiguration};
use tokio_util::sync::CancellationToken;

use super::features::{self, Component};

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The KubeletConfiguration
    #[arg(long)]
    config: Option<PathBuf>,
    /// How the API server is reached; only static Pods run without one
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// How a client certificate is asked for as long as the kubeconfig has none that is good
    #[arg(long, requires = "kubeconfig")]
    bootstrap_kubeconfig: Option<PathBuf>,
    /// Whether the kubeconfig and the client authorities follow those that the cluster publishes
    #[arg(long, requires = "kubeconfig")]
    follow_authorities: bool,
    /// Name of this node; the host name unless given
    #[arg(long)]
    hostname_override: Option<String>,
    /// Addresses of this node; that of the default route unless given
    #[arg(long)]
    node_ip: Option<String>,
    /// Folder of the kubelet's files
    #[arg(long, default_value = "/var/lib/kubelet")]
    root_dir: PathBuf,
    /// A watched folder of image archives that are imported; may be given several times
    #[arg(long = "images-dir", value_name = "FOLDER")]
    images_dirs: Vec<PathBuf>,
    /// The image that the container runtime makes sandboxes of, should it not tell
    #[arg(long, value_name = "IMAGE")]
    sandbox_image: Option<String>,
    /// Configuration of the programs that know credentials of registries: a file, or a folder of files
    #[arg(long, requires = "image_credential_provider_bin_dir", value_name = "PATH")]
    image_credential_provider_config: Option<PathBuf>,
    /// Folder of those programs
    #[arg(long, requires = "image_credential_provider_config", value_name = "FOLDER")]
    image_credential_provider_bin_dir: Option<PathBuf>,
    /// Labels that the node registers with, as name=value
    #[arg(long, value_delimiter = ',', value_parser = label)]
    node_labels: Vec<(String, String)>,
    #[command(flatten)]
    features: features::Flags,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let shared = match &flags.config {
        Some(path) => KubeletConfiguration::load(path)?,
        None => KubeletConfiguration::default(),
    };
    flags.features.set_up(Component::Kubelet, shared.feature_gates.clone())?;
    shared.check_features()?;
    let config = Config {
        node_name: flags.hostname_override,
        kubeconfig: flags.kubeconfig,
        bootstrap_kubeconfig: flags.bootstrap_kubeconfig,
        follow_authorities: flags.follow_authorities,
        node_ip: flags.node_ip,
        root_dir: flags.root_dir,
        images_dirs: flags.images_dirs,
        sandbox_image: flags.sandbox_image,
        credential_providers: flags
            .image_credential_provider_config
            .zip(flags.image_credential_provider_bin_dir),
        node_labels: flags.node_labels.into_iter().collect(),
        ..Config::new(shared)
    };
    Ok(kubelet::run(config, shutdown).await?)
}
