//! What is measured, and under which names.

use super::{LONG_LISTERS, Options, PACE, SHORT};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    MemoryIdle,
    MemoryLoaded,
    MemoryListed,
    MemoryAfter,
    CreateOne,
    CreateMany,
    Get,
    /// Gets while others list everything.
    GetBesideLists,
    /// Gets while others list everything compressed.
    GetBesideGzip,
    /// Gets on an HTTP/2 connection that has many watches.
    GetBesideWatches,
    ListShort,
    ListAll,
    ListGzip,
    ListLabel,
    ListField,
    ListCustom,
    WatchPaced,
    WatchFull,
    Apply,
}

impl Scenario {
    /// The name by which it is chosen.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::MemoryIdle => "memory-idle",
            Self::MemoryLoaded => "memory-loaded",
            Self::MemoryListed => "memory-listed",
            Self::MemoryAfter => "memory-after",
            Self::CreateOne => "create-one",
            Self::CreateMany => "create-many",
            Self::Get => "get-one",
            Self::GetBesideLists => "get-beside-lists",
            Self::GetBesideGzip => "get-beside-gzip",
            Self::GetBesideWatches => "get-beside-watches",
            Self::ListShort => "list-short",
            Self::ListAll => "list-all",
            Self::ListGzip => "list-gzip",
            Self::ListLabel => "list-label",
            Self::ListField => "list-field",
            Self::ListCustom => "list-custom",
            Self::WatchPaced => "watch-paced",
            Self::WatchFull => "watch-most",
            Self::Apply => "apply",
        }
    }

    /// The name in the report.
    pub(super) fn title(self, options: &Options) -> String {
        match self {
            Self::MemoryIdle => "before the run".to_owned(),
            Self::MemoryLoaded => format!("with {} ConfigMaps", options.objects),
            Self::MemoryListed => "after lists of them".to_owned(),
            Self::MemoryAfter => "after the run, all removed".to_owned(),
            Self::CreateOne | Self::CreateMany => "create 1 KiB ConfigMaps".to_owned(),
            Self::Get => "get one ConfigMap".to_owned(),
            Self::GetBesideLists => format!("get, {LONG_LISTERS} clients list {}", options.objects),
            Self::GetBesideGzip => {
                format!("get, {LONG_LISTERS} clients list {} (gzip)", options.objects)
            }
            Self::GetBesideWatches => "get, on a connection with watches".to_owned(),
            Self::ListShort => format!("list {SHORT} ConfigMaps"),
            Self::ListAll => format!("list {} ConfigMaps", options.objects),
            Self::ListGzip => format!("list {} ConfigMaps (gzip)", options.objects),
            Self::ListLabel => format!("list by label, 1 % of {}", options.objects),
            Self::ListField => format!("list Pods by node, 1 % of {}", options.pods),
            Self::ListCustom => format!("list {} custom objects", options.custom),
            Self::WatchPaced => format!("events to {} watchers, {PACE} writes/s", options.watchers),
            Self::WatchFull => format!("events to {} watchers, most", options.watchers),
            Self::Apply => "server-side apply of a Pod".to_owned(),
        }
    }
}
