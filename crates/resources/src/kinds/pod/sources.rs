//! Rules for what volumes can be made of that Pods and PersistentVolumes have in common, most of
//! which came with Kubernetes itself and is left to drivers now.

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::volumes::no_parent_steps;
use crate::cursor::At;

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
const PARTITION: &str = "must be between 1 and 255, inclusive";
const HOST_PORTS: &str = "must be a host:port pair or multiple pairs separated by commas";
const MANAGED_DISK: &str = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_DISK: &str =
    "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
const INITIATOR: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Where a source stands; references to Secrets name their namespace in volumes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kinds) enum In<'a> {
    /// In a Pod.
    Pod,
    /// In the PersistentVolume of this name.
    Volume(&'a str),
}

/// Checks the source of one kind that a volume has.
pub(in crate::kinds) fn check(
    kind: &'static str,
    volume: &At<'_>,
    place: In<'_>,
    errors: &mut ErrorList,
) {
    let mut source = volume.get(kind);
    if kind == "gcePersistentDisk" {
        // Upstream shows what is wrong with this one by an older name.
        source.path = volume.path.child("persistentDisk");
    }
    let source = &source;
    let must = |fields: &[&'static str], errors: &mut ErrorList| {
        for field in fields {
            source.get(field).must(errors);
        }
    };
    match kind {
        "hostPath" => host_path(source, errors),
        "nfs" => {
            must(&["server", "path"], errors);
            let path = source.get("path");
            if !path.str().starts_with('/') {
                let detail = "must be an absolute path";
                errors.push(Error::invalid(&path.path, path.str(), detail));
            }
        }
        "iscsi" => iscsi(source, place, errors),
        "fc" => fibre_channel(source, errors),
        "gcePersistentDisk" => disk(source, "pdName", errors),
        "awsElasticBlockStore" => disk(source, "volumeID", errors),
        "flocker" => flocker(source, errors),
        "glusterfs" => {
            must(&["endpoints", "path"], errors);
            let namespace = source.get("endpointsNamespace");
            if namespace.is_set() && namespace.is_empty() {
                let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                namespace.invalid(errors, detail);
            } else if namespace.is_set() {
                namespace.form(errors, names::dns1123_label);
            }
        }
        "rbd" => must(&["monitors", "image"], errors),
        "cephfs" => must(&["monitors"], errors),
        "cinder" => {
            must(&["volumeID"], errors);
            secret(&source.get("secretRef"), place, errors);
        }
        "portworxVolume" => must(&["volumeID"], errors),
        "quobyte" => quobyte(source, errors),
        "azureFile" => {
            must(&["secretName", "shareName"], errors);
            let namespace = source.get("secretNamespace");
            if namespace.is_set() {
                namespace.must(errors);
            }
        }
        "azureDisk" => azure_disk(source, errors),
        "vsphereVolume" => must(&["volumePath"], errors),
        "photonPersistentDisk" => must(&["pdID"], errors),
        "flexVolume" => flex(source, errors),
        "scaleIO" => must(&["gateway", "system", "volumeName"], errors),
        "storageos" => {
            source.get("volumeName").must_form(errors, names::dns1123_label);
            source.get("volumeNamespace").may_form(errors, names::dns1123_label);
            secret(&source.get("secretRef"), place, errors);
        }
        _ => {}
    }
}

fn host_path(source: &At<'_>, errors: &mut ErrorList) {
    let path = source.get("path");
    if path.must(errors) {
        no_parent_steps(&path, errors);
        source.get("type").may_be_one_of(errors, &HOST_PATH_TYPES);
    }
}

fn secret(reference: &At<'_>, place: In<'_>, errors: &mut ErrorList) {
    if !reference.is_set() {
        return;
    }
    reference.get("name").must(errors);
    if place != In::Pod {
        reference.get("namespace").must(errors);
    }
}

fn disk(source: &At<'_>, name: &'static str, errors: &mut ErrorList) {
    source.get(name).must(errors);
    let partition = source.get("partition");
    if !(0..=255).contains(&partition.int_or_zero()) {
        partition.invalid(errors, PARTITION);
    }
}

fn iscsi(source: &At<'_>, place: In<'_>, errors: &mut ErrorList) {
    let portal = source.get("targetPortal");
    portal.must(errors);
    if let In::Volume(name) = place
        && !initiator_is_short(source, name)
    {
        let path = source.path.child("targetportal");
        errors.push(Error::invalid(&path, portal.str(), INITIATOR));
    }
    // A volume is told less about a name that is none.
    let unknown = match place {
        In::Pod => "must be valid format starting with iqn, eui, or naa",
        In::Volume(_) => "must be valid format",
    };
    let name = |name: &At<'_>, errors: &mut ErrorList| match is_iscsi_name(name.str()) {
        None => name.invalid(errors, unknown),
        Some(false) => name.invalid(errors, "must be valid format"),
        Some(true) => {}
    };
    let target = source.get("iqn");
    if target.must(errors) {
        name(&target, errors);
    }
    source.get("lun").within(errors, 0, 255);
    let reference = source.get("secretRef");
    let chap = source.get("chapAuthDiscovery").bool() || source.get("chapAuthSession").bool();
    if chap && !reference.is_set() {
        reference.required(errors, "");
    }
    if place != In::Pod && reference.is_set() {
        reference.get("name").must(errors);
    }
    let initiator = source.get("initiatorName");
    if initiator.is_set() {
        let shown = At::new(initiator.value, source.path.child("initiatorname"));
        name(&shown, errors);
    }
}

