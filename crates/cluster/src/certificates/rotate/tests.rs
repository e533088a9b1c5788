use std::collections::BTreeSet;
use std::path::Path;

use component::pki::Certificate;
use machinery::codec::yaml;
use serde_json::Value;

use super::step::Behind;
use super::*;
use crate::certificates::inspect::{self, Kind};
use crate::certificates::inventory::FRONT_PROXY_CA;
use crate::config::ClusterConfiguration;
use crate::node::files::ClusterKeys;

const HOUR: Duration = Duration::from_secs(3600);

/// The files of two control planes of one cluster.
fn control_planes(folder: &Path) -> BTreeMap<String, PathBuf> {
    let config = ClusterConfiguration::new("c", "192.0.2.1:6443").with_local_etcd();
    let keys = ClusterKeys::generate().unwrap().for_cluster(&config).unwrap();
    let write = |name: &str| {
        let root = folder.join(name);
        let files = crate::node::files::tests::control_plane_files(&config, &keys);
        crate::node::files::write(&root, &files).unwrap();
        (name.to_owned(), root)
    };
    ["m1", "m2"].map(write).into()
}

fn look(roots: &BTreeMap<String, PathBuf>, what: Root) -> BTreeMap<String, Report> {
    let look = |(name, root): (&String, &PathBuf)| (name.clone(), local::look(root, what).unwrap());
    roots.iter().map(look).collect()
}

fn read(root: &Path, what: Root) -> String {
    std::fs::read_to_string(Place::of(root, what).bundle).unwrap()
}

/// Whatever the control plane shows to others is believed by itself.
fn consistent(root: &Path, what: Root, after: Step) {
    let bundle = read(root, what);
    let trusted: Vec<_> = Certificate::all(bundle.as_bytes()).collect();
    for row in inspect::node("", root, true, SystemTime::now()).unwrap() {
        match (row.kind, row.certificate) {
            (Kind::Leaf(entry), Some(own)) if local::issues(what, &entry) => {
                let believed = trusted.iter().any(|one| own.is_issued_by(one));
                assert!(believed, "{} after {after:?}", entry.name);
            }
            (Kind::ServiceAccounts, _) => assert_eq!(row.problem, None, "after {after:?}"),
            _ => {}
        }
    }
}

fn restarted(root: &Path) -> String {
    std::fs::read_to_string(root.join("etc/kubernetes/manifests/etcd.yaml")).unwrap()
}

/// Replaces `what` on all control planes; gives the steps that were taken.
fn replace(roots: &BTreeMap<String, PathBuf>, what: Root) -> Vec<(Step, Vec<String>)> {
    let key = std::fs::read_to_string(Place::of(&roots["m1"], what).key).unwrap();
    let (private, public) = pki::signing_key().unwrap();
    let mut new = Pair { certificate: public, key: private };
    if what.is_authority() {
        new = Authority::generate(what.name).unwrap().pair().clone();
    }
    new.certificate = local::blocks(what, &new.certificate).concat();
    let mut order = Order::begin(what, &new, &key, HOUR).unwrap();
    let mut steps = Vec::new();
    loop {
        let (all, nobody) = (look(roots, what), Behind::default());
        let plan = step::plan(&all, &order.digest(), &nobody, what == ETCD_CA).unwrap();
        if plan.step == Step::Done {
            return steps;
        }
        order = order.next(plan.step, plan.members.clone(), SystemTime::now());
        for name in &plan.members {
            let root = &roots[name];
            assert!(local::obey(root, &order).unwrap(), "{name} {:?}", plan.step);
            // Told again, as after a restart.
            assert!(!local::obey(root, &order).unwrap(), "{name} {:?}", plan.step);
            consistent(root, what, plan.step);
        }
        steps.push((plan.step, plan.members.into_iter().collect()));
    }
}

#[test]
fn a_rotation_goes_from_the_old_to_the_new_and_never_trusts_neither() {
    let folder = tempfile::tempdir().unwrap();
    let roots = control_planes(folder.path());
    let both: Vec<String> = roots.keys().cloned().collect();
    for what in [CA, FRONT_PROXY_CA, SERVICE_ACCOUNTS] {
        let old = read(&roots["m1"], what);
        let mut wanted = vec![Step::Prepare, Step::Trust, Step::Sign, Step::Issue];
        wanted.extend([Step::Drop, Step::Finish]);
        // Tokens are not issued again by anybody here.
        wanted.retain(|step| what.is_authority() || *step != Step::Issue);
        let wanted: Vec<_> = wanted.into_iter().map(|step| (step, both.clone())).collect();
        assert_eq!(replace(&roots, what), wanted, "{}", what.name);
        let new = read(&roots["m1"], what);
        assert_eq!(new, read(&roots["m2"], what));
        assert!(new != old && new.matches("BEGIN").count() == 1);
    }
    for row in inspect::node("m1", &roots["m1"], true, SystemTime::now()).unwrap() {
        // Those are the kubelet's own affair.
        assert!(row.problem.is_none() || row.name().starts_with("kubelet-"), "{row:?}");
    }
}

#[test]
fn members_of_etcd_are_restarted_one_by_one_and_only_when_they_trust_another_set() {
    let folder = tempfile::tempdir().unwrap();
    let roots = control_planes(folder.path());
    let before = restarted(&roots["m1"]);
    let steps = replace(&roots, ETCD_CA);
    let of = |wanted: Step| -> Vec<_> {
        steps.iter().filter(|(step, _)| *step == wanted).map(|(_, who)| who.concat()).collect()
    };
    assert_eq!(of(Step::Trust), ["m1", "m2"]);
    assert_eq!(of(Step::Drop), ["m1", "m2"]);
    assert_eq!(of(Step::Issue), ["m1m2"]);
    let after = restarted(&roots["m1"]);
    let report = local::look(&roots["m1"], ETCD_CA).unwrap();
    assert!(after.contains(&local::started_with(&report)), "{after}");
    let pod = |text: &str| -> Value { yaml::from_str(text).unwrap() };
    assert_eq!(pod(&before)["spec"], pod(&after)["spec"]);
    // In what order they are trusted is no reason for a restart.
    let turned = Report { trusted: report.trusted.iter().rev().cloned().collect(), ..report };
    assert!(after.contains(&local::started_with(&turned)));
}

#[test]
fn a_control_plane_that_has_other_keys_takes_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let roots = control_planes(folder.path());
    let strange = control_planes(&folder.path().join("other"));
    let key = std::fs::read_to_string(Place::of(&roots["m1"], CA).key).unwrap();
    let new = Authority::generate("kubernetes").unwrap().pair().clone();
    let order = Order::begin(CA, &new, &key, HOUR).unwrap();
    let order = order.next(Step::Prepare, BTreeSet::new(), SystemTime::now());
    assert!(matches!(local::obey(&strange["m1"], &order), Err(RotateError::Seal(_))));
    assert!(local::obey(&roots["m1"], &order).unwrap());
}

#[test]
fn tokens_are_given_an_hour() {
    let now = SystemTime::now();
    assert_eq!(left(Some(now), now), TOKEN_LIFE);
    assert_eq!(left(Some(now - TOKEN_LIFE), now), Duration::ZERO);
    assert_eq!(left(None, now), TOKEN_LIFE);
    let early = RotateError::TooEarly { left: TOKEN_LIFE }.to_string();
    assert!(early.contains("for another 60 minutes"), "{early}");
}
