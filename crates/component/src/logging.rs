//! Structured logs on standard error.

mod json;

use tracing_subscriber::EnvFilter;

/// How a line is written (`--logging-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object per line, with upstream's names.
    Json,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("unsupported log format {other:?}, must be \"json\" or \"text\"")),
        }
    }
}

/// Events with this target are lines about single requests, which appear from `--v=3` on.
pub const REQUESTS: &str = "httplog";

/// Sets up logging for the process. `verbosity` follows klog's `--v`: 0 to 2 log what an operator
/// needs, 3 adds requests, 4 and 5 add debugging, 6 and more trace every step. `IRONCLAD_LOG` (a
/// filter such as `kubelet=debug`) wins over the number. Later calls change nothing.
pub fn init(verbosity: u8, format: Format) {
    let level = match verbosity {
        0..=2 => "info",
        3 => "info,httplog=debug",
        4..=5 => "debug,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info,kube_client=info",
        _ => "trace,h2=debug,hyper=debug,hyper_util=debug,rustls=debug",
    };
    let filter = EnvFilter::try_from_env("IRONCLAD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // Already set means that another part of the process came first, which is as good.
    match format {
        Format::Text => tracing::subscriber::set_global_default(builder.finish()).ok(),
        Format::Json => {
            let subscriber = builder.event_format(json::Json).finish();
            tracing::subscriber::set_global_default(subscriber).ok()
        }
    };
}
