//! What gates can be set to.

use super::*;

fn choose(text: &str) -> Result<(Features, Vec<Notice>), FeatureError> {
    Features::choose(&parse([text])?, |_| true)
}

fn is_on(features: &Features, name: &str) -> bool {
    features.on[position(name).expect("the gate is known")]
}

#[test]
fn the_table_is_whole() {
    let names: Vec<&str> = gates().iter().map(|gate| gate.name).collect();
    assert!(names.is_sorted(), "they are searched by name");
    for gate in gates() {
        for needed in &gate.needs {
            assert!(position(needed).is_some(), "{} needs {needed}", gate.name);
        }
        assert!(!(gate.stage == Stage::Alpha && gate.default), "{}", gate.name);
        assert!(!gate.locked || matches!(gate.stage, Stage::Stable | Stage::Deprecated));
    }
    assert_eq!(Features::default().unmet(), []);
    assert_eq!(enabled("WatchList"), Some(true));
    assert_eq!(enabled("GenericWorkload"), Some(false));
    assert_eq!(enabled("Nothing"), None);
}

#[test]
fn gates_are_set_by_name() {
    let (features, notices) =
        choose("kube:WatchList=false, HPAScaleToZero=T,,WatchList=1").expect("fine");
    assert!(is_on(&features, "WatchList"), "the last one counts");
    assert!(is_on(&features, "HPAScaleToZero"));
    assert_eq!(notices, []);
    let (_, notices) = choose("DRAPrioritizedList=false,KMSv1=true,NodeSwap=true").expect("fine");
    let notices: Vec<String> = notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "Setting GA feature gate DRAPrioritizedList=false. It will be removed in a future release.",
            "Setting deprecated feature gate KMSv1=true. It will be removed in a future release.",
            "Setting GA feature gate NodeSwap=true. It will be removed in a future release.",
        ]
    );
}

#[test]
fn what_cannot_be_set_is_refused() {
    let check = |text: &str, expected: &str| {
        assert_eq!(choose(text).expect_err(text).to_string(), expected);
    };
    check("Nothing=true", "unrecognized feature gate: Nothing");
    check("WatchList", "missing bool value for WatchList");
    check(
        "WatchList=maybe",
        "invalid value of WatchList=maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
    );
    check("wardle:WatchList=true", "component not registered: wardle");
    check("NodeSwap=false", "cannot set feature gate NodeSwap to false, feature is locked to true");
    check(
        "GitRepoVolumeDriver=true,NodeSwap=false",
        "[cannot set feature gate GitRepoVolumeDriver to true, feature is locked to false, cannot set feature gate NodeSwap to false, feature is locked to true]",
    );
    check(
        "ClusterTrustBundleProjection=true",
        "ClusterTrustBundleProjection is enabled, but depends on features that are disabled: [ClusterTrustBundle]",
    );
    check(
        "NodeDeclaredFeatures=false,PodLevelResources=false",
        "[InPlacePodLevelResourcesVerticalScaling is enabled, but depends on features that are disabled: [NodeDeclaredFeatures PodLevelResources], RestartAllContainersOnContainerExits is enabled, but depends on features that are disabled: [NodeDeclaredFeatures]]",
    );
}

#[test]
fn all_of_a_stage_are_set_but_those_that_are_named() {
    let (features, _) = choose("AllAlpha=true,GangScheduling=false,WorkloadAwarePreemption=false")
        .expect("what they need is on");
    assert!(is_on(&features, "GenericWorkload"));
    assert!(!is_on(&features, "GangScheduling"));
    assert!(is_on(&features, "AllAlpha") && !is_on(&features, "AllBeta"));
    assert!(!is_on(&features, "ClusterTrustBundle"), "that is beta");
    let (features, _) = choose("AllBeta=true").expect("nothing lacks");
    assert!(is_on(&features, "ClusterTrustBundle") && !is_on(&features, "GenericWorkload"));
}

#[test]
fn gates_that_nothing_goes_by_stay_as_they_are() {
    let choices =
        parse(["HPAScaleToZero=true,WatchList=false,OpenAPIEnums=true,GenericWorkload=true"]);
    let (features, notices) =
        Features::choose(&choices.expect("fine"), |name| name == "WatchList").expect("fine");
    assert!(!is_on(&features, "WatchList"));
    assert!(!is_on(&features, "HPAScaleToZero"));
    assert_eq!(notices.len(), 1);
    assert_eq!(
        notices[0].to_string(),
        "Feature gates change nothing in this program: GenericWorkload=true,HPAScaleToZero=true"
    );
}
