//! Rules about who may depend on what.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Finding;

/// What `cargo metadata` says, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    #[serde(default)]
    workspace_members: Vec<String>,
    resolve: Option<Resolve>,
}

#[derive(Deserialize)]
pub(super) struct Package {
    id: String,
    name: String,
    license: Option<String>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

/// The crates of the project that a crate may use. ARCHITECTURE.md explains why; the order is
/// from the bottom up, so that every arrow points back in this list.
const ARROWS: [(&str, &[&str]); 23] = [
    ("machinery", &[]),
    ("e2e", &[]),
    ("image", &[]),
    ("store", &[]),
    ("streams", &[]),
    ("component", &[]),
    ("cel", &["machinery"]),
    ("resources", &["cel", "machinery"]),
    ("customresources", &["cel", "machinery", "resources"]),
    ("client", &["component", "machinery"]),
    (
        "apiserver",
        &["cel", "component", "customresources", "machinery", "resources", "store", "streams"],
    ),
    ("controllers", &["cel", "client", "component", "machinery", "resources"]),
    ("scheduler", &["client", "component", "machinery"]),
    ("kubelet", &["client", "component", "machinery", "streams"]),
    ("proxy", &["client", "component", "machinery"]),
    ("dns", &["client", "component", "machinery"]),
    ("cluster", &["client", "component", "image", "machinery"]),
    ("bench", &["client", "machinery"]),
    ("drills", &["client", "cluster", "component"]),
    (
        "ironclad",
        &[
            "apiserver",
            "bench",
            "client",
            "cluster",
            "component",
            "controllers",
            "dns",
            "drills",
            "kubelet",
            "proxy",
            "scheduler",
            // Commands for a store that is stopped.
            "store",
        ],
    ),
    (
        "testkit",
        &[
            "apiserver",
            "client",
            "cluster",
            "component",
            "machinery",
            "resources",
            "store",
            "streams",
        ],
    ),
    ("fuzz", &["cel", "machinery", "streams"]),
    ("xtask", &["image"]),
];

/// Crates that tests of any crate may use.
const FOR_TESTS: [&str; 2] = ["image", "testkit"];

/// Where an error without a type is good enough.
const ANYHOW: [&str; 4] = ["ironclad", "xtask", "testkit", "bench"];

/// One TLS stack, one runtime, one cryptography provider.
const BANNED: [&str; 8] = [
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
    "async-std",
    "smol",
    "boring",
];

const LICENCES: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "BSL-1.0",
    "CC0-1.0",
];

/// Crates that name a file rather than a licence, and what stands in it.
const LICENCE_FILES: [(&str, &str); 1] = [("libyaml-safer", "MIT")];

pub(super) fn check(metadata: &Metadata, architecture: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let members: BTreeSet<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let used: Option<BTreeSet<&str>> = metadata
        .resolve
        .as_ref()
        .map(|resolve| resolve.nodes.iter().map(|node| node.id.as_str()).collect());
    let mut direct = BTreeSet::new();

    for package in &metadata.packages {
        if members.contains(package.id.as_str()) {
            findings.extend(check_member(package, &arrows));
            let outside = package.dependencies.iter().filter(|d| d.path.is_none());
            direct.extend(outside.map(|d| d.name.as_str()));
        } else if used.as_ref().is_none_or(|used| used.contains(package.id.as_str())) {
            findings.extend(check_outside(package));
        }
    }
    for name in direct {
        if !architecture.contains(&format!("`{name}`")) {
            let problem = format!("say in ARCHITECTURE.md why `{name}` was chosen");
            findings.push(Finding::new("ARCHITECTURE.md", 0, problem));
        }
    }
    findings
}

fn check_member(package: &Package, arrows: &BTreeMap<&str, &[&str]>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |problem: String| findings.push(Finding::new(&package.name, 0, problem));
    if package.license.as_deref() != Some("Apache-2.0") {
        report("needs `license.workspace = true`".into());
    }
    let Some(allowed) = arrows.get(package.name.as_str()) else {
        report("give it a place in the arrows of tidy::dependencies".into());
        return findings;
    };
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let for_tests = dependency.kind.as_deref() == Some("dev");
        if dependency.path.is_some() {
            let fine = allowed.contains(&name) || (for_tests && FOR_TESTS.contains(&name));
            if !fine && name != package.name {
                report(format!("must not depend on {name}"));
            }
        } else if name == "anyhow" && !for_tests && !ANYHOW.contains(&package.name.as_str()) {
            report("errors are enums here, not anyhow".into());
        }
    }
    findings
}

fn check_outside(package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |problem: String| findings.push(Finding::new(&package.name, 0, problem));
    if BANNED.contains(&package.name.as_str()) {
        report("is not wanted here".into());
    }
    let read = || LICENCE_FILES.iter().find(|(name, _)| *name == package.name);
    match package.license.as_deref().or_else(|| read().map(|(_, licence)| *licence)) {
        Some(licence) if is_allowed(licence) => {}
        Some(licence) => report(format!("licence {licence}")),
        None => report("no licence".into()),
    }
    findings
}

/// Whether one of the alternatives of a licence expression is made of allowed parts only.
fn is_allowed(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    flat.split(" OR ")
        .any(|alternative| alternative.split(" AND ").all(|part| LICENCES.contains(&part.trim())))
}
