//! In which order the containers of a Pod are stopped. Pure.

use k8s_openapi::api::core::v1::Pod;

use super::spec::{self, Kind};
use crate::runtime::records::PodRecord;

/// Running containers by wave: everything but sidecars at once, then sidecars one by one in
/// reverse order of their start (KEP-753).
pub fn waves(pod: &Pod, record: &PodRecord) -> Vec<Vec<(String, String)>> {
    let sidecars: Vec<String> = spec::spec(pod)
        .init_containers
        .iter()
        .flatten()
        .filter(|c| spec::init_kind(c) == Kind::Sidecar)
        .map(|c| c.name.clone())
        .collect();
    let alive = |keep: &dyn Fn(&str) -> bool| -> Vec<(String, String)> {
        record.alive().filter(|c| keep(&c.name)).map(|c| (c.id.clone(), c.name.clone())).collect()
    };
    let mut waves = vec![alive(&|name| !sidecars.iter().any(|s| s == name))];
    waves.extend(sidecars.iter().rev().map(|sidecar| alive(&|name| name == sidecar)));
    waves.retain(|wave| !wave.is_empty());
    waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::records::{ContainerRecord, State};
    use k8s_openapi::api::core::v1::{Container, PodSpec};

    #[test]
    fn sidecars_go_last_in_reverse() {
        let sidecar = |name: &str| Container {
            name: name.into(),
            restart_policy: Some("Always".into()),
            ..Default::default()
        };
        let main = |name: &str| Container { name: name.into(), ..Default::default() };
        let pod = Pod {
            spec: Some(PodSpec {
                init_containers: Some(vec![sidecar("s1"), main("setup"), sidecar("s2")]),
                containers: vec![main("a"), main("b")],
                ..Default::default()
            }),
            ..Default::default()
        };
        let running = ["a", "b", "s1", "s2"].map(|name| ContainerRecord {
            id: name.into(),
            name: name.into(),
            state: State::Running,
            ..Default::default()
        });
        let record = PodRecord { containers: running.into(), ..Default::default() };
        let names: Vec<Vec<String>> = waves(&pod, &record)
            .into_iter()
            .map(|wave| wave.into_iter().map(|(_, name)| name).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b"], vec!["s2"], vec!["s1"]]);
    }
}
