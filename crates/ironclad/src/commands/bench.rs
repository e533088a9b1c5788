//! `ironclad bench`: measurements, never tests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bench::connection::Target;
use bench::report::Report;
use clap::{Args, Subcommand};
use client::ConnectOptions;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
    /// The kubeconfig of the cluster that is measured
    #[arg(long, env = "KUBECONFIG", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Print JSON rather than a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes and reads of 1 KiB ConfigMaps
    Api {
        /// Seconds that each scenario lasts
        #[arg(long, default_value_t = 5, value_name = "SECONDS")]
        duration: u64,
        /// Objects of the long list; 0 leaves it out
        #[arg(long, default_value_t = 17_000)]
        objects: usize,
    },
    /// From the request for a Pod to the status that says it runs
    Pods {
        /// How many Pods, one after the other
        #[arg(long, default_value_t = 20)]
        count: usize,
        /// An image that the nodes have and that has `sleep`
        #[arg(long, default_value = "ironclad.local/busybox:1")]
        image: String,
    },
}

pub(crate) async fn run(flags: Bench, shutdown: CancellationToken) -> anyhow::Result<()> {
    let kubeconfig = flags.kubeconfig.context("--kubeconfig or KUBECONFIG says what to measure")?;
    let work = async {
        match flags.what {
            What::Api { duration, objects } => {
                let target = Target::from_kubeconfig(&kubeconfig).await?;
                let duration = Duration::from_secs(duration);
                let options = bench::api::Options { duration, objects };
                anyhow::Ok(bench::api::run(&target, &options).await?)
            }
            What::Pods { count, image } => {
                let connect = ConnectOptions {
                    kubeconfig: Some(kubeconfig.clone()),
                    user_agent: "ironclad-bench".to_owned(),
                };
                let client = client::connect(&connect).await?;
                let options = bench::pods::Options { count, image };
                Ok(Report { scenarios: vec![bench::pods::run(&client, &options).await?] })
            }
        }
    };
    let report = tokio::select! {
        report = work => report?,
        () = shutdown.cancelled() => anyhow::bail!("interrupted"),
    };
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
