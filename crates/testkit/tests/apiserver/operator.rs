//! A program as operators are: a resource of its own, finalizers, a standby that takes over. The
//! API server is restarted under it again and again.

use std::sync::Arc;
use std::time::Duration;

use client::leader::{LeaderConfig, LeaderElector};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::watcher;
use serde_json::json;
use testkit::ApiServer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Outcome;
use crate::customresources::{define, schema, widgets};

const FINALIZER: &str = "ex.io/cleanup";

fn widget_api(client: &kube::Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), "default", &widget_type())
}

fn widget_type() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("ex.io", "v1", "Widget"), "widgets")
}

struct Operator {
    client: kube::Client,
    name: String,
}

/// Every Widget has a ConfigMap of its name, and its status says who made it ready.
async fn reconcile(
    widget: Arc<DynamicObject>,
    operator: Arc<Operator>,
) -> Result<Action, finalizer::Error<kube::Error>> {
    let api = widget_api(&operator.client);
    finalizer(&api, FINALIZER, widget, |event| async {
        let maps: Api<ConfigMap> = Api::namespaced(operator.client.clone(), "default");
        let manager = PatchParams::apply("operator").force();
        match event {
            finalizer::Event::Apply(widget) => {
                let name = widget.metadata.name.as_deref().unwrap_or_default();
                let color = widget.data["spec"]["color"].clone();
                let map = json!({"kind": "ConfigMap", "apiVersion": "v1",
                    "metadata": {"name": name}, "data": {"color": color}});
                maps.patch(name, &manager, &Patch::Apply(map)).await?;
                let status = json!({"status": {"ready": true}});
                let by = PatchParams {
                    field_manager: Some(operator.name.clone()),
                    ..PatchParams::default()
                };
                widget_api(&operator.client).patch_status(name, &by, &Patch::Merge(status)).await?;
            }
            finalizer::Event::Cleanup(widget) => {
                let name = widget.metadata.name.as_deref().unwrap_or_default();
                let deleted = maps.delete(name, &DeleteParams::default()).await;
                match deleted {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    other => drop(other?),
                }
            }
        }
        Ok(Action::await_change())
    })
    .await
}

/// One instance of the program; it works while it leads and stops when it no longer does.
fn start(client: kube::Client, name: &str, stop: &CancellationToken) -> JoinHandle<()> {
    let config = LeaderConfig {
        namespace: "default".to_owned(),
        lease_duration: Duration::from_secs(3),
        renew_deadline: Duration::from_secs(2),
        retry_period: Duration::from_millis(100),
        ..LeaderConfig::new("operator", name)
    };
    let (stop, name) = (stop.clone(), name.to_owned());
    tokio::spawn(async move {
        while !stop.is_cancelled() {
            let operator = Arc::new(Operator { client: client.clone(), name: name.clone() });
            let work = |leading: CancellationToken| async move {
                let api = widget_api(&operator.client);
                let controller =
                    Controller::new_with(api, watcher::Config::default(), widget_type())
                        .graceful_shutdown_on(leading.cancelled_owned())
                        .run(
                            reconcile,
                            |_, _, _| Action::requeue(Duration::from_millis(50)),
                            operator,
                        );
                futures::StreamExt::for_each(controller, |_| async {}).await;
            };
            // Whoever loses the lease competes for it again.
            LeaderElector::new(config.clone()).run(client.clone(), stop.clone(), work).await.ok();
        }
    })
}

/// Tries until it works: connections break when a server goes.
async fn insist<T, E: std::fmt::Debug, F: Future<Output = Result<Option<T>, E>>>(
    mut attempt: impl FnMut() -> F,
) -> T {
    let mut last = None;
    // The limit only ends a broken run.
    for _ in 0..3000 {
        match attempt().await {
            Ok(Some(value)) => return value,
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to pass; the last error was {last:?}");
}

async fn create(server: &ApiServer, name: &str) -> Outcome {
    let widget = json!({"kind": "Widget", "apiVersion": "ex.io/v1", "metadata": {"name": name},
        "spec": {"color": "green"}});
    let widget: DynamicObject = serde_json::from_value(widget)?;
    let api = widget_api(&server.client()?);
    insist(|| async {
        match api.create(&PostParams::default(), &widget).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(())),
            other => other.map(|_| Some(())),
        }
    })
    .await;
    Ok(())
}

async fn is_ready(server: &ApiServer, name: &str) -> Outcome {
    let client = server.client()?;
    let widget = insist(|| async {
        let widget = widget_api(&client).get_opt(name).await?;
        Ok::<_, kube::Error>(widget.filter(|widget| widget.data["status"]["ready"] == true))
    })
    .await;
    assert_eq!(widget.metadata.finalizers.unwrap_or_default(), [FINALIZER]);
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map = insist(|| maps.get_opt(name)).await;
    assert_eq!(map.data.unwrap_or_default()["color"], "green");
    Ok(())
}

async fn is_gone(server: &ApiServer, name: &str) -> Outcome {
    let client = server.client()?;
    insist(|| async {
        let widget = widget_api(&client).get_opt(name).await?;
        Ok::<_, kube::Error>(widget.is_none().then_some(()))
    })
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    assert!(maps.get_opt(name).await?.is_none(), "the finalizer came before the end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_outlives_restarts_of_the_api_server() -> Outcome {
    let mut server = ApiServer::start().await?;
    define(&server.client()?, &widgets(schema())).await?;
    let (stop_one, stop_other) = (CancellationToken::new(), CancellationToken::new());
    let one = start(server.client()?, "one", &stop_one);
    create(&server, "w0").await?;
    is_ready(&server, "w0").await?;
    let other = start(server.client()?, "other", &stop_other);
    for round in 1..4 {
        let name = format!("w{round}");
        create(&server, &name).await?;
        server.restart().await?;
        is_ready(&server, &name).await?;
        let before = format!("w{}", round - 1);
        let client = server.client()?;
        insist(|| async {
            let deleted = widget_api(&client).delete(&before, &DeleteParams::default()).await;
            deleted.map(|_| Some(()))
        })
        .await;
        server.restart().await?;
        is_gone(&server, &before).await?;
    }
    // The leader goes; the standby carries on.
    stop_one.cancel();
    one.await?;
    create(&server, "last").await?;
    server.restart().await?;
    is_ready(&server, "last").await?;
    stop_other.cancel();
    other.await?;
    server.stop().await
}

#[tokio::test]
async fn a_leader_is_told_whenever_its_lease_is_renewed() -> Outcome {
    let server = ApiServer::start().await?;
    let config = LeaderConfig {
        retry_period: Duration::from_millis(20),
        ..LeaderConfig::new("renewals", "me")
    };
    let elector = LeaderElector::new(config);
    let mut renewals = elector.renewals();
    assert!(renewals.borrow_and_update().is_none());
    let mut seen = Vec::new();
    let told = &mut seen;
    let work = move |_| async move {
        for _ in 0..3 {
            told.push(*renewals.borrow_and_update());
            renewals.changed().await.expect("the elector is there");
        }
    };
    elector.run(server.client()?, CancellationToken::new(), work).await?;
    assert!(seen.iter().all(Option::is_some) && seen.is_sorted(), "{seen:?}");
    Ok(())
}
