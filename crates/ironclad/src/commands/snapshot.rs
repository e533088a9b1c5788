//! `ironclad snapshot`: save, list, look at and restore the state of a cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use apiserver::hex;
use bytes::Bytes;
use clap::{Args, Subcommand};
use cluster::config::SNAPSHOTS;
use cluster::site::{Server, Site};
use cluster::state;
use futures::{AsyncReadExt as _, Stream, stream};
use store::snapshot::{Entry, Snapshot, SnapshotError, folder, restore};

/// Where an API server's embedded store is unless it says otherwise.
const DATA: &str = "/var/lib/ironclad/store";
/// Bytes read from a connection at once.
const PART: usize = 64 << 10;
/// How long a server that does not listen any more may hold the store.
const CLOSING: Duration = Duration::from_secs(30);
/// Revisions that a store of several servers is moved ahead by: each one is a change that it makes.
const SHARED_BUMP: u64 = 100_000;

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Name of the cluster; without it `ironclad`, or this host's own control plane
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Save the state of a running cluster in a file
    Save {
        /// The file; without it, one in the cluster's folder of snapshots
        file: Option<PathBuf>,
        #[command(flatten)]
        cluster: Where,
        /// A kubeconfig of an administrator, for a cluster elsewhere
        #[arg(long, requires = "file", conflicts_with = "name")]
        kubeconfig: Option<PathBuf>,
    },
    /// List a cluster's snapshots, the scheduled ones too
    List {
        #[command(flatten)]
        cluster: Where,
    },
    /// Check a file and show what it holds
    Info {
        /// The file
        file: PathBuf,
    },
    /// Go back to the state in a file; the cluster's present state is kept aside
    Restore {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        cluster: Where,
        /// Restore the snapshot of another cluster
        #[arg(long)]
        force: bool,
        /// How far revisions are moved ahead of the newest one known
        #[arg(long, value_name = "N")]
        bump_revision: Option<u64>,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Save { file, cluster, kubeconfig } => save(file, &cluster, kubeconfig).await,
        Command::List { cluster } => list(&find(&cluster)?),
        Command::Info { file } => info(&file),
        Command::Restore { file, cluster, force, bump_revision } => {
            restore(&file, &find(&cluster)?, force, bump_revision).await
        }
    }
}

pub(crate) fn find(cluster: &Where) -> anyhow::Result<Site> {
    Ok(Site::find(Path::new(state::CLUSTERS), cluster.name.as_deref())?)
}

fn folder_of(server: &Server) -> PathBuf {
    server.path(server.flag("snapshot-dir").unwrap_or(SNAPSHOTS))
}

async fn save(
    file: Option<PathBuf>,
    cluster: &Where,
    kubeconfig: Option<PathBuf>,
) -> anyhow::Result<()> {
    let (client, folder) = match kubeconfig {
        Some(path) => (cluster::site::connect(&path).await?, PathBuf::new()),
        None => {
            let site = find(cluster)?;
            let folder = site.servers.first().map(folder_of).context("no API server is known")?;
            (site.client().await?, folder)
        }
    };
    let request = http::Request::get("/store/snapshot").body(Vec::new())?;
    let body = client.request_stream(request).await?;
    if let Some(file) = file {
        let bytes = folder::write(&file, parts(body, &file)).await?;
        return saved(&file, bytes);
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let incoming = folder.join("snapshot.incoming");
    if incoming.exists() {
        std::fs::remove_file(&incoming)?;
    }
    let bytes = folder::write(&incoming, parts(body, &incoming)).await?;
    let header = match Snapshot::open(&incoming, |_| {}) {
        Ok(snapshot) => snapshot.header,
        Err(error) => {
            std::fs::remove_file(&incoming)?;
            return Err(error.into());
        }
    };
    let name = folder::Name::new(folder::Reason::Manual, &header).to_string();
    let file = folder.join(name);
    std::fs::rename(&incoming, &file)?;
    saved(&file, bytes)
}

/// What came over the connection is looked at before anybody relies on it.
fn saved(file: &Path, bytes: u64) -> anyhow::Result<()> {
    let snapshot = match Snapshot::open(file, |_| {}) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            std::fs::remove_file(file)?;
            return Err(error).context("the snapshot did not arrive whole and was removed");
        }
    };
    println!(
        "Saved revision {} ({} keys, {bytes} bytes) in {}",
        snapshot.header.revision,
        snapshot.records,
        file.display()
    );
    Ok(())
}

fn parts<'a>(
    body: impl futures::AsyncBufRead + Send + 'a,
    file: &'a Path,
) -> impl Stream<Item = Result<Bytes, SnapshotError>> + 'a {
    stream::try_unfold(Box::pin(body), move |mut body| async move {
        let mut part = vec![0; PART];
        let failed = |source| SnapshotError::Io { path: file.to_owned(), source };
        let read = body.read(&mut part).await.map_err(failed)?;
        part.truncate(read);
        Ok((read > 0).then(|| (Bytes::from(part), body)))
    })
}

fn list(site: &Site) -> anyhow::Result<()> {
    println!("{:<60} {:>12} {:>12}  TAKEN", "FILE", "REVISION", "BYTES");
    for server in &site.servers {
        for found in folder::list(&folder_of(server))? {
            println!(
                "{:<60} {:>12} {:>12}  {}",
                found.path.display(),
                found.name.revision,
                found.bytes,
                found.name.created
            );
        }
    }
    Ok(())
}

