//! Client libraries of others do real work against a cluster.

use std::path::Path;
use std::process::Command;

use crate::cluster::{BUSYBOX, Namespace, environment, stdout};

#[test]
fn the_official_python_client_works() {
    let space = Namespace::new("python");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/flows.py");
    let mut python = Command::new(environment("PYTHON"));
    python.arg(program).arg(&space.cluster.kubeconfig).args([&space.name, BUSYBOX]);
    assert_eq!(stdout(&mut python), "all flows passed\n");
}
