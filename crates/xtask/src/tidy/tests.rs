use serde_json::json;

use super::*;

#[track_caller]
fn check_source(place: &str, text: &str, expected: &[&str]) {
    let found: Vec<String> = sources::check(place, text).iter().map(Finding::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn sources() {
    let doc = "//! A file.\n";
    check_source("crates/a/src/plan.rs", doc, &[]);
    check_source(
        "crates/a/src/utils.rs",
        doc,
        &["crates/a/src/utils.rs: name the file after what it decides"],
    );
    check_source(
        "a.rs",
        "fn f() {}\n",
        &["a.rs:1: begin with a module doc that says what it is for"],
    );
    let code = concat!("//! A file.\nfn f() { todo", "!() }\n// TO", "DO: more\n// TODOs\n");
    check_source(
        "a.rs",
        code,
        &[
            concat!("a.rs:2: todo", "!(: write it, or leave it out"),
            concat!("a.rs:3: TO", "DO: open an issue instead"),
        ],
    );
    let long = "\n".repeat(900);
    check_source("crates/a/src/tests.rs", &long, &[]);
    check_source("a.rs", &format!("//! This file is long because.\n{long}"), &[]);
    check_source(
        "a.rs",
        &format!("//! A file.\n{long}"),
        &["a.rs: 901 lines: split it by decision, or say in the module doc \
           \"This file is long because ...\""],
    );
    check_source(
        "a.rs",
        &format!("//! A file.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(120)),
        &["a.rs:2: 122 lines of tests: move them to tests.rs"],
    );
}

#[track_caller]
fn check_packages(packages: serde_json::Value, expected: &[&str]) {
    let members: Vec<_> = packages.as_array().unwrap().iter().map(|p| p["id"].clone()).collect();
    let members: Vec<_> = members.into_iter().filter(|id| id.as_str() < Some("m")).collect();
    let metadata = json!({"packages": packages, "workspace_members": members});
    let metadata = serde_json::from_value(metadata).unwrap();
    let found: Vec<String> = dependencies::check(&metadata, "uses `serde` and `anyhow`")
        .iter()
        .map(Finding::to_string)
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn arrows() {
    let dependency =
        |name: &str, kind: Option<&str>| json!({"name": name, "kind": kind, "path": "x"});
    check_packages(
        json!([{"id": "a", "name": "kubelet", "license": "Apache-2.0", "dependencies": [
            dependency("client", None), dependency("store", None), dependency("testkit", Some("dev")),
            dependency("apiserver", Some("dev")), {"name": "serde"}, {"name": "anyhow"},
        ]}]),
        &[
            "kubelet: must not depend on store",
            "kubelet: must not depend on apiserver",
            "kubelet: errors are enums here, not anyhow",
        ],
    );
    check_packages(
        json!([{"id": "a", "name": "new", "dependencies": [{"name": "libc"}]}]),
        &[
            "new: needs `license.workspace = true`",
            "new: give it a place in the arrows of tidy::dependencies",
            "ARCHITECTURE.md: say in ARCHITECTURE.md why `libc` was chosen",
        ],
    );
}

#[test]
fn outside_packages() {
    check_packages(
        json!([
            {"id": "m", "name": "fine", "license": "(MIT OR GPL-3.0) AND ISC"},
            {"id": "n", "name": "old", "license": "MIT/Apache-2.0"},
            {"id": "o", "name": "copyleft", "license": "GPL-3.0"},
            {"id": "p", "name": "openssl", "license": "MIT"},
            {"id": "q", "name": "unknown"},
        ]),
        &["copyleft: licence GPL-3.0", "openssl: is not wanted here", "unknown: no licence"],
    );
}
