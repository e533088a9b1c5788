//! `ironclad store`: what an administrator does with a store, most of it while it is stopped.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use store::embedded::{Report, Stopped};

use super::snapshot::{Where, find};

/// Keys of one kind that are shown.
const SHOWN: usize = 200;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read all of the file of a stopped store and say whether it is whole
    Check {
        /// The file, store.redb in the API server's data folder; without it, the etcd members of a
        /// running cluster are compared
        file: Option<PathBuf>,
        #[command(flatten)]
        cluster: Where,
    },
    /// Write what can be read of a damaged file into a new one
    Repair {
        /// The file of a stopped store
        file: PathBuf,
        /// The new file; FILE.repaired unless given
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Give room back that nothing takes any more
    Defrag {
        /// The file of a stopped store; without it, that of a running cluster
        file: Option<PathBuf>,
        #[command(flatten)]
        cluster: Where,
    },
    /// Show how the store of a running cluster is
    Status {
        #[command(flatten)]
        cluster: Where,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check { file: Some(file), .. } => check(&file),
        Command::Check { file: None, cluster } => compare(&cluster).await,
        Command::Repair { file, output } => repair(&file, output),
        Command::Defrag { file: Some(file), .. } => {
            let (before, after) = stopped(&file)?.defragment()?;
            println!("{}: {before} bytes before, {after} now", file.display());
            Ok(())
        }
        Command::Defrag { file: None, cluster } => ask("POST", "/store/defrag", &cluster).await,
        Command::Status { cluster } => ask("GET", "/store/status", &cluster).await,
    }
}

fn stopped(file: &Path) -> anyhow::Result<Stopped> {
    Stopped::lock(file)?.with_context(|| format!("{} does not exist", file.display()))
}

fn check(file: &Path) -> anyhow::Result<()> {
    let report = stopped(file)?.check(SystemTime::now())?;
    if report.is_whole() {
        println!(
            "{} is whole: {} bytes, {} in use; {} keys at revision {}, {} records since revision {}, {} leases",
            file.display(),
            report.bytes,
            report.used_bytes,
            report.keys,
            report.revision,
            report.records,
            report.compacted,
            report.leases
        );
        return Ok(());
    }
    show(&report);
    bail!(
        "{0} is damaged; `ironclad store repair {0}` saves {1} keys, and `ironclad snapshot restore` goes back to a snapshot",
        file.display(),
        report.keys
    );
}

fn repair(file: &Path, output: Option<PathBuf>) -> anyhow::Result<()> {
    let output = output.unwrap_or_else(|| file.with_added_extension("repaired"));
    if output.exists() {
        bail!("{} exists already", output.display());
    }
    let report = stopped(file)?.repair(&output, SystemTime::now())?;
    if report.is_whole() {
        println!("{} is whole; there is nothing to repair", file.display());
        return Ok(());
    }
    show(&report);
    println!("Saved {} keys in {}. To use it:", report.keys, output.display());
    println!("  mv {0} {0}.damaged && mv {1} {0}", file.display(), output.display());
    Ok(())
}

fn show(report: &Report) {
    let list = |title: &str, keys: &mut dyn Iterator<Item = String>| {
        let keys: Vec<String> = keys.collect();
        if keys.is_empty() {
            return;
        }
        println!("{title} ({}):", keys.len());
        keys.iter().take(SHOWN).for_each(|key| println!("  {key}"));
        if keys.len() > SHOWN {
            println!("  and {} more", keys.len() - SHOWN);
        }
    };
    list("Damage", &mut report.damage.iter().cloned());
    let lost = |lost: &store::embedded::Lost| format!("{} (revision {})", lost.key, lost.revision);
    list("Lost keys", &mut report.lost.iter().map(lost));
    let revisions = report.lost_revisions.iter();
    let range = |range: &std::ops::RangeInclusive<u64>| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} to {last}"),
    };
    list("Lost revisions, whose keys are as they were before", &mut revisions.map(range));
    if report.open_end {
        println!("The end of the log is lost: what was written last is not known");
    }
    if report.keys_unknown {
        println!("The list of keys is damaged too: more may be lost than is known");
    }
    list("Found outside of the tables", &mut report.recovered.iter().cloned());
    let unproven = report.unproven.iter().cloned();
    list("Found likewise, but perhaps deleted before", &mut { unproven });
}

/// Whether the members of a running etcd cluster hold the same.
async fn compare(cluster: &Where) -> anyhow::Result<()> {
    let told = answer("GET", "/store/check", cluster).await?;
    let members = told["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    for member in members {
        println!(
            "{:<20} {}",
            member["name"].as_str().unwrap_or_default(),
            member["hash"].as_str().unwrap_or_default()
        );
    }
    if told["same"] != true {
        bail!(
            "the members differ at revision {}; remove the one that differs from the others, empty its data folder and let it join anew",
            told["revision"]
        );
    }
    println!("{} members hold the same at revision {}", members.len(), told["revision"]);
    Ok(())
}

async fn ask(method: &str, path: &str, cluster: &Where) -> anyhow::Result<()> {
    let status = answer(method, path, cluster).await?;
    println!("{}", serde_json::to_string_pretty(&status)?);
    Ok(())
}

async fn answer(method: &str, path: &str, cluster: &Where) -> anyhow::Result<serde_json::Value> {
    let client = find(cluster)?.client().await?;
    let request = http::Request::builder().method(method).uri(path).body(Vec::new())?;
    Ok(client.request(request).await?)
}
