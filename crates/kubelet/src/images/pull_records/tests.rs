use super::*;
use crate::cri::proto::AuthConfig;

const IMAGE: Named<'_> = Named { preloaded: false, wanted: "host/a:1", repository: "host/a" };

fn coordinates(name: &str) -> Coordinates {
    Coordinates { uid: format!("uid-{name}"), namespace: "ns".into(), name: name.into() }
}

fn secret(name: &str, password: &str) -> Credential {
    let password = password.to_owned();
    let auth = AuthConfig { username: "u".into(), password, ..AuthConfig::default() };
    Credential { auth, source: Source::Secret(coordinates(name)) }
}

fn account(name: &str) -> Credential {
    Credential { auth: AuthConfig::default(), source: Source::ServiceAccount(coordinates(name)) }
}

fn records(folder: &Path, policy: Policy) -> PullRecords {
    PullRecords::new(folder, policy, vec!["host/b".into(), "host/c/*".into()])
}

async fn allows(records: &PullRecords, image: Named<'_>, credentials: &[Credential]) -> bool {
    records.allows(image, "id", async { Some(credentials.to_vec()) }).await
}

#[tokio::test]
async fn who_could_pull_an_image_may_use_it_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path(), Policy::default());
    assert!(allows(&records, IMAGE, &[]).await, "it was there before");
    records.begin(IMAGE.wanted).unwrap();
    assert!(!allows(&records, IMAGE, &[]).await, "nobody knows how far the pull came");
    records.pulled(IMAGE, "id", Some(&secret("a", "p")));
    for (credentials, wanted) in [
        (&[][..], false),
        (&[secret("a", "p")], true),
        (&[secret("b", "q")], false),
        (&[secret("c", "q"), secret("other", "p")], true),
        // What is in a Secret may change.
        (&[secret("a", "new")], true),
        (&[account("a")], false),
    ] {
        assert_eq!(allows(&records, IMAGE, credentials).await, wanted, "{credentials:?}");
    }
    // Both were taken note of.
    assert!(allows(&records, IMAGE, &[secret("d", "new")]).await);
    let elsewhere = Named { wanted: "host/b:1", repository: "host/b", ..IMAGE };
    assert!(!allows(&records, elsewhere, &[secret("a", "p")]).await, "from another repository");
    assert!(allows(&records, Named { preloaded: true, ..elsewhere }, &[]).await);

    records.begin(IMAGE.wanted).unwrap();
    records.pulled(IMAGE, "id", Some(&account("builder")));
    assert!(allows(&records, IMAGE, &[account("builder")]).await);
    assert!(!allows(&records, IMAGE, &[account("other")]).await);
    records.begin(IMAGE.wanted).unwrap();
    records.pulled(IMAGE, "id", None);
    assert!(allows(&records, IMAGE, &[]).await, "everybody could have pulled it");
    let text = fs::read_dir(folder.path().join("image_manager/pulled")).unwrap().next();
    let text = fs::read_to_string(text.unwrap().unwrap().path()).unwrap();
    assert!(text.contains(r#""credentialMapping":{"host/a":{"nodePodsAccessible":true}}"#));
    assert_eq!(fs::read_dir(folder.path().join("image_manager/pulling")).unwrap().count(), 0);
}

#[tokio::test]
async fn policies_say_what_needs_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let named = |repository| Named { repository, ..IMAGE };
    for (policy, [a, b, below, beside]) in [
        (Policy::NeverVerify, [true; 4]),
        (Policy::NeverVerifyPreloadedImages, [true; 4]),
        (Policy::NeverVerifyAllowlistedImages, [false, true, true, false]),
        (Policy::AlwaysVerify, [false; 4]),
    ] {
        let records = records(folder.path(), policy);
        let all = [("host/a", a), ("host/b", b), ("host/c/d", below), ("host/cd", beside)];
        for (repository, wanted) in all {
            let found = allows(&records, named(repository), &[]).await;
            assert_eq!(found, wanted, "{policy:?} {repository}");
        }
    }
}

#[tokio::test]
async fn what_was_begun_and_failed_leaves_nothing_and_what_broke_off_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let first = records(folder.path(), Policy::default());
    for _ in 0..2 {
        first.begin(IMAGE.wanted).unwrap();
    }
    first.failed(IMAGE.wanted);
    assert!(!allows(&first, IMAGE, &[]).await, "another pull goes on");
    first.failed(IMAGE.wanted);
    assert!(allows(&first, IMAGE, &[]).await);
    first.begin(IMAGE.wanted).unwrap();
    let again = records(folder.path(), Policy::default());
    assert!(!allows(&again, IMAGE, &[]).await, "the kubelet was restarted meanwhile");
}

#[tokio::test]
async fn records_go_with_their_images() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path(), Policy::default());
    records.begin(IMAGE.wanted).unwrap();
    records.pulled(IMAGE, "id", Some(&secret("a", "p")));
    let later = Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_secs(1);
    records.prune(&["id"].into(), later);
    records.prune(&[].into(), Timestamp::UNIX_EPOCH);
    assert!(!allows(&records, IMAGE, &[]).await, "it is on the node, or new");
    records.prune(&["other"].into(), later);
    assert!(allows(&records, IMAGE, &[]).await);
}

#[tokio::test]
async fn metrics_tell_what_is_kept_and_what_came_of_asking() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path(), Policy::default());
    let counted = |check: Check| {
        let before = records.metrics.found(check);
        move |records: &PullRecords| records.metrics.found(check) - before
    };
    let (free, found) = (counted(Check::PolicyAllowed), counted(Check::RecordFound));
    let (unknown, error) = (counted(Check::MustAuthenticate), counted(Check::Error));
    assert_eq!(records.metrics.kept(), (0, 0));
    allows(&records, IMAGE, &[]).await;
    records.begin(IMAGE.wanted).unwrap();
    assert_eq!(records.metrics.kept(), (1, 0));
    allows(&records, IMAGE, &[]).await;
    records.pulled(IMAGE, "id", Some(&secret("a", "p")));
    assert_eq!(records.metrics.kept(), (0, 1));
    for credentials in [secret("a", "p"), secret("a", "q"), account("b")] {
        allows(&records, IMAGE, &[credentials]).await;
    }
    assert!(!records.allows(IMAGE, "id", async { None }).await);
    let path = fs::read_dir(folder.path().join("image_manager/pulled")).unwrap().next().unwrap();
    fs::write(path.unwrap().path(), "{").unwrap();
    assert!(!allows(&records, IMAGE, &[secret("a", "p")]).await);
    let counts = [free(&records), found(&records), unknown(&records), error(&records)];
    assert_eq!(counts, [1, 2, 2, 2]);
    let again = self::records(folder.path(), Policy::default());
    assert_eq!(again.metrics.kept(), (0, 1), "of an earlier kubelet");
}
