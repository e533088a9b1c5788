//! What every test uses: a cluster, a namespace, kubectl, and patience.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for the system before it gives up; nothing is concluded from less.
const PATIENCE: Duration = Duration::from_secs(90);
/// The image whose `sh` and applets tests use.
pub(crate) const BUSYBOX: &str = "ironclad.local/busybox:1";
/// A web server on port 8080 that answers with its host name, and its next version.
pub(crate) const WEB: [&str; 2] = ["ironclad.local/web:1", "ironclad.local/web:2"];

pub(crate) fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`"))
}

/// The program under test.
pub(crate) fn ironclad() -> Command {
    Command::new(environment("IRONCLAD_BIN"))
}

/// The folder of the test images.
pub(crate) fn images() -> PathBuf {
    environment("IRONCLAD_IMAGES").into()
}

/// A cluster by name.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) kubeconfig: PathBuf,
}

impl Cluster {
    /// The one that `make test` made.
    pub(crate) fn shared() -> Self {
        Self::named(&environment("IRONCLAD_E2E"))
    }

    pub(crate) fn named(name: &str) -> Self {
        let kubeconfig = Path::new("/var/lib/ironclad/clusters").join(name).join("admin.conf");
        Self { name: name.to_owned(), kubeconfig }
    }

    /// kubectl with `arguments`, split at blanks.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(environment("KUBECTL"));
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments.split_whitespace());
        command
    }

    /// What kubectl prints; panics with its error when it fails.
    pub(crate) fn kubectl(&self, arguments: &str) -> String {
        stdout(&mut self.command(arguments))
    }

    /// An object as JSON.
    pub(crate) fn json(&self, arguments: &str) -> Value {
        let text = self.kubectl(&format!("{arguments} -o json"));
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// The addresses of the nodes.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let path = "jsonpath={.items[*].status.addresses[?(@.type==\"InternalIP\")].address}";
        let mut command = self.command("get nodes -o");
        command.arg(path);
        stdout(&mut command).split_whitespace().map(str::to_owned).collect()
    }
}

/// A namespace that ends with the test.
pub(crate) struct Namespace {
    pub(crate) cluster: Cluster,
    pub(crate) name: String,
}

impl Namespace {
    /// A new namespace of the shared cluster.
    pub(crate) fn new(test: &str) -> Self {
        Self::on(Cluster::shared(), test)
    }

    pub(crate) fn on(cluster: Cluster, test: &str) -> Self {
        let name = format!("{test}-{}", std::process::id());
        cluster.kubectl(&format!("create namespace {name}"));
        Self { cluster, name }
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.cluster.command(&format!("--namespace {} {arguments}", self.name))
    }

    pub(crate) fn kubectl(&self, arguments: &str) -> String {
        stdout(&mut self.command(arguments))
    }

    /// kubectl's error output; panics when it succeeds.
    pub(crate) fn refused(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().expect("kubectl runs");
        assert!(!output.status.success(), "kubectl {arguments} succeeded: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn json(&self, arguments: &str) -> Value {
        self.cluster.json(&format!("--namespace {} {arguments}", self.name))
    }

    /// kubectl with `manifest` on its standard input.
    pub(crate) fn pipe(&self, arguments: &str, manifest: &str) -> String {
        let output = feed(&mut self.command(arguments), manifest);
        check(&format!("kubectl {arguments}"), &output)
    }

    /// Runs `script` in Pod `pod`.
    pub(crate) fn exec(&self, pod: &str, script: &str) -> Result<String, String> {
        let mut command = self.command(&format!("exec {pod} -- sh -c"));
        let output = command.arg(script).output().expect("kubectl runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The names of the Pods that match `selector` and are not being deleted.
    pub(crate) fn pods(&self, selector: &str) -> Vec<String> {
        let list = self.json(&format!("get pods -l {selector}"));
        let items = list["items"].as_array().expect("a list has items");
        items
            .iter()
            .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
            .map(|pod| pod["metadata"]["name"].as_str().expect("a Pod has a name").to_owned())
            .collect()
    }

    /// A Pod that sleeps on `node`, ready for [`Namespace::exec`].
    pub(crate) fn sleeper(&self, name: &str, node: &str) {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  \
             nodeSelector: {{kubernetes.io/hostname: {node}}}\n  tolerations: [{{operator: Exists}}]\n  \
             terminationGracePeriodSeconds: 0\n  \
             containers:\n  - {{name: c, image: {BUSYBOX}, command: [sleep, infinity]}}\n"
        );
        self.pipe("create -f -", &manifest);
        self.kubectl(&format!("wait --for=condition=Ready pod/{name} --timeout=90s"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Not waited for: the namespace controller does the work.
        let deleted = self
            .cluster
            .command(&format!("delete namespace {} --wait=false", self.name))
            .stdout(Stdio::null())
            .status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("namespace {} is left", self.name);
        }
    }
}

/// The output of a command that must succeed.
pub(crate) fn stdout(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    check(&format!("{command:?}"), &output)
}

/// What `ironclad` prints of `cluster`; panics when it fails.
pub(crate) fn run(cluster: &Cluster, arguments: &str) -> String {
    stdout(&mut on(cluster, arguments))
}

/// The error of an `ironclad` that has to fail.
pub(crate) fn refused(cluster: &Cluster, arguments: &str) -> String {
    let output = on(cluster, arguments).output().expect("ironclad runs");
    assert!(!output.status.success(), "{arguments}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn on(cluster: &Cluster, arguments: &str) -> Command {
    let mut command = ironclad();
    command.args(arguments.split_whitespace()).args(["--name", &cluster.name]);
    command
}

/// Runs a command with `input`.
pub(crate) fn feed(command: &mut Command, input: &str) -> Output {
    use std::io::Write as _;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut pipe = child.stdin.take().expect("standard input is piped");
    pipe.write_all(input.as_bytes()).expect("the program reads its input");
    drop(pipe);
    child.wait_with_output().expect("the program ends")
}

fn check(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{text}{error}", output.status);
    text
}

/// Asks `question` again and again until it gives an answer.
pub(crate) fn eventually<T>(what: &str, mut question: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match question() {
            Ok(answer) => return answer,
            Err(last) if Instant::now() > deadline => panic!("never {what}: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Waits until `question` gives `wanted`.
pub(crate) fn eventually_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: &T,
    mut question: impl FnMut() -> T,
) {
    eventually(what, || {
        let answer = question();
        if answer == *wanted { Ok(()) } else { Err(format!("{answer:?} is not {wanted:?}")) }
    });
}

/// What a web server on `address` answers to the host.
pub(crate) fn fetch(address: &str) -> Result<String, String> {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "5", &format!("http://{address}/")])
        .output()
        .expect("curl runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