/// Whether a text is a name of iSCSI of the kind that it starts like, if it starts like one.
fn is_iscsi_name(text: &str) -> Option<bool> {
    let coded = |digits: usize| {
        // Any character may follow the kind.
        let rest = text.chars().skip(4).collect::<String>();
        text.chars().count() > 4
            && rest.len() == digits
            && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    match text.get(..3)? {
        "iqn" => Some(text.match_indices("iqn.").any(|(i, _)| is_qualified(&text[i + 4..]))),
        "eui" => Some(coded(16)),
        "naa" => Some(coded(32)),
        _ => None,
    }
}

/// Year and month, an authority's name and, behind a colon, what it named.
fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    if !digits(0..4) || bytes.get(4) != Some(&b'-') || !digits(5..7) || bytes.get(7) != Some(&b'.')
    {
        return false;
    }
    let Some((authority, name)) = text[8..].split_once(':') else { return false };
    !authority.is_empty()
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !name.is_empty()
        && !name.contains([',', ';', '*', '&', '$', '|', ' ', '\t', '\n', '\r', '\u{c}'])
}

fn initiator_is_short(source: &At<'_>, volume: &str) -> bool {
    let portal = source.get("targetPortal").str();
    !source.get("initiatorName").is_set() || volume.len() + 1 + portal.len() <= 64
}

/// Checks that an interface of iSCSI can be named after a Pod's volume.
pub(super) fn initiator_fits(source: &At<'_>, name: At<'_>, errors: &mut ErrorList) {
    if !initiator_is_short(source, name.str()) {
        name.invalid(errors, INITIATOR);
    }
}

fn fibre_channel(source: &At<'_>, errors: &mut ErrorList) {
    let (targets, ids) = (source.get("targetWWNs"), source.get("wwids"));
    if targets.is_empty() && ids.is_empty() {
        targets.required(errors, "must specify either targetWWNs or wwids, but not both");
    }
    if !targets.is_empty() && !ids.is_empty() {
        targets.invalid(errors, "targetWWNs and wwids can not be specified simultaneously");
    }
    let lun = source.get("lun");
    if targets.is_empty() {
        return;
    }
    if lun.is_set() {
        lun.within(errors, 0, 255);
    } else {
        lun.required(errors, "lun is required if targetWWNs is specified");
    }
}

fn flocker(source: &At<'_>, errors: &mut ErrorList) {
    let (name, uuid) = (source.get("datasetName"), source.get("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        source.required(errors, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(Error::invalid(&source.path, "resource", detail));
    }
    if name.str().contains('/') {
        name.invalid(errors, "must not contain '/'");
    }
}

fn quobyte(source: &At<'_>, errors: &mut ErrorList) {
    let registry = source.get("registry");
    if registry.is_empty() {
        registry.required(errors, HOST_PORTS);
    } else if source.get("tenant").str().len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        source.get("tenant").required(errors, detail);
    } else {
        for _ in registry.str().split(',').filter(|pair| !is_host_and_port(pair)) {
            registry.invalid(errors, HOST_PORTS);
        }
    }
    source.get("volume").must(errors);
}

/// Whether a text is a host, in brackets if it has colons, and a port.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner,
        None if host.contains(':') => return false,
        None => host,
    };
    !plain.contains(['[', ']']) && !port.contains(['[', ']'])
}

fn azure_disk(source: &At<'_>, errors: &mut ErrorList) {
    source.get("diskName").must(errors);
    let uri = source.get("diskURI");
    uri.must(errors);
    for (field, supported) in [
        ("cachingMode", ["None", "ReadOnly", "ReadWrite"]),
        ("kind", ["Dedicated", "Managed", "Shared"]),
    ] {
        let field = source.get(field);
        if field.is_set() && !supported.contains(&field.str()) {
            field.unsupported(errors, &supported);
        }
    }
    let kind = source.get("kind");
    let (start, form) = match kind.str() {
        "Managed" => ("/subscriptions/", MANAGED_DISK),
        _ => ("https://", BLOB_DISK),
    };
    if kind.is_set() && !uri.str().starts_with(start) {
        errors.push(Error::not_supported(&uri.path, uri.str(), &[form]));
    }
}

fn flex(source: &At<'_>, errors: &mut ErrorList) {
    source.get("driver").must(errors);
    for (key, option) in source.get("options").entries() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(Error::invalid(&option.path, key, detail));
        }
    }
}
