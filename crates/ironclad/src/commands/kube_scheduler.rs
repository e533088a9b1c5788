//! `ironclad kube-scheduler`.

use std::path::PathBuf;

use apiserver::features::Choices;
use clap::{ArgAction, Args};
use client::ConnectOptions;
use scheduler::Config;
use tokio_util::sync::CancellationToken;

use super::features::{self, Component};

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// How the API server is reached; the Pod's service account unless given
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Whether only the holder of the lease acts
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    leader_elect: bool,
    #[command(flatten)]
    features: features::Flags,
}

pub(crate) async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    flags.features.set_up(Component::Scheduler, Choices::new())?;
    let connect =
        ConnectOptions { kubeconfig: flags.kubeconfig, user_agent: "kube-scheduler".to_owned() };
    let mut config = Config::new(connect, &client::leader::identity());
    if !flags.leader_elect {
        config.leader = None;
    }
    Ok(scheduler::run(config, shutdown).await?)
}
