//! Security contexts, operating systems, user namespaces.

use crate::checks::{check, check_below, check_update};

fn one(container: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: c, image: i, securityContext: {{{container}}}}}], {rest}}}}}"
    )
}

#[track_caller]
fn container(context: &str, expected: &[&str]) {
    check_below(&one(context, ""), "spec.containers[0].securityContext", expected);
}

#[track_caller]
fn pod(rest: &str, expected: &[&str]) {
    check(&one("", rest), expected);
}

#[test]
fn containers() {
    container(
        "runAsUser: -1, procMount: X",
        &[
            ".runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            r#".procMount: Unsupported value: "X": supported values: "Default", "Unmasked""#,
        ],
    );
    container(
        "procMount: Unmasked",
        &[r#".procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`"#],
    );
    check(&one("procMount: Unmasked", "hostUsers: false"), &[]);
    container("allowPrivilegeEscalation: false, capabilities: {add: [SYS_ADMIN]}", &[]);
    let shown = r#"{"Capabilities":{"Add":["CAP_SYS_ADMIN"],"Drop":null},"Privileged":true,"SELinuxOptions":null,"WindowsOptions":null,"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,"AllowPrivilegeEscalation":false,"ProcMount":null,"SeccompProfile":null,"AppArmorProfile":null}"#;
    container(
        "allowPrivilegeEscalation: false, privileged: true, capabilities: {add: [CAP_SYS_ADMIN]}",
        &[
            &format!(
                ": Invalid value: {shown}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            ),
            &format!(
                ": Invalid value: {shown}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            ),
        ],
    );
}

#[test]
fn profiles() {
    let types = r#"supported values: "Localhost", "RuntimeDefault", "Unconfined""#;
    container(
        "seccompProfile: {type: ''}, appArmorProfile: {type: ''}",
        &[
            ".seccompProfile.type: Required value: type is required when seccompProfile is set",
            ".appArmorProfile.type: Required value: type is required when appArmorProfile is set",
        ],
    );
    container(
        "seccompProfile: {type: X, localhostProfile: a}, appArmorProfile: {type: X}",
        &[
            &format!(".seccompProfile.type: Unsupported value: \"X\": {types}"),
            r#".seccompProfile.localhostProfile: Invalid value: {"Type":"X","LocalhostProfile":"a"}: can only be set when seccomp type is Localhost"#,
            &format!(".appArmorProfile.type: Unsupported value: \"X\": {types}"),
        ],
    );
    container(
        "seccompProfile: {type: Localhost}, appArmorProfile: {type: Localhost, localhostProfile: ' a'}",
        &[
            ".seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            r#".appArmorProfile.localhostProfile: Invalid value: " a": must not be padded with whitespace"#,
        ],
    );
    let long = "a".repeat(4096);
    container(
        &format!("appArmorProfile: {{type: Localhost, localhostProfile: {long}}}"),
        &[".appArmorProfile.localhostProfile: Too long: may not be more than 4095 bytes"],
    );
    container(
        "appArmorProfile: {type: Unconfined, localhostProfile: a}",
        &[
            r#".appArmorProfile.localhostProfile: Invalid value: "a": can only be set when AppArmor type is Localhost"#,
        ],
    );
}

#[test]
fn pods() {
    pod(
        "securityContext: {fsGroup: -1, fsGroupChangePolicy: '', supplementalGroups: [-1], supplementalGroupsPolicy: X, seLinuxChangePolicy: MountOption}",
        &[
            "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "spec.securityContext.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            r#"spec.securityContext.fsGroupChangePolicy: Unsupported value: "": supported values: "Always", "OnRootMismatch""#,
            r#"spec.securityContext.supplementalGroupsPolicy: Unsupported value: "X": supported values: "Merge", "Strict""#,
            r#"spec.securityContext.seLinuxChangePolicy: Unsupported value: "MountOption": supported values: "Recursive""#,
        ],
    );
    check_update(
        &one("", "securityContext: {seLinuxChangePolicy: MountOption}"),
        "{metadata: {labels: {a: b}}}",
        &[],
    );
    let sysctls = |host: &str, sysctls: &str, expected: &[&str]| {
        pod(&format!("{host}, securityContext: {{sysctls: [{sysctls}]}}"), expected);
    };
    sysctls("hostPID: true", "{name: net.a/b, value: x}, {name: kernel.sem, value: x}", &[]);
    sysctls(
        "hostNetwork: true, hostIPC: true",
        "{name: '', value: x}, {name: A, value: x}, {name: net.a, value: x}, {name: net.a, value: x}, {name: kernel.shmmax, value: x}",
        &[
            "spec.securityContext.sysctls[0].name: Required value",
            r#"spec.securityContext.sysctls[1].name: Invalid value: "A": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"#,
            r#"spec.securityContext.sysctls[2].name: Invalid value: "net.a": may not be specified when 'hostNetwork' is true"#,
            r#"spec.securityContext.sysctls[3].name: Duplicate value: "net.a""#,
            r#"spec.securityContext.sysctls[3].name: Invalid value: "net.a": may not be specified when 'hostNetwork' is true"#,
            r#"spec.securityContext.sysctls[4].name: Invalid value: "kernel.shmmax": may not be specified when 'hostIPC' is true"#,
        ],
    );
    pod(
        "hostPID: true, shareProcessNamespace: true",
        &[
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ],
    );
    pod(
        "hostUsers: false, hostNetwork: true, hostPID: true, hostIPC: true",
        &[
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
            "spec.HostIPC: Forbidden: when `hostUsers` is false",
        ],
    );
    check(
        "{apiVersion: v1, kind: Pod, spec: {hostUsers: false, volumes: [{name: v, persistentVolumeClaim: {claimName: c}}], containers: [{name: c, image: i, volumeDevices: [{name: v, devicePath: /d}]}]}}",
        &["spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false"],
    );
}

#[test]
fn windows() {
    let user = |name: &str, expected: &str| {
        let text = format!(".windowsOptions.runAsUserName: Invalid value: {name}: {expected}");
        let expected: &[&str] = if expected.is_empty() { &[] } else { &[&text] };
        container(&format!("windowsOptions: {{runAsUserName: {name}}}"), expected);
    };
    user(r#""NT AUTHORITY\\NETWORK SERVICE""#, "");
    user(r#""a.b.example\\u""#, "");
    user(r#""""#, "runAsUserName cannot be an empty string");
    user(r#""a\tb""#, "runAsUserName cannot contain control characters");
    user(r#""a\\b\\c""#, "runAsUserName cannot contain more than one backslash");
    user(r#"".a.\\b""#, "runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    user(r#""a\\""#, "runAsUserName's User cannot be empty");
    user(r#"". .""#, "runAsUserName's User cannot contain only periods or spaces");
    user(
        r#""a@b""#,
        "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]",
    );
    container(
        "windowsOptions: {gmsaCredentialSpecName: '', gmsaCredentialSpec: ''}",
        &[
            ".windowsOptions.gmsaCredentialSpecName: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ".windowsOptions.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string",
        ],
    );
    check(
        &one(
            "windowsOptions: {hostProcess: true}",
            "hostNetwork: true, securityContext: {windowsOptions: {hostProcess: false}}",
        ),
        &[
            "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: true: pod hostProcess value must be identical if both are specified, was false",
        ],
    );
    check(
        "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: i, securityContext: {windowsOptions: {hostProcess: true}}}, {name: b, image: i}]}}",
        &[
            "spec: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
        ],
    );
}

#[test]
fn operating_systems() {
    pod("os: {name: ''}", &["spec.os.name: Required value"]);
    pod(
        "os: {name: plan9}",
        &[r#"spec.os: Unsupported value: "plan9": supported values: "linux", "windows""#],
    );
    check(
        &one("windowsOptions: {}", "os: {name: linux}, securityContext: {windowsOptions: {}}"),
        &[
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            "spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ],
    );
    let no = |field: &str| format!("spec.{field}: Forbidden: cannot be set for a windows pod");
    check(
        &one(
            "runAsUser: 1, procMount: Default, capabilities: {}",
            "os: {name: windows}, hostPID: true, shareProcessNamespace: false, securityContext: {fsGroup: 1, seccompProfile: {type: RuntimeDefault}, sysctls: []}",
        ),
        &[
            &no("hostPID"),
            &no("securityContext.seccompProfile"),
            &no("securityContext.fsGroup"),
            &no("shareProcessNamespace"),
            &no("containers[0].securityContext.capabilities"),
            &no("containers[0].securityContext.procMount"),
            &no("containers[0].securityContext.runAsUser"),
        ],
    );
}
