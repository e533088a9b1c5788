//! `cargo xtask tidy`: house rules that neither the compiler nor clippy knows.
//!
//! Each rule is a function from what it looks at to a list of [`Finding`]s; nothing here
//! changes a file. Runs in CI, offline.

mod dependencies;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// A breach of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// File, relative to the workspace, or name of a package.
    place: String,
    /// 0 where a line makes no sense.
    line: usize,
    problem: String,
}

impl Finding {
    fn new(place: impl Into<String>, line: usize, problem: impl Into<String>) -> Self {
        Self { place: place.into(), line, problem: problem.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.problem),
            line => write!(f, "{}:{line}: {}", self.place, self.problem),
        }
    }
}

/// Checks the whole tree and fails if anything was found.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    let mut files = Vec::new();
    rust_files(&root.join("crates"), &mut files)?;
    for path in &files {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let place = path.strip_prefix(root).unwrap_or(path).display().to_string();
        findings.extend(sources::check(&place, &text));
    }

    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let architecture =
        std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    findings.extend(dependencies::check(&metadata, &architecture));

    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {} files", findings.len(), files.len());
    }
    println!("tidy: {} files and {} packages", files.len(), metadata.packages.len());
    Ok(())
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}
