//! `image`: the images of nodes, where there is no registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use cluster::images::{self, Folder, Place};
use kubelet::cri::Runtime;
use kubelet::images::record::{Entry, Mark, Record};
use kubelet::images::{admin, archive};

use super::clusters::{clusters, print_table};

/// The kubelet's files on every node.
const KUBELET: &str = "/var/lib/kubelet";
/// The archive that clusters make of this program.
const RESERVED: &str = "ironclad.tar";
/// How much of an ID is enough to know it by.
const ID: usize = 13;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import image archives into nodes, and keep them there
    Import {
        /// Archives: docker or OCI, plain or compressed with gzip
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        nodes: Nodes,
        /// Seconds after which a node that has not imported them is given up
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        wait: u64,
    },
    /// List the images of nodes
    List {
        #[command(flatten)]
        nodes: Nodes,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Name of the cluster; without it `ironclad`, or this host itself if it is a node
    #[arg(long)]
    name: Option<String>,
    /// Names of nodes; all of them unless given
    #[arg(long = "node", value_delimiter = ',', value_name = "NODE")]
    chosen: Vec<String>,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Import { files, nodes, wait } => {
            import(&files, &nodes, Duration::from_secs(wait)).await
        }
        Command::List { nodes } => list(&nodes).await,
    }
}

async fn import(files: &[PathBuf], nodes: &Nodes, patience: Duration) -> anyhow::Result<()> {
    let mut archives = BTreeMap::new();
    for file in files {
        archive::contents(file).with_context(|| file.display().to_string())?;
        let name =
            admin::archive_name(file).with_context(|| format!("{} has no name", file.display()))?;
        if name == RESERVED {
            bail!("{}: {RESERVED} is the cluster's own archive; rename the file", file.display());
        }
        if let Some(other) = archives.insert(name, file) {
            bail!("{} and {} have the same name", other.display(), file.display());
        }
    }
    let folders = images::folders(clusters(), nodes.name.as_deref(), &nodes.chosen)?;
    let mut problems = Vec::new();
    for (name, file) in &archives {
        for folder in &folders {
            problems.extend(import_one(file, folder, name, patience).await?);
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// Gets one archive into the nodes of one folder; returns what went wrong.
async fn import_one(
    file: &Path,
    folder: &Folder,
    name: &str,
    patience: Duration,
) -> anyhow::Result<Vec<String>> {
    let mark = admin::put(file, &folder.path, name)
        .with_context(|| format!("copying {} to {}", file.display(), folder.path.display()))?;
    let seen_as = folder.seen_as.join(name);
    let outcomes = folder.places.iter().map(|place| outcome(place, &seen_as, mark, patience));
    let outcomes = futures::future::join_all(outcomes).await;
    let (mut problems, mut refused) = (Vec::new(), 0);
    for (Place { node, .. }, outcome) in folder.places.iter().zip(outcomes) {
        match outcome {
            Outcome::Read(Entry { error: None, images, .. }) => {
                for image in images {
                    let names = image.names.join(", ");
                    println!("{node}: {}", if names.is_empty() { &image.digest } else { &names });
                }
            }
            Outcome::Read(Entry { error: Some(error), .. }) => {
                refused += 1;
                problems.push(format!("{node}: {}: {error}", file.display()));
            }
            Outcome::Off => eprintln!("{node} is off: it imports {name} when it boots"),
            Outcome::Late => problems.push(format!(
                "{node}: {} was not imported within {} seconds; does the kubelet run?",
                file.display(),
                patience.as_secs()
            )),
        }
    }
    if refused == folder.places.len() {
        // Nobody can use it.
        std::fs::remove_file(folder.path.join(name))?;
    }
    Ok(problems)
}

/// What became of an archive on one node.
enum Outcome {
    Read(Entry),
    Late,
    Off,
}

async fn outcome(place: &Place, path: &Path, mark: Mark, patience: Duration) -> Outcome {
    if place.runtime.is_none() {
        return Outcome::Off;
    }
    let record = place.path(&Record::path(Path::new(KUBELET)));
    let entry = tokio::time::timeout(patience, admin::outcome(&record, path, mark)).await;
    entry.map_or(Outcome::Late, Outcome::Read)
}

async fn list(nodes: &Nodes) -> anyhow::Result<()> {
    let mut table = Vec::new();
    for place in images::places(clusters(), nodes.name.as_deref(), &nodes.chosen)? {
        let Some(socket) = &place.runtime else {
            eprintln!("{} is off", place.node);
            continue;
        };
        let runtime = Runtime::new(&socket.display().to_string())?;
        let record = place.path(&Record::path(Path::new(KUBELET)));
        let rows = admin::list(&runtime, &record).await;
        for row in
            rows.with_context(|| format!("asking the container runtime of {}", place.node))?
        {
            let id = row.id.trim_start_matches("sha256:");
            table.push([
                place.node.clone(),
                row.name.unwrap_or_else(|| "<none>".to_owned()),
                size(row.size),
                id.get(..ID).unwrap_or(id).to_owned(),
                if row.pinned { "yes" } else { "no" }.to_owned(),
            ]);
        }
    }
    print_table(["NODE", "IMAGE", "SIZE", "ID", "PINNED"], table);
    Ok(())
}

/// Bytes as people read them: three digits and a decimal unit.
fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while let Some(next) = units.next().filter(|_| number >= 999.5) {
        number /= 1000.0;
        unit = next;
    }
    match number {
        ..9.995 if unit != "B" => format!("{number:.2}{unit}"),
        ..99.95 if unit != "B" => format!("{number:.1}{unit}"),
        _ => format!("{number:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, wanted) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (12_345, "12.3kB"),
            (999_499, "999kB"),
            (999_500, "1.00MB"),
            (734_000_000, "734MB"),
        ] {
            assert_eq!(size(bytes), wanted);
        }
    }
}
