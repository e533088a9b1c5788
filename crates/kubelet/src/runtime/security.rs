//! Security contexts of Pods and containers → what the runtime is asked for.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, PodSpec, SELinuxOptions, SeccompProfile,
    SecurityContext,
};

use crate::cri::proto::{self, NamespaceMode, security_profile::ProfileType};

/// Paths hidden from containers with the default `procMount`.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
/// Paths that containers may only read with the default `procMount`.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Node settings that security contexts depend on.
#[derive(Clone, Debug)]
pub struct SecurityDefaults {
    /// Folder of seccomp profiles that `localhostProfile` is relative to.
    pub seccomp_dir: std::path::PathBuf,
    /// Whether containers without a seccomp profile get the runtime's.
    pub seccomp_default: bool,
}

/// A container that must not run as root would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonRootError {
    /// The user is root by its number.
    #[error(
        "container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})"
    )]
    RunAsRoot {
        /// `name_namespace(uid)`.
        pod: String,
        /// Container name.
        container: String,
    },
    /// The image runs as root.
    #[error(
        "container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})"
    )]
    ImageRoot {
        /// `name_namespace(uid)`.
        pod: String,
        /// Container name.
        container: String,
    },
    /// The image names its user, so that its number is not known.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \"{pod}\", container: {container})"
    )]
    ImageUserName {
        /// User named by the image.
        user: String,
        /// `name_namespace(uid)`.
        pod: String,
        /// Container name.
        container: String,
    },
}

/// Who an image runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// By number.
    pub uid: Option<i64>,
    /// By name.
    pub name: String,
}

/// `name_namespace(uid)`, upstream's way to print a Pod.
pub fn pod_text(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

/// Namespaces of the Pod as a whole.
pub fn namespaces(spec: &PodSpec) -> proto::NamespaceOption {
    let node_or = |flag: Option<bool>, other: NamespaceMode| {
        if flag == Some(true) { NamespaceMode::Node } else { other }.into()
    };
    let own_pid = if spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    proto::NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod),
        pid: node_or(spec.host_pid, own_pid),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod),
        ..Default::default()
    }
}

/// Security of the sandbox.
pub fn for_sandbox(
    spec: &PodSpec,
    defaults: &SecurityDefaults,
) -> proto::LinuxSandboxSecurityContext {
    let pod = spec.security_context.clone().unwrap_or_default();
    let privileged = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(|c| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true));
    proto::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        selinux_options: pod.se_linux_options.as_ref().map(selinux),
        run_as_user: pod.run_as_user.map(|value| proto::Int64Value { value }),
        run_as_group: pod
            .run_as_user
            .and(pod.run_as_group)
            .map(|value| proto::Int64Value { value }),
        supplemental_groups: groups(&pod),
        supplemental_groups_policy: groups_policy(&pod).into(),
        privileged,
        // As upstream: the sandbox itself runs under the runtime's profile.
        seccomp: Some(seccomp(pod.seccomp_profile.as_ref(), defaults, ProfileType::RuntimeDefault)),
        apparmor: pod.app_armor_profile.as_ref().map(apparmor),
        ..Default::default()
    }
}

/// Security of one container.
pub fn for_container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    target_id: Option<&str>,
    defaults: &SecurityDefaults,
) -> Result<proto::LinuxContainerSecurityContext, NonRootError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    let non_root = own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
    if non_root {
        check_non_root(pod, container, run_as_user, image)?;
    }
    let privileged = own.privileged == Some(true);
    let mut namespace_options = namespaces(&spec);
    if let Some(target) = target_id {
        namespace_options.pid = NamespaceMode::Target.into();
        namespace_options.target_id = target.to_owned();
    }
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| {
        if unmasked || privileged {
            Vec::new()
        } else {
            list.iter().map(|&path| path.to_owned()).collect()
        }
    };
    let user = run_as_user.or(image.uid);
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let without = if defaults.seccomp_default {
        ProfileType::RuntimeDefault
    } else {
        ProfileType::Unconfined
    };
    Ok(proto::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|caps| proto::Capability {
            add_capabilities: caps.add.clone().unwrap_or_default(),
            drop_capabilities: caps.drop.clone().unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespace_options),
        selinux_options: own
            .se_linux_options
            .as_ref()
            .or(of_pod.se_linux_options.as_ref())
            .map(selinux),
        run_as_user: user.map(|value| proto::Int64Value { value }),
        run_as_username: if user.is_none() { image.name.clone() } else { String::new() },
        run_as_group: own
            .run_as_group
            .or(of_pod.run_as_group)
            .map(|value| proto::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod).into(),
        no_new_privs: no_new_privileges(&own),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(if privileged { unconfined() } else { seccomp(profile, defaults, without) }),
        apparmor: own
            .app_armor_profile
            .as_ref()
            .or(of_pod.app_armor_profile.as_ref())
            .map(apparmor),
        ..Default::default()
    })
}

fn check_non_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    image: &ImageUser,
) -> Result<(), NonRootError> {
    let (pod, container) = (pod_text(pod), container.name.clone());
    match (user, image.uid) {
        (Some(0), _) => Err(NonRootError::RunAsRoot { pod, container }),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(NonRootError::ImageRoot { pod, container }),
        (None, Some(_)) => Ok(()),
        (None, None) if image.name.is_empty() => Err(NonRootError::ImageRoot { pod, container }),
        (None, None) => {
            Err(NonRootError::ImageUserName { user: image.name.clone(), pod, container })
        }
    }
}

