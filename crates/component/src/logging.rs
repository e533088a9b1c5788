//! Structured logs on standard error.

use tracing_subscriber::EnvFilter;

/// Sets up logging for the process. `verbosity` follows klog's `--v`: 0 to 3 log what an operator
/// needs, 4 and 5 add debugging, 6 and more trace every step. `IRONCLAD_LOG` (a filter such as
/// `kubelet=debug`) wins over the number. Later calls change nothing.
pub fn init(verbosity: u8) {
    let level = match verbosity {
        0..=3 => "info",
        4..=5 => "debug,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info,kube_client=info",
        _ => "trace,h2=debug,hyper=debug,hyper_util=debug,rustls=debug",
    };
    let filter = EnvFilter::try_from_env("IRONCLAD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .finish();
    // Already set means that another part of the process came first, which is as good.
    tracing::subscriber::set_global_default(subscriber).ok();
}
