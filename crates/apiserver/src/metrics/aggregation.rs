//! Metrics of the aggregation layer, under upstream's names.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::legacy;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};
use rustls::{CertificateError, Error};

use crate::outward;

/// How often aggregated discovery was made anew.
pub(crate) static DISCOVERIES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "aggregator_discovery_aggregation_count_total",
        "[ALPHA] Counter of number of times discovery was aggregated",
    )
});

static UNAVAILABLE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "aggregator_unavailable_apiservice",
        "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService \
         name.",
    );
    let gauge = IntGaugeVec::new(options, &["name"]);
    component::metrics::register(gauge.expect("a fixed metric is well-formed"))
});

static LOST: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "aggregator_unavailable_apiservice_total",
        "[ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService \
         name and reason.",
        &["name", "reason"],
    )
});

static REGENERATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "aggregator_openapi_v2_regeneration_count",
        "[ALPHA] Counter of OpenAPI v2 spec regeneration count broken down by causing APIService \
         name and reason.",
        &["apiservice", "reason"],
    )
});

static REGENERATION: LazyLock<GaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "aggregator_openapi_v2_regeneration_duration",
        "[ALPHA] Gauge of OpenAPI v2 spec regeneration duration in seconds.",
    );
    let gauge = GaugeVec::new(options, &["reason"]);
    component::metrics::register(gauge.expect("a fixed metric is well-formed"))
});

/// Certificates without names of servers, and with signatures by SHA-1.
static CERTIFICATES: LazyLock<[IntCounter; 2]> = LazyLock::new(|| {
    [
        counter(
            "apiserver_kube_aggregator_x509_missing_san_total",
            "[ALPHA] Counts the number of requests to servers missing SAN extension in their \
             serving certificate OR the number of connection failures due to the lack of x509 \
             certificate SAN extension missing (either/or, based on the runtime environment)",
        ),
        counter(
            "apiserver_kube_aggregator_x509_insecure_sha1_total",
            "[ALPHA] Counts the number of requests to servers with insecure SHA1 signatures in \
             their serving certificate OR the number of connection failures due to the insecure \
             SHA1 signatures (either/or, based on the runtime environment)",
        ),
    ]
});

/// Object identifiers of signatures by SHA-1: with RSA and with ECDSA.
const SHA1: [&[u8]; 2] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
];

/// Why OpenAPI v2 is made anew when it is asked for next.
static REASON: Mutex<&str> = Mutex::new("add");

fn counter(name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help);
    component::metrics::register(counter.expect("a fixed metric is well-formed"))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels);
    component::metrics::register(counters.expect("a fixed metric is well-formed"))
}

/// Registers what is shown before anything happened.
pub(crate) fn register() {
    LazyLock::force(&DISCOVERIES);
    LazyLock::force(&CERTIFICATES);
}

/// An APIService is there, and available or not, or it is gone.
pub(crate) fn available(name: &str, is_available: Option<bool>) {
    match is_available {
        Some(is_available) => {
            UNAVAILABLE.with_label_values(&[name]).set(i64::from(!is_available));
        }
        // It may have gone before it was seen.
        None => drop(UNAVAILABLE.remove_label_values(&[name])),
    }
}

/// An APIService was available and is not any more.
pub(crate) fn lost(name: &str, reason: &str) {
    LOST.with_label_values(&[name, reason]).inc();
}

/// The document of an APIService came (`add`), changed (`update`) or went (`delete`).
pub(crate) fn regeneration(name: &str, reason: &'static str) {
    REGENERATIONS.with_label_values(&[name, reason]).inc();
    *REASON.lock().unwrap_or_else(PoisonError::into_inner) = reason;
}

/// Documents were merged.
pub(crate) fn regenerated(elapsed: Duration) {
    let reason = *REASON.lock().unwrap_or_else(PoisonError::into_inner);
    REGENERATION.with_label_values(&[reason]).set(elapsed.as_secs_f64());
}

/// A request got no answer.
pub(crate) fn unanswered(error: &legacy::Error) {
    let Some(Error::InvalidCertificate(why)) = outward::refused(error) else { return };
    let [nameless, sha1] = &*CERTIFICATES;
    match why {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            nameless.inc();
        }
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: id,
            ..
        } if SHA1.iter().any(|sha1| id.windows(sha1.len()).any(|part| part == *sha1)) => {
            sha1.inc();
        }
        _ => {}
    }
}
