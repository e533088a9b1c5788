use super::*;

use std::fs;
use std::path::PathBuf;

use crate::certificates::renew;
use crate::config::ClusterConfiguration;
use crate::node::files::ClusterKeys;

/// The files of a control plane.
fn control_plane() -> (tempfile::TempDir, ClusterKeys) {
    let config = ClusterConfiguration::new("c", "192.0.2.1:6443");
    let keys = ClusterKeys::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = crate::node::files::tests::control_plane_files(&config, &keys);
    crate::node::files::write(folder.path(), &files).unwrap();
    (folder, keys)
}

fn problems(root: &Path, now: SystemTime) -> Vec<(&'static str, Problem)> {
    let rows = node("m1", root, true, now).unwrap();
    rows.iter().filter_map(|row| Some((row.name(), row.problem?))).collect()
}

/// What a fresh control plane lacks: its kubelet has not asked for a serving certificate yet.
const FRESH: (&str, Problem) = ("kubelet-server", Problem::Missing);

fn pki(root: &Path, name: &str) -> PathBuf {
    root.join("etc/kubernetes/pki").join(name)
}

#[test]
fn a_fresh_control_plane_is_in_order() {
    let (folder, _) = control_plane();
    let now = SystemTime::now();
    let rows = node("m1", folder.path(), true, now).unwrap();
    let names: Vec<_> = rows.iter().map(Row::name).collect();
    assert_eq!(
        names,
        [
            "admin.conf",
            "apiserver",
            "apiserver-kubelet-client",
            "controller-manager.conf",
            "front-proxy-client",
            "scheduler.conf",
            "super-admin.conf",
            "kubelet-client",
            "kubelet-server",
            "ca",
            "front-proxy-ca",
            "sa",
        ]
    );
    assert_eq!(problems(folder.path(), now), [FRESH]);
    assert!(rows.iter().all(|row| !row.external && !row.is_alarming(Duration::ZERO, now)));
    let cells = rows[0].cells(now);
    assert_eq!(cells[..3], ["m1", "admin.conf", "O=kubeadm:cluster-admins, CN=kubernetes-admin"]);
    assert_eq!(cells[4..], ["364d", "ca", "no", ""]);
    let document = document(&rows, now);
    assert_eq!(document["certificates"][0]["caName"], "ca");
    assert_eq!(document["certificates"][0]["issuer"], "CN=kubernetes");
    assert_eq!(document["certificateAuthorities"].as_array().unwrap().len(), 2);
}

#[test]
fn one_of_several_control_planes_has_more_and_all_of_it_is_kept() {
    let mut config = ClusterConfiguration::new("c", "192.0.2.254:6443").with_local_etcd();
    config.virtual_address = Some(std::net::Ipv4Addr::new(192, 0, 2, 254));
    let keys = ClusterKeys::generate().unwrap().for_cluster(&config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = crate::node::files::tests::control_plane_files(&config, &keys);
    crate::node::files::write(folder.path(), &files).unwrap();
    let rows = node("m1", folder.path(), true, SystemTime::now()).unwrap();
    for name in ["apiserver-etcd-client", "etcd-peer", "etcd-server", "virtual-ip.conf", "etcd-ca"]
    {
        assert!(rows.iter().any(|row| row.name() == name), "{name}");
    }
    assert_eq!(problems(folder.path(), SystemTime::now()), [FRESH]);
}

#[test]
fn what_ends_or_ended_is_alarming() {
    let (folder, _) = control_plane();
    let day = Duration::from_secs(24 * 3600);
    let alarms = |now: SystemTime, within: Duration| {
        let rows = node("m1", folder.path(), true, now).unwrap();
        rows.iter().filter(|row| row.is_alarming(within, now)).count()
    };
    let now = SystemTime::now();
    assert_eq!(alarms(now, day * 300), 0);
    assert_eq!(alarms(now, day * 366), 8);
    assert_eq!(alarms(now + day * 366, Duration::ZERO), 8);
    let past = problems(folder.path(), now - day);
    assert_eq!(past.iter().filter(|(_, problem)| *problem == Problem::NotYetValid).count(), 10);
}

#[test]
fn mistakes_are_seen_and_mended_by_renewal() {
    let (folder, _) = control_plane();
    let root = folder.path();
    let now = SystemTime::now();
    let other = ClusterKeys::generate().unwrap();
    let entry =
        |name: &str| *inventory::CONTROL_PLANE.iter().find(|entry| entry.name == name).unwrap();
    let renewed = |name: &str| renew::renew(root, &entry(name), Duration::from_secs(3600));

    fs::write(pki(root, "apiserver.key"), &other.ca.pair().key).unwrap();
    assert_eq!(problems(root, now), [("apiserver", Problem::ForeignKey), FRESH]);
    renewed("apiserver").unwrap();
    fs::write(root.join("etc/kubernetes/scheduler.conf"), "rubbish").unwrap();
    assert_eq!(problems(root, now), [("scheduler.conf", Problem::Missing), FRESH]);
    assert!(renewed("scheduler.conf").is_err(), "nothing says what was in it");
    fs::remove_file(root.join("etc/kubernetes/scheduler.conf")).unwrap();
    fs::write(pki(root, "sa.pub"), &other.service_accounts.1).unwrap();
    let found = problems(root, now);
    assert_eq!(found, [("scheduler.conf", Problem::Missing), FRESH, ("sa", Problem::ForeignKey)]);

    fs::remove_file(pki(root, "front-proxy-ca.key")).unwrap();
    let rows = node("m1", root, true, now).unwrap();
    let external: Vec<_> = rows.iter().filter(|row| row.external).map(Row::name).collect();
    assert_eq!(external, ["front-proxy-client", "front-proxy-ca"]);
    assert!(renewed("front-proxy-client").unwrap_err().to_string().contains("externally managed"));

    // Another authority of the same name.
    fs::write(pki(root, "ca.crt"), other.ca.certificate()).unwrap();
    let found = problems(root, now);
    assert!(found.contains(&("apiserver", Problem::ForeignIssuer)), "{found:?}");
    assert!(found.contains(&("ca", Problem::ForeignKey)), "{found:?}");
}

#[test]
fn residual_times_have_one_unit() {
    for (seconds, wanted) in
        [(59, "59s"), (60, "1m"), (3600 * 23, "23h"), (86_400 * 364, "364d"), (86_400 * 730, "2y")]
    {
        assert_eq!(short(Duration::from_secs(seconds)), wanted);
    }
}
