use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::graph::*;
use super::plan::{Decision, Owner, decide};
use super::*;

fn reference(uid: &str, block: bool) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "K".into(),
        name: uid.into(),
        uid: uid.into(),
        block_owner_deletion: Some(block),
        controller: None,
    }
}

fn meta(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
    ObjectMeta {
        name: Some(uid.into()),
        namespace: Some("n".into()),
        uid: Some(uid.into()),
        owner_references: Some(owners.iter().map(|uid| reference(uid, true)).collect()),
        finalizers: Some(finalizers.iter().map(|f| (*f).to_owned()).collect()),
        deletion_timestamp: deleting.then_some(Time(Timestamp::UNIX_EPOCH)),
        ..ObjectMeta::default()
    }
}

fn apply(graph: &mut Graph, meta: &ObjectMeta) -> Vec<String> {
    let kind = Kind { api_version: "v1".to_owned(), kind: "K".to_owned() };
    sorted(graph.apply(&Source { resource: "/ks".into(), kind: Arc::new(kind) }, meta))
}

fn sorted(work: Work) -> Vec<String> {
    let mut all: Vec<String> = work.delete.into_iter().map(|uid| uid.to_string()).collect();
    all.extend(work.orphan.into_iter().map(|uid| format!("orphan {uid}")));
    all.sort();
    all
}

#[test]
fn dependents_are_looked_at_when_an_owner_goes() {
    let mut graph = Graph::default();
    assert!(apply(&mut graph, &meta("rs", &[], &[], false)).is_empty());
    assert!(apply(&mut graph, &meta("p1", &["rs"], &[], false)).is_empty());
    assert!(apply(&mut graph, &meta("p2", &["rs"], &[], false)).is_empty());
    assert_eq!(sorted(graph.remove("rs")), ["p1", "p2"]);
    assert!(graph.is_gone("rs"));
    assert_eq!(apply(&mut graph, &meta("late", &["rs"], &[], false)), ["late"]);
}

#[test]
fn an_owner_known_only_by_name_is_verified() {
    let mut graph = Graph::default();
    assert_eq!(apply(&mut graph, &meta("p", &["ghost"], &[], false)), ["ghost"]);
    assert!(graph.get("ghost").unwrap().is_virtual());
    assert_eq!(sorted(graph.remove("ghost")), ["p"]);
    let mut graph = Graph::default();
    apply(&mut graph, &meta("p", &["later"], &[], false));
    apply(&mut graph, &meta("later", &[], &[], false));
    assert!(!graph.get("later").unwrap().is_virtual());
    assert_eq!(sorted(graph.remove("later")), ["p"], "the dependents known before stay known");
}

#[test]
fn foreground_deletion_waits_for_what_blocks() {
    let mut graph = Graph::default();
    apply(&mut graph, &meta("d", &[], &[], false));
    apply(&mut graph, &meta("rs", &["d"], &[], false));
    assert_eq!(apply(&mut graph, &meta("d", &[], &[FOREGROUND], true)), ["d", "rs"]);
    assert!(graph.get("rs").unwrap().blocks("d"));
    assert!(apply(&mut graph, &meta("d", &[], &[FOREGROUND], true)).is_empty(), "told once");
    assert_eq!(sorted(graph.remove("rs")), ["d"]);
}

#[test]
fn a_reference_that_no_longer_blocks_frees_the_owner() {
    let mut graph = Graph::default();
    apply(&mut graph, &meta("d", &[], &[FOREGROUND], true));
    assert_eq!(apply(&mut graph, &meta("rs", &["d"], &[], false)), ["rs"]);
    let mut unblocked = meta("rs", &["d"], &[], false);
    unblocked.owner_references = Some(vec![reference("d", false)]);
    assert_eq!(apply(&mut graph, &unblocked), ["d"]);
}

#[test]
fn orphaning_is_asked_for_once() {
    let mut graph = Graph::default();
    apply(&mut graph, &meta("d", &[], &[], false));
    assert_eq!(apply(&mut graph, &meta("d", &[], &[ORPHAN], true)), ["orphan d"]);
    assert!(apply(&mut graph, &meta("d", &[], &[ORPHAN], true)).is_empty());
}

#[test]
fn a_new_list_finds_what_went_unnoticed() {
    let mut graph = Graph::default();
    apply(&mut graph, &meta("rs", &[], &[], false));
    apply(&mut graph, &meta("p", &["rs"], &[], false));
    let present = HashSet::from(["p".into()]);
    assert_eq!(sorted(graph.listed("/ks", &present)), ["p"]);
    assert!(graph.get("rs").is_none());
    assert!(graph.listed("/others", &HashSet::new()).delete.is_empty());
}

#[test]
fn decisions_follow_the_owners() {
    let plain = meta("x", &[], &[], false);
    let owners = |states: &[Owner]| -> Vec<(OwnerReference, Owner)> {
        states.iter().enumerate().map(|(n, s)| (reference(&n.to_string(), true), *s)).collect()
    };
    use Owner::{Absent, Solid, Waiting};
    use PropagationPolicy::{Background, Foreground, Orphan};
    assert_eq!(decide(&plain, &owners(&[]), false, false), Decision::Keep);
    assert_eq!(decide(&plain, &owners(&[Solid, Solid]), false, false), Decision::Keep);
    assert_eq!(
        decide(&plain, &owners(&[Solid, Absent]), false, false),
        Decision::Unlink(vec![reference("0", true)])
    );
    assert_eq!(decide(&plain, &owners(&[Absent]), true, false), Decision::Delete(Background));
    assert_eq!(decide(&plain, &owners(&[Waiting]), false, false), Decision::Delete(Background));
    assert_eq!(decide(&plain, &owners(&[Waiting]), true, false), Decision::Delete(Foreground));
    assert!(matches!(
        decide(&plain, &owners(&[Waiting]), true, true),
        Decision::DeleteUnblocked(owners) if owners[0].block_owner_deletion == Some(false)
    ));
    let orphaning = meta("x", &[], &[ORPHAN], true);
    assert_eq!(decide(&orphaning, &owners(&[Absent]), false, false), Decision::Delete(Orphan));
}
