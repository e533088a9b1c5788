//! `--feature-gates`, the same for every component.

use apiserver::features::{self, Choices, FeatureError, Features};
use clap::Args;

// Not a group of arguments: those of components have the same name.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Flags {
    /// Features to switch on or off. Known are all gates of Kubernetes v1.36; those that change
    /// nothing here are named in the log
    #[arg(long, value_name = "NAME=true|false,…")]
    feature_gates: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubelet,
    Proxy,
}

/// What goes by a gate, besides fields of objects, which are the API server's matter. The controller
/// of StatefulSets goes by a field that is there only if the feature is on.
const FOLLOWED: [(Component, &[&str]); 3] = [
    (
        Component::ApiServer,
        &[
            "APIResponseCompression",
            "CrossNamespaceVolumeDataSource",
            "HPAScaleToZero",
            "RemoteRequestHeaderUID",
            "StorageVersionHash",
            "WatchList",
        ],
    ),
    (Component::ControllerManager, &["MaxUnavailableStatefulSet"]),
    (Component::Kubelet, &["GracefulNodeShutdown", "GracefulNodeShutdownBasedOnPodPriority"]),
];

impl Component {
    fn follows(self, gate: &str) -> bool {
        let built =
            FOLLOWED.iter().any(|(component, gates)| *component == self && gates.contains(&gate));
        built || self == Self::ApiServer && apiserver::follows_feature(gate)
    }
}

impl Flags {
    /// Makes the features of this process what they are to be. Flags outdo `configured` ones.
    ///
    /// # Errors
    /// What cannot be.
    pub(super) fn set_up(
        &self,
        component: Component,
        configured: Choices,
    ) -> Result<(), FeatureError> {
        let mut choices = configured;
        choices.extend(features::parse(&self.feature_gates)?);
        let (features, notices) = Features::choose(&choices, |gate| component.follows(gate))?;
        for notice in notices {
            tracing::warn!("{notice}");
        }
        let states = features.iter().map(|(gate, on)| (gate.name, gate.stage.as_str(), on));
        component::metrics::show_features(states);
        features::install(features);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kubelet::config::KubeletConfiguration;

    use super::*;

    #[test]
    fn what_is_followed_is_known() {
        for (_, gates) in FOLLOWED {
            for gate in gates {
                assert!(features::enabled(gate).is_some(), "{gate}");
            }
        }
        assert!(Component::ApiServer.follows("GenericWorkload"), "it has fields");
        assert!(!Component::Scheduler.follows("GenericWorkload"));
        assert!(Component::Kubelet.follows("GracefulNodeShutdown"));
        assert!(!Component::ApiServer.follows("NodeSwap"));
    }

    /// One test, since features are the same for a whole process.
    #[test]
    fn flags_outdo_the_configuration_and_metrics_tell() {
        let off = "GracefulNodeShutdown=false,GracefulNodeShutdownBasedOnPodPriority=false";
        let texts = [off, "WindowsGracefulNodeShutdown=false"].map(str::to_owned);
        let flags = Flags { feature_gates: texts.into() };
        let configured = [("GracefulNodeShutdown", true), ("HPAScaleToZero", true)];
        let configured = configured.map(|(name, on)| (name.to_owned(), on)).into();
        flags.set_up(Component::Kubelet, configured).expect("the gates exist");
        let text = String::from_utf8(component::metrics::encode()).expect("metrics are text");
        for line in [
            "kubernetes_feature_enabled{name=\"GracefulNodeShutdown\",stage=\"BETA\"} 0",
            "kubernetes_feature_enabled{name=\"HPAScaleToZero\",stage=\"ALPHA\"} 0",
            "kubernetes_feature_enabled{name=\"NodeSwap\",stage=\"\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        let wrong = Flags { feature_gates: vec!["X=true".to_owned()] };
        let error = wrong.set_up(Component::Proxy, Choices::new()).expect_err("there is no X");
        assert_eq!(error.to_string(), "unrecognized feature gate: X");

        let mut kubelet = KubeletConfiguration::default();
        kubelet.check_features().expect("nothing is asked for");
        kubelet.shutdown_grace_period = Some("30s".to_owned());
        let error = kubelet.check_features().expect_err("the feature is off");
        assert_eq!(
            error.to_string(),
            "invalid configuration: specifying shutdownGracePeriod or shutdownGracePeriodCriticalPods requires feature gate GracefulNodeShutdown"
        );
    }
}
