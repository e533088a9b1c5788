//! Running drills: choosing them, a cluster, and a namespace for each; and cleaning up after them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use client::Api;
use client::api::{DeleteParams, PostParams};
use k8s_openapi::api::core::v1::Namespace;
use tokio_util::sync::CancellationToken;

use crate::catalogue;
use crate::drill::{Condition, Drill, Needs};
use crate::failure::{Error, Failure, Outcome};
use crate::ground::Ground;
use crate::report::{self, Report};
use crate::stage::Stage;
use crate::timeline::{Kind, Timeline, Voice};
use crate::view::View;
use crate::wholeness::whole;

/// How long the first look, and the deletion of a namespace, may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A timeline as it happens, and a table.
    Text,
    /// The reports, at the end; the timeline goes where errors go.
    Json,
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The drills, by name.
    pub names: Vec<String>,
    /// All of them.
    pub all: bool,
    /// Where the clusters of this host are remembered.
    pub clusters: PathBuf,
    /// A cluster to run them on, rather than one that is made for them.
    pub cluster: Option<String>,
    /// How often each is run.
    pub repeat: u32,
    /// What is printed.
    pub format: Format,
}

/// Runs drills, and says whether all passed; `print` gets what is told at the end, if anything is.
///
/// # Errors
/// [`Error`] when they cannot be run at all, were broken off, or a cluster made for them cannot be
/// removed.
pub async fn run(
    request: &Request,
    shutdown: &CancellationToken,
    print: impl FnOnce(&str),
) -> Result<bool, Error> {
    let over = shutdown.child_token();
    let voice = Voice { aside: request.format == Format::Json, over };
    let mut reports = Vec::new();
    let result = all(request, &voice, &mut reports).await;
    match request.format {
        Format::Text if reports.len() > 1 => print(&format!("\n{}", report::summary(&reports))),
        Format::Json if !reports.is_empty() => print(&serde_json::to_string_pretty(&reports)?),
        _ => {}
    }
    match result {
        Err(Error::Interrupted) if !shutdown.is_cancelled() => Err(Error::Unread),
        Err(error) => Err(error),
        Ok(()) => Ok(reports.iter().all(|report| report.passed)),
    }
}

async fn all(request: &Request, voice: &Voice, reports: &mut Vec<Report>) -> Result<(), Error> {
    for sitting in sittings(choose(request)?, request.repeat) {
        let Sitting { needs, drills, rounds } = sitting;
        let ground = match &request.cluster {
            Some(name) => Ground::named(&request.clusters, name, &drills).await?,
            None => Ground::make(&request.clusters, needs, &voice.over).await?,
        };
        let result = several(rounds, &ground, &drills, reports, voice).await;
        ground.leave().await?;
        result?;
        if voice.over.is_cancelled() {
            return Err(Error::Interrupted);
        }
    }
    Ok(())
}

/// Drills on one cluster, `rounds` times each.
struct Sitting {
    needs: Needs,
    drills: Vec<&'static Drill>,
    rounds: u32,
}

/// Which drills share a cluster: those that need the same, unless it is of no use afterwards.
fn sittings(drills: Vec<&'static Drill>, rounds: u32) -> Vec<Sitting> {
    let mut groups: BTreeMap<Needs, Vec<&'static Drill>> = BTreeMap::new();
    for drill in drills {
        groups.entry(drill.needs).or_default().push(drill);
    }
    let sitting = |(needs, drills): (Needs, Vec<&'static Drill>)| match needs.condition {
        Condition::Spent => {
            let one = |drill: &&'static Drill| Sitting { needs, drills: vec![drill], rounds: 1 };
            (0..rounds).flat_map(|_| drills.iter().map(one)).collect()
        }
        Condition::Usual | Condition::Ending => vec![Sitting { needs, drills, rounds }],
    };
    groups.into_iter().flat_map(sitting).collect()
}

fn choose(request: &Request) -> Result<Vec<&'static Drill>, Error> {
    if request.all {
        return Ok(catalogue::ALL.iter().collect());
    }
    if request.names.is_empty() {
        return Err(Error::Nothing);
    }
    let find = |name: &String| {
        let found = catalogue::ALL.iter().find(|drill| drill.name == name);
        found.ok_or_else(|| Error::Unknown(name.clone()))
    };
    request.names.iter().map(find).collect()
}