fn info(file: &Path) -> anyhow::Result<()> {
    let mut resources: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let snapshot = Snapshot::open(file, |entry| {
        if let Entry::Record(kv) = entry {
            let counted = resources.entry(apiserver::resource_of_key(&kv.key)).or_default();
            counted.0 += 1;
            counted.1 += (kv.key.len() + kv.value.len()) as u64;
        }
    })?;
    let header = &snapshot.header;
    let hex = hex::digits(snapshot.sha256);
    println!("File:      {}", file.display());
    println!("Cluster:   {}", header.cluster);
    println!("Taken:     {}", header.created);
    println!("Engine:    {}", header.engine);
    println!("Revision:  {} (compacted {})", header.revision, header.compacted);
    println!("Keys:      {}", snapshot.records);
    println!("Leases:    {}", snapshot.leases);
    println!("Size:      {} bytes, {} unpacked", snapshot.file_bytes, snapshot.content_bytes);
    println!("SHA-256:   {hex} (right)");
    println!("\n{:<60} {:>8} {:>12}", "RESOURCE", "KEYS", "BYTES");
    for (resource, (keys, bytes)) in resources {
        println!("{resource:<60} {keys:>8} {bytes:>12}");
    }
    Ok(())
}

async fn restore(file: &Path, site: &Site, force: bool, bump: Option<u64>) -> anyhow::Result<()> {
    let snapshot = Snapshot::open(file, |_| {}).context("nothing was changed")?;
    if !force {
        same_cluster(&snapshot, site).await?;
    }
    eprintln!("Stopping the API server");
    site.stop().await?;
    let restored = put(&snapshot, site, bump).await;
    eprintln!("Starting the API server");
    let started = site.start().await;
    let restored = restored.context("the snapshot was not restored")?;
    started?;
    println!(
        "Restored {} keys of revision {}; the store goes on from revision {}",
        snapshot.records, snapshot.header.revision, restored.revision
    );
    if let Some(kept) = restored.kept {
        println!("The store as it was before is kept in {}", kept.display());
    }
    Ok(())
}

/// Whether the snapshot is of this cluster, if it can be asked.
async fn same_cluster(snapshot: &Snapshot, site: &Site) -> anyhow::Result<()> {
    let client = site.client().await?;
    let path = "/api/v1/namespaces/kube-system";
    let request = http::Request::get(path).body(Vec::new())?;
    let asked =
        tokio::time::timeout(Duration::from_secs(5), client.request::<serde_json::Value>(request));
    let Ok(Ok(namespace)) = asked.await else {
        eprintln!("The API server does not answer, so whose snapshot this is cannot be checked");
        return Ok(());
    };
    let here = namespace["metadata"]["uid"].as_str().unwrap_or_default();
    let there = snapshot.header.cluster.as_str();
    if !there.is_empty() && here != there {
        bail!(
            "{} is of another cluster ({there}, this one is {here}); nothing was changed, and --force restores it all the same",
            snapshot.path().display()
        );
    }
    Ok(())
}

async fn put(
    snapshot: &Snapshot,
    site: &Site,
    bump: Option<u64>,
) -> anyhow::Result<restore::Restored> {
    let server = site.servers.first().context("no API server is known")?;
    if let Some(options) = etcd(&site.servers) {
        let store = store::etcd::connect(&options).await?;
        keep(&store, server).await?;
        let bump = bump.unwrap_or(SHARED_BUMP);
        return Ok(restore::into_store(snapshot, &store, apiserver::ROOT, bump, |_| {}).await?);
    }
    let folder = server.path(server.flag("data-dir").unwrap_or(DATA));
    let path = folder.join(apiserver::STORE_FILE);
    let bump = bump.unwrap_or(restore::BUMP);
    let begun = tokio::time::Instant::now();
    loop {
        match restore::into_file(snapshot, &path, bump, SystemTime::now()) {
            // It has stopped listening and writes its last.
            Err(SnapshotError::Store(store::Error::Engine(text)))
                if text.ends_with("in use by another process") && begun.elapsed() < CLOSING =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return Ok(other?),
        }
    }
}

/// Saves what a shared store holds before it is changed.
async fn keep(store: &store::Store, server: &Server) -> anyhow::Result<()> {
    let now = SystemTime::now().try_into()?;
    let (header, parts) =
        store::snapshot::take(store.clone(), apiserver::ROOT, String::new(), now).await?;
    let folder = folder_of(server);
    std::fs::create_dir_all(&folder)?;
    let name = folder::Name::new(folder::Reason::Manual, &header).to_string();
    let file = folder.join(name);
    folder::write(&file, parts).await?;
    println!("The store as it was before is kept in {}", file.display());
    Ok(())
}

/// How to reach the etcd cluster that API servers use.
fn etcd(servers: &[Server]) -> Option<store::etcd::Options> {
    let mut urls: Vec<String> = Vec::new();
    for server in servers {
        let given = server.flag("etcd-servers")?;
        // A node's own loopback address is not this host's.
        let own = server.address().map(|address| address.ip().to_string());
        for url in given.split(',') {
            let url = match &own {
                Some(own) => url.replace("127.0.0.1", own).replace("localhost", own),
                None => url.to_owned(),
            };
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    let server = servers.first()?;
    let file = |flag: &str| server.flag(flag).map(|path| server.path(path));
    Some(store::etcd::Options {
        servers: urls,
        ca_file: file("etcd-cafile"),
        cert_file: file("etcd-certfile"),
        key_file: file("etcd-keyfile"),
        prefix: server.flag("etcd-prefix").unwrap_or("/registry").to_owned(),
    })
}
