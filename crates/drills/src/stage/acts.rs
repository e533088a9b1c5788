//! What a drill does: through the API, with the program's own commands, and to processes and files.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use client::api::{DeleteParams, Patch, PatchParams, PostParams};
use client::{Api, ResourceExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, ServiceAccount};
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::mend::Broken;
use super::{PATIENCE, Stage, not_done};
use crate::failure::{Failure, Outcome};
use crate::sight::Pods;
use crate::timeline::Kind;
use crate::workload::{APP, Workload};

/// Between two questions whether the API server is there: no event tells.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How long it may take to answer one.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);

/// Asks for what no informer tells, again after each pause, until there is an answer; an error of
/// the question says what there is instead.
pub(super) async fn until<T>(
    what: &str,
    pause: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> Outcome<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(instead) if Instant::now() > deadline => {
                return Err(Failure::NotSeen { what: what.to_owned(), within: PATIENCE, instead });
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

impl Stage {
    pub(super) fn act(&mut self, text: &str) {
        self.timeline.act(if self.mending { Kind::Mend } else { Kind::Do }, text);
    }

    // Through the API.

    /// Makes a workload.
    pub(crate) async fn create(&mut self, workload: &Workload) -> Outcome {
        let what = workload.describe();
        self.act(&what);
        let body = serde_json::to_vec(&workload.manifest()).map_err(|e| not_done(&what, e))?;
        let request = http::Request::post(workload.path(&self.namespace))
            .header("content-type", "application/json")
            .body(body)
            .map_err(|e| not_done(&what, e))?;
        self.client.request::<Value>(request).await.map(drop).map_err(|e| not_done(&what, e))
    }

    /// Scales a Deployment.
    pub(crate) async fn scale(&mut self, name: &str, replicas: usize) -> Outcome {
        let what = format!("kubectl scale deployment {name} --replicas={replicas}");
        self.act(&what);
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let scaled = api.patch_scale(name, &PatchParams::default(), &patch).await;
        scaled.map(drop).map_err(|error| not_done(&what, error))
    }

    /// Deletes Pods, all at once, without waiting for their end.
    pub(crate) async fn delete(&mut self, pods: &Pods) -> Outcome {
        let what = match pods.names().as_slice() {
            [one] => format!("kubectl delete pod {one} --wait=false"),
            all => format!("kubectl delete pods --wait=false, {} of them at once", all.len()),
        };
        self.act(&what);
        let delete = |pod: &std::sync::Arc<Pod>| {
            let space = pod.namespace().unwrap_or_default();
            let (api, name) = (Api::<Pod>::namespaced(self.client.clone(), &space), pod.name_any());
            async move { api.delete(&name, &DeleteParams::default()).await }
        };
        let results = futures::future::join_all(pods.0.iter().map(delete)).await;
        results.into_iter().try_for_each(|result| result.map(drop).map_err(|e| not_done(&what, e)))
    }

    /// Deletes a Deployment.
    pub(crate) async fn delete_deployment(&mut self, name: &str) -> Outcome {
        let what = format!("kubectl delete deployment {name} --wait=false");
        self.act(&what);
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let deleted = api.delete(name, &DeleteParams::background()).await;
        deleted.map(drop).map_err(|error| not_done(&what, error))
    }

    /// Declares that a node is out of service and will not come back by itself.
    pub(crate) async fn declare_out_of_service(&mut self, node: &str) -> Outcome {
        self.broken.push(Broken::OutOfService { node: node.to_owned() });
        self.taint_out_of_service(node, true).await
    }

    pub(super) async fn taint_out_of_service(&mut self, name: &str, there: bool) -> Outcome {
        const KEY: &str = "node.kubernetes.io/out-of-service";
        let sign = if there { "=nodeshutdown:NoExecute" } else { "-" };
        let what = format!("kubectl taint node {name} {KEY}{sign}");
        self.act(&what);
        let api: Api<Node> = Api::all(self.client.clone());
        loop {
            let node = api.get(name).await.map_err(|error| not_done(&what, error))?;
            let version = node.metadata.resource_version.clone();
            let mut taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            taints.retain(|taint| taint.key != KEY);
            let mut taints = serde_json::to_value(taints).unwrap_or_default();
            if let (true, Some(list)) = (there, taints.as_array_mut()) {
                list.push(json!({"key": KEY, "value": "nodeshutdown", "effect": "NoExecute"}));
            }
            let patch =
                json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                // Somebody else changed its taints meanwhile.
                Err(client::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Err(not_done(&what, error)),
            }
        }
    }

    pub(super) async fn set_schedulable(&mut self, node: &str, schedulable: bool) -> Outcome {
        let what = format!("kubectl {} {node}", if schedulable { "uncordon" } else { "cordon" });
        self.act(&what);
        let api: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": {"unschedulable": !schedulable}}));
        let patched = api.patch(node, &PatchParams::default(), &patch).await;
        patched.map(drop).map_err(|error| not_done(&what, error))
    }

    /// Waits until the API server answers.
    pub(crate) async fn api_answers(&mut self) -> Outcome {
        let what = "the API server answers";
        let ask = async || {
            let request =
                http::Request::get("/readyz").body(Vec::new()).expect("the path is valid");
            let answer = tokio::time::timeout(ATTEMPT, self.client.request_text(request)).await;
            match answer {
                Ok(Ok(text)) if text == "ok" => Ok(()),
                Ok(Ok(text)) => Err(text),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        };
        until(what, POLL, ask).await?;
        self.saw(what, Vec::new());
        Ok(())
    }

    /// The node of whoever holds a Lease of `kube-system`.
    pub(crate) async fn leader(&self, lease: &str) -> Outcome<String> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), "kube-system");
        let what = format!("kubectl get lease -n kube-system {lease}");
        let asked = tokio::time::timeout(ATTEMPT, api.get(lease)).await;
        let asked = asked.map_err(|_| not_done(&what, "no answer"))?;
        let spec = asked.map_err(|error| not_done(&what, error))?.spec.unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        Ok(holder.split('_').next().unwrap_or_default().to_owned())
    }

    /// Waits until a Lease is held by another node than `lost`.
    pub(crate) async fn another_leads(&mut self, lease: &str, lost: &str) -> Outcome {
        let what = format!("another has {lease}");
        let ask = async || match self.leader(lease).await {
            Ok(leader) if leader != lost && !leader.is_empty() => Ok(leader),
            Ok(leader) => Err(leader),
            Err(failure) => Err(failure.to_string()),
        };
        let leader = until(&what, POLL, ask).await?;
        self.saw(&what, vec![format!("on node {leader}")]);
        Ok(())
    }

    /// Waits until every member of the store answers and holds the same.
    pub(crate) async fn store_agrees(&mut self) -> Outcome {
        self.act("ironclad store check");
        let ask = async || self.command("store check").await.map_err(|failure| failure.to_string());
        let text = until("the members of the store agree", ATTEMPT, ask).await?;
        self.saw("its members agree", text.lines().map(str::to_owned).collect());
        Ok(())
    }

    // With the program's own commands.

    /// Runs `ironclad` with `arguments` on the drill's cluster, and returns what it prints.
    pub(crate) async fn ironclad(&mut self, arguments: &str) -> Outcome<String> {
        self.act(&format!("ironclad {arguments}"));
        self.command(arguments).await
    }

    pub(super) async fn command(&mut self, arguments: &str) -> Outcome<String> {
        let program = std::env::current_exe();
        let program = program.map_err(|error| not_done("finding this program", error))?;
        self.command_of(&program, arguments).await
    }

    pub(super) async fn command_of(&mut self, program: &Path, arguments: &str) -> Outcome<String> {
        let what = format!("ironclad {arguments}");
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments.split_whitespace())
            .args(["--name", &self.cluster])
            // Ctrl-C is for the drill, which mends what it broke; not for what it is doing.
            .process_group(0)
            .stdin(std::process::Stdio::null());
        self.running = Some(tokio::spawn(async move { command.output().await }));
        let output = self.command_ended().await.transpose().map_err(|e| not_done(&what, e))?;
        let Some(output) = output else { return Err(not_done(&what, "it did not run")) };
        if !output.status.success() {
            return Err(not_done(&what, String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits for the command that runs, if one does.
    pub(super) async fn command_ended(&mut self) -> Option<std::io::Result<Output>> {
        let ended = match self.running.as_mut() {
            Some(running) => running.await.unwrap_or_else(|error| Err(error.into())),
            None => return None,
        };
        self.running = None;
        Some(ended)
    }

    /// Adds a node, and returns its name.
    pub(crate) async fn add_node(&mut self, options: &str) -> Outcome<String> {
        let what = format!("ironclad node add {options}");
        let next = self.plan().and_then(|plan| plan.worker().ok());
        let node = next.ok_or_else(|| not_done(&what, "there is no room for a node"))?.name;
        self.broken.push(Broken::Added { node: node.clone() });
        let said = self.ironclad(&format!("node add {options}")).await?;
        if said.starts_with(&format!("Node {node} ")) {
            Ok(node)
        } else {
            Err(not_done(&what, said))
        }
    }

    /// What is written down of the cluster.
    pub(super) fn plan(&self) -> Option<cluster::plan::Plan> {
        let all = cluster::state::all(&self.clusters);
        all.into_iter().map(|known| known.plan).find(|plan| plan.name == self.cluster)
    }

    /// Breaks something.
    pub(crate) async fn break_it(&mut self, broken: Broken) -> Outcome {
        let command = broken.command();
        // Noted first: an attempt that fails halfway needs mending too.
        self.broken.push(broken);
        self.ironclad(&command).await.map(drop)
    }

    // To processes and files.

    /// Takes a component of the control plane away, as its administrator does it.
    pub(crate) async fn take_away(&mut self, component: &str, node: &str) -> Outcome {
        self.broken.push(Broken::TakenAway { component: component.into(), node: node.into() });
        self.set_aside(component, node, true)
    }

    pub(super) fn set_aside(&mut self, component: &str, node: &str, aside: bool) -> Outcome {
        let (here, there) = ("/etc/kubernetes/manifests/", "/etc/kubernetes/");
        let (from, to) = if aside { (here, there) } else { (there, here) };
        let what = format!("on node {node}: mv {from}{component}.yaml {to}");
        self.act(&what);
        cluster::inside::set_aside(&self.clusters, &self.cluster, node, component, aside)
            .map_err(|error| not_done(&what, error))
    }

    /// Kills the processes of a node whose command line begins so.
    pub(crate) fn kill(&mut self, node: &str, command: &str) -> Outcome {
        let what = format!("on node {node}: kill -9 the process {command:?}");
        self.act(&what);
        cluster::inside::kill_all(&self.cluster, node, command)
            .map(drop)
            .map_err(|error| not_done(&what, error))
    }

    /// Adds a line to a file of a node.
    pub(crate) fn append(&mut self, node: &str, file: &str, line: &str) -> Outcome {
        use std::io::Write as _;
        let what = format!("on node {node}: echo '{line}' >> {file}");
        self.act(&what);
        let root = cluster::inside::root(&self.clusters, &self.cluster, node);
        let path = root.map_err(|e| not_done(&what, e))?.join(file.trim_start_matches('/'));
        std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| writeln!(file, "{line}"))
            .map_err(|error| not_done(&what, error))
    }

    /// Fills the file system at `folder` of a node until only `percent` of it are free.
    pub(crate) fn fill(&mut self, node: &str, folder: &str, percent: u64) -> Outcome {
        let what = format!("on node {node}: a file fills {folder} until {percent}% of it are free");
        self.act(&what);
        let root = cluster::inside::root(&self.clusters, &self.cluster, node);
        let folder = root.map_err(|e| not_done(&what, e))?.join(folder.trim_start_matches('/'));
        let fill = || {
            let disk = statvfs(&folder)?;
            let free = disk.blocks_available().saturating_sub(disk.blocks() * percent / 100);
            let bytes = i64::try_from(free * disk.fragment_size()).unwrap_or(i64::MAX);
            let file = std::fs::File::create(folder.join(FILLER))?;
            nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, bytes)?;
            Ok::<(), std::io::Error>(())
        };
        fill().map_err(|error| not_done(&what, error))
    }

    /// Removes the file that fills `folder`.
    pub(crate) fn empty(&mut self, node: &str, folder: &str) -> Outcome {
        let what = format!("on node {node}: rm {folder}/{FILLER}");
        self.act(&what);
        let root = cluster::inside::root(&self.clusters, &self.cluster, node);
        let path = root.map_err(|e| not_done(&what, e))?.join(folder.trim_start_matches('/'));
        std::fs::remove_file(path.join(FILLER)).map_err(|error| not_done(&what, error))
    }

    // The namespace of the drill.

    /// Waits until Pods can be made: each needs the account of its namespace.
    pub(crate) async fn account(&self) -> Outcome {
        let what = "making the drill's namespace";
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let there = |account: Option<&ServiceAccount>| account.is_some();
        let waited = client::wait_for(&api, "default", there);
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        waited.map(drop).map_err(|_| not_done(what, "it gets no service account"))
    }

    /// Writes ConfigMaps with a fixed name; for what needs an object that says what it is.
    pub(crate) async fn create_config_map(&mut self, name: &str) -> Outcome {
        let what = format!("kubectl create configmap {name}");
        self.act(&what);
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.metadata.labels = Some([(APP.to_owned(), name.to_owned())].into());
        let made = api.create(&PostParams::default(), &map).await;
        made.map(drop).map_err(|error| not_done(&what, error))
    }

    /// The names of the ConfigMaps that drills made.
    pub(crate) async fn config_maps(&self) -> Outcome<Vec<String>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = client::api::ListParams::default().labels(APP);
        let list = api.list(&params).await.map_err(|e| not_done("kubectl get configmaps", e))?;
        Ok(list.iter().map(ResourceExt::name_any).collect())
    }
}

/// The file that fills a disk.
const FILLER: &str = "filler";
