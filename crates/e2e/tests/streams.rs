//! Connections that stay open, through kubectl, the API server and the kubelet to a container:
//! attach, cp, port-forward and the proxies.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use crate::cluster::{BUSYBOX, Namespace, WEB, eventually_equal, fetch, stdout};

/// A kubectl that serves until it is dropped, and the address it serves on.
struct Serving {
    kubectl: Child,
    address: String,
    /// Kept open: kubectl ends when it can no longer print.
    _output: BufReader<ChildStdout>,
}

impl Serving {
    /// Starts `kubectl ARGUMENTS`, which prints one line in which the address stands between
    /// `before` and a blank or the end.
    fn start(space: &Namespace, arguments: &str, before: &str) -> Self {
        let mut command = space.command(arguments);
        let mut kubectl = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(kubectl.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.split_once(before).and_then(|(_, rest)| rest.split_whitespace().next());
        let address = address.unwrap_or_else(|| panic!("kubectl {arguments} printed {line:?}"));
        Self { address: address.to_owned(), kubectl, _output: output }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kubectl.kill().ok(); // it may have ended
        self.kubectl.wait().ok();
    }
}

fn web(space: &Namespace) -> String {
    space.kubectl(&format!("run web --image={} --port=8080 --expose", WEB[0]));
    space.kubectl("wait --for=condition=Ready pod/web --timeout=90s");
    // The web server answers with the name of its host.
    "web".to_owned()
}

#[test]
fn attach_joins_the_streams_of_a_running_container() {
    let space = Namespace::new("attach");
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: echo}}\nspec:\n  \
         terminationGracePeriodSeconds: 0\n  restartPolicy: Never\n  containers:\n  - {{name: c, image: {BUSYBOX}, \
         stdin: true, stdinOnce: true, \
         command: [sh, -c, 'while read line; do echo \"<$line>\"; done; echo end']}}\n"
    );
    space.pipe("create -f -", &pod);
    space.kubectl("wait --for=condition=Ready pod/echo --timeout=90s");
    let mut command = space.command("attach -i echo -c c");
    let mut attached = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = attached.stdin.take().unwrap();
    let mut output = BufReader::new(attached.stdout.take().unwrap());
    // One line at a time: the answer comes while both directions are open.
    for word in ["first", "second"] {
        writeln!(input, "{word}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("<{word}>\n"));
    }
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "end\n");
    assert!(attached.wait().unwrap().success());
    // The container ended with its only input.
    space.kubectl("wait --for=jsonpath={.status.phase}=Succeeded pod/echo --timeout=90s");
}

#[test]
fn cp_copies_both_ways() {
    let space = Namespace::new("copy");
    space.sleeper("box", "w1");
    let folder = tempfile::tempdir().unwrap();
    let sent = folder.path().join("sent");
    std::fs::create_dir(&sent).unwrap();
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect();
    std::fs::write(sent.join("big"), &big).unwrap();
    std::fs::write(sent.join("small"), "a line\n").unwrap();
    space.kubectl(&format!("cp {} box:/tmp/got", sent.display()));
    assert_eq!(space.exec("box", "cat /tmp/got/small").unwrap(), "a line\n");
    assert_eq!(space.exec("box", "wc -c < /tmp/got/big").unwrap().trim(), "3000000");
    let back = folder.path().join("back");
    space.kubectl(&format!("cp box:/tmp/got/big {}", back.display()));
    assert!(std::fs::read(back).unwrap() == big, "the copy differs");
}

#[test]
fn port_forward_reaches_pods_and_services() {
    let space = Namespace::new("forward");
    let name = web(&space);
    for target in ["pod/web 0:8080", "service/web 0:8080"] {
        let serving = Serving::start(
            &space,
            &format!("port-forward --address 127.0.0.1 {target}"),
            "Forwarding from ",
        );
        // Several connections, one after the other and at once.
        for _ in 0..3 {
            assert_eq!(fetch(&serving.address).unwrap(), name, "{target}");
        }
        let address = &serving.address;
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(move || fetch(address))).collect();
            for one in all {
                assert_eq!(one.join().unwrap().unwrap(), name, "{target}");
            }
        });
    }
    let error = space.refused("port-forward pod/absent 0:8080");
    assert!(error.contains("pods \"absent\" not found"), "{error}");
}

#[test]
fn proxies_lead_to_the_api_pods_services_and_nodes() {
    let space = Namespace::new("proxy");
    let name = web(&space);
    let base = format!("/api/v1/namespaces/{}", space.name);
    // Endpoints come a moment after readiness.
    eventually_equal("answered through the service proxy", &name, || {
        let raw = space.command(&format!("get --raw {base}/services/web:8080/proxy/")).output();
        String::from_utf8_lossy(&raw.unwrap().stdout).trim().to_owned()
    });
    let through_pod = space.kubectl(&format!("get --raw {base}/pods/web:8080/proxy/"));
    assert_eq!(through_pod.trim(), name);
    let healthy = space.kubectl("get --raw /api/v1/nodes/w1/proxy/healthz");
    assert_eq!(healthy.trim(), "ok");
    let serving = Serving::start(&space, "proxy --port=0", "Starting to serve on ");
    let url = |path: &str| format!("http://{}{path}", serving.address);
    let get = |path: &str| stdout(std::process::Command::new("curl").args(["-sS", &url(path)]));
    let version: serde_json::Value = serde_json::from_str(&get("/version")).unwrap();
    assert_eq!(version["minor"], "36");
    assert_eq!(get(&format!("{base}/pods/web:8080/proxy/")).trim(), name);
}
