use super::*;
use crate::config::ClusterConfiguration;
use crate::node::files::ClusterKeys;

const OPTIONS: Options = Options {
    validity: Duration::from_secs(3600),
    patience: Duration::ZERO,
    grace: Duration::ZERO,
    keep_old: false,
};

fn member(name: &str, folder: &tempfile::TempDir, keys: &ClusterKeys) -> Member {
    let config = ClusterConfiguration::new("c", "192.0.2.1:6443");
    let root = folder.path().join(name);
    let files = crate::node::files::tests::control_plane_files(&config, keys);
    crate::node::files::write(&root, &files).unwrap();
    Member { name: name.to_owned(), root }
}

/// The next step, as if the rest of the cluster had followed or not.
fn step(member: &Member, followed: bool) -> Step {
    let seen = look(member).unwrap().0;
    decide(&Seen { followed, kubelets: followed, ..seen })
}

#[test]
fn a_rotation_goes_from_the_old_to_the_new_and_never_trusts_neither() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ClusterKeys::generate().unwrap();
    let members = ["m1", "m2"].map(|name| member(name, &folder, &keys));
    let bundle = |member: &Member| {
        let path = member.root.join("etc/kubernetes/pki/ca.crt");
        std::fs::read_to_string(path).unwrap()
    };
    let old = bundle(&members[0]);
    let mut steps = Vec::new();
    loop {
        let before = step(&members[0], false);
        if matches!(before, Step::AwaitTrust | Step::AwaitIssue | Step::AwaitDrop) {
            steps.push(before);
        }
        let now = step(&members[0], true);
        steps.push(now);
        // Broken off after the first control plane, and done again.
        act(&members[..1], now, &OPTIONS).unwrap();
        if now == Step::Finish {
            act(&members[1..], now, &OPTIONS).unwrap();
            break;
        }
        act(&members, now, &OPTIONS).unwrap();
        let authorities: Vec<_> = Certificate::all(bundle(&members[0]).as_bytes()).collect();
        let rows = inspect::node("m1", &members[0].root, true, SystemTime::now()).unwrap();
        for row in rows {
            let (Kind::Leaf(entry), Some(own)) = (row.kind, row.certificate) else { continue };
            let trusted = authorities.iter().any(|one| own.is_issued_by(one));
            assert!(trusted || !is_ours(&entry), "{} after {now:?}", entry.name);
        }
    }
    assert_eq!(
        steps,
        [
            Step::Prepare,
            Step::Trust,
            Step::AwaitTrust,
            Step::Sign,
            Step::Issue,
            Step::AwaitIssue,
            Step::Drop,
            Step::AwaitDrop,
            Step::Finish,
        ]
    );
    let new = bundle(&members[0]);
    assert_eq!(new, bundle(&members[1]));
    assert!(Certificate::all(new.as_bytes()).count() == 1 && new != old);
    let rows = inspect::node("m1", &members[0].root, true, SystemTime::now()).unwrap();
    let mut bad = rows.iter().filter(|row| row.problem.is_some()).map(inspect::Row::name);
    // Those are the kubelet's own affair.
    assert!(bad.all(|name| name.starts_with("kubelet-")));
    assert!(!members[0].root.join("etc/kubernetes/pki/ca-next.key").exists());
}

#[test]
fn what_broke_off_anywhere_goes_on() {
    let seen = |trusted: &[bool], signs, issued| Seen {
        trusted: trusted.to_vec(),
        prepared: true,
        signs,
        issued,
        ..Seen::default()
    };
    for (seen, wanted) in [
        (Seen { trusted: vec![false], ..Seen::default() }, Step::Prepare),
        (seen(&[false], false, false), Step::Trust),
        // The key was replaced, the bundle not yet; and the other way round.
        (seen(&[false, true], true, false), Step::Sign),
        (seen(&[true, false], false, false), Step::Sign),
        (seen(&[true, false], true, false), Step::Issue),
        (seen(&[true, false], true, true), Step::AwaitIssue),
        (seen(&[true], true, true), Step::AwaitDrop),
    ] {
        assert_eq!(decide(&seen), wanted, "{seen:?}");
    }
}

#[test]
fn control_planes_go_together() {
    for (steps, wanted) in [
        (&[Step::AwaitTrust, Step::AwaitTrust][..], Step::AwaitTrust),
        (&[Step::Issue, Step::AwaitTrust], Step::Sign),
        (&[Step::AwaitDrop, Step::AwaitIssue], Step::Drop),
        (&[Step::AwaitTrust, Step::Trust], Step::Trust),
    ] {
        assert_eq!(together(steps), wanted, "{steps:?}");
    }
}

#[test]
fn authorities_of_others_and_keys_that_are_elsewhere_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ClusterKeys::generate().unwrap();
    let member = member("m1", &folder, &keys);
    let path = member.root.join("etc/kubernetes/pki/ca.crt");
    let other = Authority::generate("kubernetes").unwrap();
    let both = format!("{}{}", keys.ca.certificate(), other.certificate());
    std::fs::write(&path, both).unwrap();
    assert!(matches!(look(&member), Err(RotateError::Foreign(_))));
    std::fs::write(&path, keys.ca.certificate()).unwrap();
    std::fs::remove_file(path.with_extension("key")).unwrap();
    assert!(matches!(look(&member), Err(RotateError::External(_))));
}
