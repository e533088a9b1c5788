use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::world::{World, object, until};

const NS: &str = "default";

fn template(app: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "v1"}]},
    })
}

/// Makes the Job `job`.
async fn with_job(world: &World, completions: u32, parallelism: u32) -> Api<Job> {
    let jobs: Api<Job> = world.api(NS);
    let mut spec = template("job");
    spec["spec"]["restartPolicy"] = json!("Never");
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"},
        "spec": {"completions": completions, "parallelism": parallelism, "template": spec},
    });
    jobs.create(&PostParams::default(), &object(job)).await.unwrap();
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_run_to_their_end_and_expire() {
    let world = World::start(true).await;
    let jobs = with_job(&world, 3, 2).await;
    let pods: Api<Pod> = world.api(NS);
    let done = until(|| async {
        for pod in pods.list(&ListParams::default()).await.unwrap().items {
            let running = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
            if running {
                let patch = json!({"status": {"phase": "Succeeded"}});
                let params = PatchParams::default();
                pods.patch_status(&pod.name_any(), &params, &Patch::Strategic(&patch))
                    .await
                    .unwrap();
            }
        }
        let status = jobs.get("job").await.unwrap().status?;
        let complete = status.conditions.as_ref()?.iter().any(|c| c.type_ == "Complete");
        complete.then_some(status)
    })
    .await;
    assert_eq!((done.succeeded, done.active), (Some(3), None));
    assert!(done.completion_time.is_some());
    let expire = json!({"spec": {"ttlSecondsAfterFinished": 0}});
    jobs.patch("job", &PatchParams::default(), &Patch::Merge(&expire)).await.unwrap();
    until(|| async { jobs.get_opt("job").await.unwrap().is_none().then_some(()) }).await;
    until(|| async {
        pods.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_take_matching_orphans_and_let_go_of_others() {
    const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
    let world = World::start(true).await;
    with_job(&world, 1, 1).await;
    let pods: Api<Pod> = world.api(NS);
    let first = until(|| async {
        pods.list(&ListParams::default()).await.unwrap().items.first().map(ResourceExt::name_any)
    })
    .await;
    let change = async |change: Value| {
        let patch = Patch::Merge(json!({"metadata": change}));
        pods.patch(&first, &PatchParams::default(), &patch).await.unwrap();
    };
    let owned = async || {
        let pod = pods.get(&first).await.unwrap();
        (pod.owner_references().len(), pod.finalizers().iter().any(|f| f == FINALIZER))
    };
    change(json!({"ownerReferences": null, "finalizers": null})).await;
    until(|| async { (owned().await == (1, true)).then_some(()) }).await;
    let labels = pods.get(&first).await.unwrap().labels().clone();
    let none: serde_json::Map<_, _> = labels.into_keys().map(|key| (key, Value::Null)).collect();
    change(json!({"labels": none})).await;
    until(|| async { (owned().await == (0, false)).then_some(()) }).await;
    until(|| async {
        (pods.list(&ListParams::default()).await.unwrap().items.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cron_jobs_start_jobs() {
    let world = World::start(true).await;
    let crons: Api<CronJob> = world.api(NS);
    let mut spec = template("cron");
    spec["spec"]["restartPolicy"] = json!("Never");
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron"},
        "spec": {
            "schedule": "@every 1s",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"template": spec}},
        },
    });
    crons.create(&PostParams::default(), &object(cron)).await.unwrap();
    let status = until(|| async {
        let status = crons.get("cron").await.unwrap().status?;
        status.active.as_ref().is_some_and(|active| !active.is_empty()).then_some(status)
    })
    .await;
    let name = status.active.unwrap()[0].name.clone().unwrap();
    let jobs: Api<Job> = world.api(NS);
    let job = jobs.get(&name).await.unwrap();
    assert_eq!(job.metadata.owner_references.unwrap()[0].kind, "CronJob");
    assert!(status.last_schedule_time.is_some());
    crons.delete("cron", &DeleteParams::background()).await.unwrap();
    until(|| async { jobs.get_opt(&name).await.unwrap().is_none().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stateful_sets_keep_names_through_updates() {
    let world = World::start(true).await;
    let sets: Api<StatefulSet> = world.api(NS);
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db", "replicas": 2,
            "selector": {"matchLabels": {"app": "db"}}, "template": template("db"),
        },
    });
    sets.create(&PostParams::default(), &object(set)).await.unwrap();
    let complete = || async {
        let set = sets.get("db").await.unwrap();
        let status = set.status?;
        let done = status.observed_generation == set.metadata.generation
            && status.available_replicas == Some(2)
            && status.current_revision == status.update_revision;
        done.then_some(status)
    };
    let first = until(complete).await;
    let change =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}});
    sets.patch("db", &PatchParams::default(), &Patch::Strategic(&change)).await.unwrap();
    let second = until(complete).await;
    assert_ne!(first.current_revision, second.current_revision);
    let pods: Api<Pod> = world.api(NS);
    let list = pods.list(&ListParams::default()).await.unwrap().items;
    let told: Vec<_> = list
        .iter()
        .map(|p| (p.name_any(), p.spec.as_ref().unwrap().containers[0].image.clone().unwrap()))
        .collect();
    assert_eq!(told, [("db-0".into(), "v2".into()), ("db-1".into(), "v2".into())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_tell_what_may_go() {
    let world = World::start(true).await;
    let deployments: Api<Deployment> = world.api(NS);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("web"),
        },
    });
    deployments.create(&PostParams::default(), &object(deployment)).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = world.api(NS);
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": "34%", "selector": {"matchLabels": {"app": "web"}}},
    });
    budgets.create(&PostParams::default(), &object(budget)).await.unwrap();
    until(|| async {
        let status = budgets.get("web").await.unwrap().status?;
        (status.expected_pods == Some(3) && status.disruptions_allowed == Some(2)).then_some(())
    })
    .await;
}
