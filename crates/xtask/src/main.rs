//! Chores of the project: generated data, style checks and test images.
//!
//! Run as `cargo xtask <command>`. Commands that generate files are run by hand when
//! their source changes and their output is committed; `tidy` runs in CI.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

mod discovery;
mod images;
mod schema;
mod tidy;

/// Chores of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write crates/machinery/data/schema.txt from the tables of API facts.
    Schema {
        /// Folder with k8s-<release>-schema.json.
        #[arg(long)]
        from: PathBuf,
    },
    /// Write crates/resources/data/resources.json from the tables of discovery and
    /// printer facts.
    Discovery {
        /// Folder with k8s-<release>-discovery.json and printer-columns.json.
        #[arg(long)]
        from: PathBuf,
    },
    /// Check the house rules: sources, dependencies, licences.
    Tidy,
    /// Write the images of tests and of the sample application, as archives that container
    /// runtimes import.
    Image {
        /// Statically linked busybox.
        #[arg(long, default_value = "/bin/busybox")]
        busybox: PathBuf,
        /// Folder to write to.
        #[arg(long, default_value = "out/images")]
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    let root = workspace_root();
    match Cli::parse().command {
        Command::Schema { from } => schema::generate(&root, &from),
        Command::Discovery { from } => discovery::generate(&root, &from),
        Command::Tidy => tidy::run(&root),
        Command::Image { busybox, out } => images::write(&busybox, &out),
    }
}

/// The folder of the workspace: two levels above this crate.
fn workspace_root() -> PathBuf {
    let crate_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_dir.ancestors().nth(2).map(PathBuf::from).unwrap_or(crate_dir)
}

/// Writes a file that is generated and committed.
fn write_generated(target: &Path, text: &str) -> Result<()> {
    let folder = target.parent().context("a generated file is in a folder")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(target, text))
        .with_context(|| format!("writing {}", target.display()))?;
    println!("{}: {} bytes", target.display(), text.len());
    Ok(())
}

/// Compares a committed file with what its source gives, where the source is at hand.
#[cfg(test)]
fn check_generated(target: &str, convert: impl FnOnce(&Path) -> Result<String>) {
    let root = workspace_root();
    let facts = root.join("../shared/data");
    if !facts.exists() {
        eprintln!("NOT RUN: no API facts at {}", facts.display());
        return;
    }
    let committed = std::fs::read_to_string(root.join(target)).unwrap();
    let fresh = convert(&facts).unwrap();
    assert!(committed == fresh, "{target} is out of date: run its xtask command again");
}
