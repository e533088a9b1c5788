//! Durable creates of 1 KiB values per second, by the number of writers that wait for each other's
//! commits: `cargo run --release -p store --example writes -- FOLDER [SECONDS]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use store::Txn;
use store::embedded::{Options, open};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    for writers in [1, 4, 16, 64, 256] {
        let path = folder.join(format!("writes-{writers}.redb"));
        let store = open(&path, Options::default())?;
        let made = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let end = start + Duration::from_secs(seconds);
        let tasks = (0..writers).map(|writer| {
            let (store, made) = (store.clone(), made.clone());
            tokio::spawn(async move {
                let mut number = 0u64;
                while Instant::now() < end {
                    number += 1;
                    let key = format!("/registry/configmaps/default/w{writer}-{number}");
                    store.txn(Txn::create(key, vec![b'v'; 1024], None)).await?;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, store::Error>(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        let made = made.load(Ordering::Relaxed);
        let rate = made as f64 / start.elapsed().as_secs_f64();
        let size = store.status().await?.allocated_bytes as f64 / made as f64;
        println!("{writers:4} writers: {rate:8.0}/s, {size:6.0} bytes each");
        drop(store);
        std::fs::remove_file(path)?;
    }
    Ok(())
}
