//! `ironclad bench`: measurements, never tests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bench::api::Options;
use bench::connection::{self, Protocol, Target};
use bench::report::Report;
use clap::{Args, Subcommand, ValueEnum};
use client::ConnectOptions;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
    /// The kubeconfig of the cluster that is measured
    #[arg(long, env = "KUBECONFIG", global = true)]
    kubeconfig: Option<PathBuf>,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes, reads and watches, beside what they are meant to reach
    Api(Api),
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

#[derive(Debug, Args)]
struct Api {
    /// Seconds that each scenario lasts
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    duration: u64,
    /// ConfigMaps of the long list
    #[arg(long, default_value_t = 17_000)]
    objects: usize,
    /// Pods of the list by node
    #[arg(long, default_value_t = 2_000)]
    pods: usize,
    /// Custom objects of the list of them
    #[arg(long, default_value_t = 5_000)]
    custom: usize,
    /// Watchers of one collection
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,
    /// The version of HTTP
    #[arg(long, value_enum, default_value_t = Http::V1)]
    http: Http,
    /// How objects are written on the wire
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Format::Json, Format::Protobuf])]
    format: Vec<Format>,
    /// Only scenarios whose name contains one of these
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// The server's process, if it cannot be found from a connection to it
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Seconds that the server has to give memory back before the last look at it
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    settle: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Http {
    /// HTTP/1.1: every watch has a connection of its own
    #[value(name = "1.1")]
    V1,
    /// HTTP/2: watches share connections
    #[value(name = "2")]
    V2,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// application/json
    Json,
    /// application/vnd.kubernetes.protobuf
    Protobuf,
}

impl Api {
    fn options(self) -> Options {
        let formats = self.format.into_iter().map(|format| match format {
            Format::Json => connection::Format::Json,
            Format::Protobuf => connection::Format::Protobuf,
        });
        Options {
            duration: Duration::from_secs(self.duration),
            objects: self.objects,
            pods: self.pods,
            custom: self.custom,
            watchers: self.watchers,
            protocol: match self.http {
                Http::V1 => Protocol::Http1,
                Http::V2 => Protocol::Http2,
            },
            formats: formats.collect(),
            only: self.only,
            server_pid: self.server_pid,
            settle: Duration::from_secs(self.settle),
        }
    }
}

pub(crate) async fn run(flags: Bench, shutdown: CancellationToken) -> anyhow::Result<()> {
    let kubeconfig = flags.kubeconfig.context("--kubeconfig or KUBECONFIG says what to measure")?;
    let work = async {
        match flags.what {
            What::Api(flags) => {
                let target = Target::from_kubeconfig(&kubeconfig).await?;
                anyhow::Ok(bench::api::run(&target, &flags.options()).await?)
            }
            What::Pods { count, image } => {
                let connect = ConnectOptions {
                    kubeconfig: Some(kubeconfig.clone()),
                    user_agent: "ironclad-bench".to_owned(),
                };
                let client = client::connect(&connect).await?;
                let options = bench::pods::Options { count, image };
                let scenarios = vec![bench::pods::run(&client, &options).await?];
                Ok(Report { scenarios, ..Report::default() })
            }
        }
    };
    let report = tokio::select! {
        report = work => report?,
        () = shutdown.cancelled() => anyhow::bail!("interrupted"),
    };
    match flags.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Table => print!("{report}"),
    }
    Ok(())
}