async fn several(
    rounds: u32,
    ground: &Ground,
    drills: &[&'static Drill],
    reports: &mut Vec<Report>,
    voice: &Voice,
) -> Result<(), Error> {
    for _ in 0..rounds {
        for drill in drills {
            let timeline = Timeline::start(voice);
            let blank = if reports.is_empty() { "" } else { "\n" };
            timeline.say(&format!("{blank}{}: {}", drill.name, drill.purpose));
            let (report, usable) = one(ground, drill, timeline, &voice.over).await?;
            reports.push(report);
            if voice.over.is_cancelled() || !usable {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Runs a drill, mends what it left broken and looks the cluster over; says whether it can be used
/// for another one.
async fn one(
    ground: &Ground,
    drill: &'static Drill,
    timeline: Timeline,
    over: &CancellationToken,
) -> Result<(Report, bool), Error> {
    let (nodes, control_planes) = ground.nodes()?;
    let namespace = format!("drill-{:06x}", rand::random::<u32>() & 0xff_ffff);
    let opened = tokio::time::timeout(PATIENCE, View::open(&ground.client, &namespace));
    let view = tokio::select! {
        view = opened => view.map_err(|_| Error::Silent(ground.name.clone()))?,
        () = over.cancelled() => return Err(Error::Interrupted),
    };
    let place = (ground.clusters.clone(), ground.name.clone());
    let mut stage = Stage::new(place, namespace, ground.client.clone(), view, timeline);
    let played = async {
        stage.wait("the cluster is whole", |now| whole(now, &nodes, &control_planes)).await?;
        open(&stage).await?;
        (drill.script)(&mut stage).await
    };
    let played = tokio::select! {
        played = played => played,
        () = over.cancelled() => Err(Failure::Interrupted),
    };
    let seconds = stage.timeline.elapsed().as_secs_f64();
    if let Err(failure) = &played {
        stage.timeline.say(&format!("             {failure}"));
    }
    // However it ended, the cluster is as it was, or the report says that it is not.
    let tidied = async {
        stage.mend_all().await?;
        close(&mut stage).await?;
        stage.wait("the cluster is whole again", |now| whole(now, &nodes, &control_planes)).await
    };
    let tidied = tidied.await;
    let usable = tidied.is_ok();
    let reason = played.and(tidied).err().map(|failure| failure.to_string());
    let report =
        Report::new(drill.name, reason, seconds, std::mem::take(&mut stage.timeline.steps));
    stage.timeline.say(&report.verdict());
    Ok((report, usable))
}

async fn open(stage: &Stage) -> Outcome {
    let api: Api<Namespace> = Api::all(stage.client.clone());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(stage.namespace.clone());
    api.create(&PostParams::default(), &namespace).await.map_err(|error| Failure::NotDone {
        what: "making the drill's namespace".into(),
        error: error.to_string(),
    })?;
    stage.account().await
}

/// Removes the drill's namespace, and with it whatever the drill made.
async fn close(stage: &mut Stage) -> Outcome {
    let what = format!("kubectl delete namespace {}", stage.namespace);
    let failed = |error: String| Failure::NotDone { what: what.clone(), error };
    let api: Api<Namespace> = Api::all(stage.client.clone());
    let name = stage.namespace.clone();
    let Some(there) = api.get_opt(&name).await.map_err(|error| failed(error.to_string()))? else {
        return Ok(());
    };
    stage.timeline.act(Kind::Mend, &what);
    match api.delete(&name, &DeleteParams::default()).await {
        Err(client::Error::Api(status)) if status.is_not_found() => return Ok(()),
        deleted => deleted.map_err(|error| failed(error.to_string()))?,
    };
    let uid = there.metadata.uid;
    let is_gone = |found: Option<&Namespace>| found.is_none_or(|found| found.metadata.uid != uid);
    let gone = tokio::time::timeout(PATIENCE, client::wait_for(&api, &name, is_gone)).await;
    let late = |_| failed(format!("it is still there after {} s", PATIENCE.as_secs()));
    gone.map(drop).map_err(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_share_a_cluster_unless_it_is_spent() {
        let all = catalogue::ALL.iter().collect();
        let spent = |sitting: &Sitting| sitting.needs.condition == Condition::Spent;
        let (own, shared): (Vec<_>, Vec<_>) = sittings(all, 3).into_iter().partition(spent);
        let kinds: Vec<_> = shared.iter().map(|sitting| sitting.needs).collect();
        assert!(kinds.is_sorted_by(|a, b| a < b), "{kinds:?}");
        assert!(shared.iter().all(|sitting| sitting.rounds == 3));
        assert!(own.iter().all(|sitting| sitting.rounds == 1 && sitting.drills.len() == 1));
        let played = |sittings: &[Sitting]| -> usize {
            sittings.iter().map(|s| s.drills.len() * s.rounds as usize).sum()
        };
        assert_eq!(played(&own) + played(&shared), 3 * catalogue::ALL.len());
        assert!(!own.is_empty());
    }
}
