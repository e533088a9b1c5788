//! Which versions may be together: <https://kubernetes.io/releases/version-skew-policy/>.

use std::fmt;
use std::str::FromStr;

/// How many minor versions kubelets may be behind their API server.
const KUBELETS_BEHIND: u64 = 3;

/// A release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

/// Not a release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version")]
pub struct NoVersion(String);

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let wrong = || NoVersion(text.to_owned());
        // What distributions and builds add does not count.
        let core = text.trim().trim_start_matches('v').split(['-', '+']).next();
        let mut parts = core.unwrap_or_default().split('.').map(str::parse);
        let mut next = || parts.next().and_then(Result::ok).ok_or_else(wrong);
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_none() { Ok(version) } else { Err(wrong()) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A node and the version of its kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubelet {
    /// The node.
    pub node: String,
    /// The version.
    pub version: Version,
}

/// What stands in the way of a control plane of version `target` in a cluster whose API server is
/// `current`; nothing when it may go ahead.
#[must_use]
pub fn problems(target: Version, current: Version, kubelets: &[Kubelet]) -> Vec<String> {
    let mut problems = Vec::new();
    if target < current {
        problems.push(format!(
            "Specified version to upgrade to {:?} is lower than the cluster version {:?}. \
             Downgrades are not supported",
            target.to_string(),
            current.to_string()
        ));
    }
    if (target.major, target.minor) > (current.major, current.minor + 1) {
        problems.push(format!(
            "Specified version to upgrade to {:?} is too high; only 1 minor version at a time can \
             be upgraded",
            target.to_string()
        ));
    }
    let versions = |wanted: &dyn Fn(&Kubelet) -> bool| -> Vec<String> {
        let found = kubelets.iter().filter(|kubelet| wanted(kubelet));
        found.map(|kubelet| format!("{} ({})", kubelet.version, kubelet.node)).collect()
    };
    let old = versions(&|kubelet| {
        kubelet.version.major != target.major
            || kubelet.version.minor + KUBELETS_BEHIND < target.minor
    });
    if !old.is_empty() {
        problems.push(format!(
            "There are kubelets in this cluster that are too old that have these versions [{}]",
            old.join(" ")
        ));
    }
    let new = versions(&|kubelet| {
        (kubelet.version.major, kubelet.version.minor) > (target.major, target.minor)
    });
    if !new.is_empty() {
        problems.push(format!(
            "There are kubelets in this cluster that are newer than the API server would be that \
             have these versions [{}]",
            new.join(" ")
        ));
    }
    problems
}

/// Why a kubelet of version `target` may not run with this API server.
#[must_use]
pub fn kubelet_problem(target: Version, api_server: Version) -> Option<String> {
    if (target.major, target.minor) > (api_server.major, api_server.minor) {
        return Some(format!(
            "a kubelet of version {target} would be newer than the API server, which is \
             {api_server}: upgrade the control plane first"
        ));
    }
    let behind = target.minor + KUBELETS_BEHIND < api_server.minor;
    (target.major != api_server.major || behind).then(|| {
        format!(
            "a kubelet of version {target} is more than {KUBELETS_BEHIND} minor versions older \
             than the API server, which is {api_server}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert!(version("v1.36.10") > version("1.36.9-rc.1+build"));
        assert_eq!(version("v1.36.0+x").to_string(), "v1.36.0");
        for wrong in ["", "v1.36", "1.36.0.1", "v1.x.0"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_control_plane_goes_up_by_one_minor_version_with_kubelets_up_to_three_behind() {
        let check = |target: &str, current: &str, kubelet: &str, wanted: &[&str]| {
            let kubelet = Kubelet { node: "w1".into(), version: version(kubelet) };
            let found = problems(version(target), version(current), &[kubelet]);
            assert_eq!(found.len(), wanted.len(), "{found:?}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!(found.contains(wanted), "{found} has no {wanted}");
            }
        };
        check("v1.36.1", "v1.36.0", "v1.36.0", &[]);
        check("v1.37.0", "v1.36.4", "v1.34.0", &[]);
        check("v1.36.0", "v1.36.0", "v1.36.0", &[]);
        check(
            "v1.37.0",
            "v1.36.0",
            "v1.33.9",
            &["too old that have these versions [v1.33.9 (w1)]"],
        );
        check("v1.38.0", "v1.36.0", "v1.36.0", &["\"v1.38.0\" is too high; only 1 minor"]);
        check("v1.35.0", "v1.36.0", "v1.35.0", &["lower than the cluster version \"v1.36.0\""]);
        check(
            "v1.35.9",
            "v1.36.0",
            "v1.36.0",
            &["Downgrades are not", "newer than the API server"],
        );
        check("v2.0.0", "v1.36.0", "v1.36.0", &["too high", "too old"]);
    }

    #[test]
    fn a_kubelet_is_never_newer_than_its_api_server() {
        let problem = |kubelet: &str, api: &str| kubelet_problem(version(kubelet), version(api));
        assert_eq!(problem("v1.36.9", "v1.36.0"), None);
        assert_eq!(problem("v1.33.0", "v1.36.0"), None);
        assert!(problem("v1.37.0", "v1.36.9").unwrap().contains("upgrade the control plane first"));
        assert!(
            problem("v1.32.0", "v1.36.0").unwrap().contains("more than 3 minor versions older")
        );
    }
}