/// `no_new_privs` is set only when escalation is forbidden outright; a privileged container or one
/// with CAP_SYS_ADMIN can escalate anyway and validation forbids the combination.
fn no_new_privileges(context: &SecurityContext) -> bool {
    context.allow_privilege_escalation == Some(false)
}

fn groups(pod: &PodSecurityContext) -> Vec<i64> {
    let mut all: Vec<i64> = pod.fs_group.into_iter().collect();
    all.extend(pod.supplemental_groups.iter().flatten());
    all
}

fn groups_policy(pod: &PodSecurityContext) -> proto::SupplementalGroupsPolicy {
    match pod.supplemental_groups_policy.as_deref() {
        Some("Strict") => proto::SupplementalGroupsPolicy::Strict,
        _ => proto::SupplementalGroupsPolicy::Merge,
    }
}

fn selinux(options: &SELinuxOptions) -> proto::SeLinuxOption {
    proto::SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

fn unconfined() -> proto::SecurityProfile {
    proto::SecurityProfile {
        profile_type: ProfileType::Unconfined.into(),
        localhost_ref: String::new(),
    }
}

fn seccomp(
    profile: Option<&SeccompProfile>,
    defaults: &SecurityDefaults,
    without: ProfileType,
) -> proto::SecurityProfile {
    let Some(profile) = profile else {
        return proto::SecurityProfile {
            profile_type: without.into(),
            localhost_ref: String::new(),
        };
    };
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("RuntimeDefault", _) => proto::SecurityProfile::default(),
        ("Localhost", Some(name)) => proto::SecurityProfile {
            profile_type: ProfileType::Localhost.into(),
            localhost_ref: defaults.seccomp_dir.join(name).display().to_string(),
        },
        _ => unconfined(),
    }
}

fn apparmor(profile: &AppArmorProfile) -> proto::SecurityProfile {
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("RuntimeDefault", _) => proto::SecurityProfile::default(),
        ("Localhost", Some(name)) => proto::SecurityProfile {
            profile_type: ProfileType::Localhost.into(),
            localhost_ref: name.clone(),
        },
        _ => unconfined(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn defaults() -> SecurityDefaults {
        SecurityDefaults { seccomp_dir: "/seccomp".into(), seccomp_default: false }
    }

    fn context(
        pod: Value,
        container: Value,
        image: ImageUser,
    ) -> Result<proto::LinuxContainerSecurityContext, NonRootError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{"name": "c", "securityContext": container}], "securityContext": pod}
        }))
        .unwrap();
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        for_container(&pod, &container, &image, None, &defaults())
    }

    #[test]
    fn the_container_wins_over_its_pod_and_both_over_the_image() {
        let image = ImageUser { uid: Some(7), name: String::new() };
        let user = |pod, container| {
            context(pod, container, image.clone()).unwrap().run_as_user.map(|uid| uid.value)
        };
        assert_eq!(user(json!({}), json!({})), Some(7));
        assert_eq!(user(json!({"runAsUser": 8}), json!({})), Some(8));
        assert_eq!(user(json!({"runAsUser": 8}), json!({"runAsUser": 9})), Some(9));
    }

    #[test]
    fn privileged_containers_are_not_confined() {
        let plain = context(
            json!({"fsGroup": 5, "supplementalGroups": [6]}),
            json!({}),
            ImageUser::default(),
        )
        .unwrap();
        assert_eq!(plain.supplemental_groups, [5, 6]);
        assert_eq!(plain.masked_paths.len(), MASKED.len());
        let privileged =
            context(json!({}), json!({"privileged": true}), ImageUser::default()).unwrap();
        assert!(privileged.masked_paths.is_empty() && privileged.readonly_paths.is_empty());
        assert_eq!(privileged.seccomp, Some(unconfined()));
    }

    #[test]
    fn seccomp_profiles_by_name() {
        let profile = |container| {
            let made =
                context(json!({}), container, ImageUser::default()).unwrap().seccomp.unwrap();
            (made.profile_type(), made.localhost_ref)
        };
        let of = |value: Value| json!({"seccompProfile": value});
        assert_eq!(profile(json!({})).0, ProfileType::Unconfined);
        assert_eq!(profile(of(json!({"type": "RuntimeDefault"}))).0, ProfileType::RuntimeDefault);
        assert_eq!(
            profile(of(json!({"type": "Localhost", "localhostProfile": "a.json"}))),
            (ProfileType::Localhost, "/seccomp/a.json".into())
        );
    }

    #[test]
    fn root_is_refused_in_upstreams_words() {
        let text = |container, image| {
            context(json!({"runAsNonRoot": true}), container, image).unwrap_err().to_string()
        };
        assert_eq!(
            text(json!({}), ImageUser::default()),
            "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)"
        );
        assert_eq!(
            text(json!({"runAsUser": 0}), ImageUser::default()),
            "container's runAsUser breaks non-root policy (pod: \"p_n(u)\", container: c)"
        );
        assert!(
            text(json!({}), ImageUser { uid: None, name: "app".into() })
                .contains("non-numeric user (app)")
        );
    }
}
