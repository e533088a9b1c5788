//! `ironclad drill`: break a cluster on purpose, and see it recover.

use clap::{Args, Subcommand, ValueEnum};
use drills::{Format, Request};
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::clusters::clusters;
use crate::output::BROKEN_PIPE;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all drills: what each does, and what must be seen
    List,
    /// Run drills; exits with 1 when one fails
    Run(Run),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Names of drills
    #[arg(value_name = "NAME", conflicts_with = "all")]
    names: Vec<String>,
    /// Run all drills
    #[arg(long)]
    all: bool,
    /// The cluster to run them on, which nobody else should be using; without it, one is made for
    /// them and removed again
    #[arg(long, value_name = "CLUSTER")]
    name: Option<String>,
    /// How often each is run
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// What is printed: a timeline as it happens, or all timings as JSON at the end
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(crate) async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Command::Run(flags) = command else {
        for drill in &drills::catalogue::ALL {
            println!(
                "{}: {}\n  done: {}\n  seen: {}",
                drill.name, drill.purpose, drill.done, drill.seen
            );
        }
        return Ok(());
    };
    let request = Request {
        names: flags.names,
        all: flags.all,
        clusters: clusters().to_owned(),
        cluster: flags.name,
        repeat: flags.repeat,
        format: match flags.output {
            Output::Text => Format::Text,
            Output::Json => Format::Json,
        },
    };
    const FAILED: u8 = 1;
    match drills::run(&request, &shutdown, |text| println!("{text}")).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Exit(FAILED).into()),
        Err(drills::Error::Unread) => Err(Exit(BROKEN_PIPE).into()),
        Err(error) => Err(error.into()),
    }
}
