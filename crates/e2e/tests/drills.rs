//! Every drill passes, on a cluster that is made for them, and an interrupted one leaves nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cluster::{environment, eventually, ironclad, stdout};

#[test]
fn every_drill_passes() {
    let known = stdout(ironclad().args(["drill", "list"]));
    let known = known.lines().filter(|line| !line.starts_with(' ')).count();
    let output = ironclad().args(["drill", "run", "--all", "--output", "json"]).output().unwrap();
    let timeline = String::from_utf8_lossy(&output.stderr);
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no reports ({error}):\n{timeline}"));
    let passed = reports.iter().filter(|report| report["passed"] == true).count();
    assert!(output.status.success() && passed == known, "{passed} of {known}:\n{timeline}");
}

#[test]
fn a_drill_that_is_interrupted_mends_what_it_broke_and_removes_its_cluster() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut drill = ironclad()
        .args(["drill", "run", "kubelet-stopped"])
        .stdout(log.reopen().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = || fs::read_to_string(log.path()).unwrap();
    let stopped = "ironclad service stop kubelet --node w1";
    eventually("in the middle of it", || match text().contains(stopped) {
        true => Ok(()),
        false => Err(text()),
    });
    stdout(Command::new("kill").args(["-INT", &drill.id().to_string()]));
    let mut progress = drill.stderr.take().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut progress, &mut said).unwrap();
    assert_eq!(drill.wait().unwrap().code(), Some(1));
    let text = text();
    assert!(text.contains("ironclad service start kubelet --node w1"), "{text}");
    assert!(text.contains("FAIL  kubelet-stopped") && text.contains(": interrupted"), "{text}");
    is_removed(&said);
}

/// The cluster that a drill made is gone.
fn is_removed(said: &str) {
    let removed = said.split("Removed cluster \"").nth(1).and_then(|rest| rest.split('"').next());
    let removed = removed.unwrap_or_else(|| panic!("no cluster was removed:\n{said}"));
    assert!(!Path::new("/var/lib/ironclad/clusters").join(removed).exists());
}

#[test]
fn a_drill_that_nobody_reads_mends_what_it_broke_and_removes_its_cluster() {
    let script =
        r#""$1" drill run kubelet-stopped | grep -m 1 'service stop'; exit ${PIPESTATUS[0]}"#;
    let output = Command::new("bash")
        .args(["-c", script, "bash", &environment("IRONCLAD_BIN")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{said}");
    assert!(!said.contains("panicked") && !said.contains("error"), "{said}");
    is_removed(&said);
}

#[test]
fn a_drill_that_is_not_there_is_refused() {
    for (arguments, wanted) in [
        (&["drill", "run", "no-such-drill"][..], "no drill named \"no-such-drill\""),
        (&["drill", "run"], "name the drills to run, or say --all"),
        (&["drill", "run", "--all", "--name", "e2e-none"], "no cluster named \"e2e-none\""),
    ] {
        let output = ironclad().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(wanted), "{arguments:?}: {error}");
    }
}
