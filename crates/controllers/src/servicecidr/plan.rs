//! What a ServiceCIDR needs next. Pure.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::jiff::Timestamp;

use crate::nodeipam::plan::Cidr;
use crate::object::Meta;

/// Keeps a ServiceCIDR while addresses depend on it.
pub(crate) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// API servers may give out addresses of a range until they have seen that it goes.
const GRACE: Duration = Duration::from_secs(10);
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// The condition `Ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
}

const READY: Ready =
    Ready { status: "True", reason: "", message: "Kubernetes Service CIDR is ready" };
const TERMINATING: Ready = Ready {
    status: "False",
    reason: "Terminating",
    message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or \
              create a new ServiceCIDR",
};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AddFinalizer,
    RemoveFinalizer,
    SetCondition(Ready),
    Wait(Duration),
    Done,
}

/// The ranges of a ServiceCIDR.
pub(crate) fn ranges(object: &ServiceCIDR) -> impl Iterator<Item = Cidr> {
    let cidrs = object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    cidrs.iter().filter_map(|cidr| cidr.parse().ok())
}

/// The address that an IPAddress of the API server's allocator stands for.
pub(crate) fn allocated(address: &IPAddress) -> Option<IpAddr> {
    address.nm().parse().ok().filter(|_| address.label(MANAGED_BY) == Some(MANAGER))
}

/// The next step for `object`; `all` includes it.
pub(crate) fn plan<'a>(
    object: &ServiceCIDR,
    all: impl Iterator<Item = &'a ServiceCIDR> + Clone,
    mut addresses: impl Iterator<Item = IpAddr>,
    now: Timestamp,
) -> Step {
    let finalizers = object.metadata.finalizers.as_deref().unwrap_or_default();
    let protected = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let Some(deleted) = &object.metadata.deletion_timestamp else {
        if !protected {
            return Step::AddFinalizer;
        }
        return condition(object, READY);
    };
    if !protected {
        return Step::Done;
    }
    let others = all.filter(|other| other.nm() != object.nm());
    let covered = |test: &dyn Fn(Cidr) -> bool| others.clone().any(|other| ranges(other).any(test));
    let replaced = ranges(object).all(|own| covered(&|other| other.covers(own)));
    let last_home = |ip: IpAddr| {
        ranges(object).any(|own| own.contains(ip)) && !covered(&|other| other.contains(ip))
    };
    if !replaced && addresses.any(last_home) {
        return condition(object, TERMINATING);
    }
    let passed = now.duration_since(deleted.0);
    match GRACE.checked_sub(Duration::try_from(passed).unwrap_or_default()) {
        Some(rest) if !rest.is_zero() => Step::Wait(rest),
        _ => Step::RemoveFinalizer,
    }
}

fn condition(object: &ServiceCIDR, wanted: Ready) -> Step {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_deref());
    let same = conditions.unwrap_or_default().iter().any(|condition| {
        condition.type_ == "Ready"
            && condition.status == wanted.status
            && condition.reason == wanted.reason
            && condition.message == wanted.message
    });
    if same { Step::Done } else { Step::SetCondition(wanted) }
}
