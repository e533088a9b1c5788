//! Measures snapshots: `cargo run --release -p store --example snapshots [KEYS]`.

use std::time::{Instant, SystemTime};

use store::embedded::{self, Options, Stopped};
use store::snapshot::{Snapshot, folder, restore, take};
use store::{Op, Txn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = std::env::args().nth(1).map_or(Ok(17_000), |keys| keys.parse::<u64>())?;
    let place = tempfile::tempdir()?;
    let path = place.path().join("store.redb");
    let store = embedded::open(&path, Options::default())?;
    for first in (0..keys).step_by(500) {
        let ops = (first..keys.min(first + 500)).map(|number| {
            // As long as a small object, and as repetitive.
            let text = format!("{{\"name\":\"m{number}\",\"uid\":\"{:032x}\"}}", number * 7_919);
            let value = text.repeat(1_200 / text.len() + 1);
            let key = format!("/registry/configmaps/default/m{number:08}");
            Op::Put { key: key.into(), value: value.into(), lease: None }
        });
        store.txn(Txn { compare: Vec::new(), ops: ops.collect() }).await?;
    }
    let told = |what: &str, since: Instant| println!("{what:<24} {:?}", since.elapsed());
    let begun = Instant::now();
    let created = SystemTime::now().try_into()?;
    let (_, parts) = take(store.clone(), "/registry/", String::new(), created).await?;
    let file = place.path().join("file");
    let bytes = folder::write(&file, parts).await?;
    told("snapshot", begun);
    let status = store.status().await?;
    store.close().await?;

    let begun = Instant::now();
    let snapshot = Snapshot::open(&file, |_| {})?;
    told("verification", begun);
    let begun = Instant::now();
    restore::into_file(&snapshot, &path, restore::BUMP, SystemTime::now())?;
    told("restore", begun);
    let begun = Instant::now();
    let store = embedded::open(&path, Options::default())?;
    told("opening, all of it read", begun);
    store.close().await?;
    let begun = Instant::now();
    let report = Stopped::lock(&path)?.ok_or("it is gone")?.check(SystemTime::now())?;
    told("check", begun);
    println!(
        "{} keys of {} bytes: store {} bytes ({} in use), snapshot {bytes}, restored {}",
        report.keys,
        snapshot.content_bytes / keys.max(1),
        status.allocated_bytes,
        status.used_bytes,
        report.bytes
    );
    Ok(())
}
