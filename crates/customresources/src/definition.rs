//! A CustomResourceDefinition, read: what it makes the server serve.

use std::cmp::Reverse;
use std::sync::Arc;

use cel::rules::Rules;
use machinery::gvk::GroupVersionKind;
use machinery::schema::Type;
use machinery::{Value, codec, meta};
use resources::selectable::{Read, Refusal};
use resources::{
    Conversion, Registration, ScalePaths, SelectableField, SelectableFields, Storage, Subresource,
    WebhookConversion,
};

use crate::compile::compile;
use crate::jsonpath::JsonPath;
use crate::strategy::CustomResource;
use crate::structural::{Kind, Structural};
use crate::{columns, default, openapi};

/// What can be done with custom objects, and while their definition goes away.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const LAST_VERBS: [&str; 7] =
    ["delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// See the module.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The API group.
    pub group: String,
    /// The plural name.
    pub plural: String,
    /// The kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Its versions, in the order of preference.
    pub versions: Vec<Version>,
    names: Value,
    /// `spec.conversion.webhook`, where that is the strategy.
    webhook: Option<Arc<Value>>,
    terminating: bool,
}

/// A version of a custom resource.
#[derive(Clone, Debug)]
pub struct Version {
    /// `v1`
    pub name: String,
    /// Whether it is served.
    pub served: bool,
    /// Whether objects are stored in it.
    pub stored: bool,
    schema: Arc<Structural>,
    rules: Arc<Rules>,
    ty: Type,
    source: Value,
}

impl Definition {
    /// Reads a definition; none if it is not established or its names are not accepted yet.
    pub fn of(crd: &Value) -> Option<Self> {
        if !is_true(crd, "Established") {
            return None;
        }
        let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (group, kind) = (text("/spec/group")?, text("/status/acceptedNames/kind")?);
        let mut versions: Vec<Version> = crd
            .pointer("/spec/versions")?
            .as_array()?
            .iter()
            .filter_map(|version| Version::new(version, &group, &kind))
            .collect();
        versions.sort_by_key(|version| Reverse(rank(&version.name)));
        let webhook = crd.pointer("/spec/conversion/webhook").cloned().map(Arc::new);
        Some(Self {
            plural: text("/status/acceptedNames/plural")?,
            namespaced: text("/spec/scope")? == "Namespaced",
            names: crd.pointer("/status/acceptedNames")?.clone(),
            webhook: webhook
                .filter(|_| text("/spec/conversion/strategy").as_deref() == Some("Webhook")),
            terminating: meta::deletion_timestamp(crd).is_some(),
            group,
            kind,
            versions,
        })
    }

    /// One registration for each version, served or not, in their order.
    pub fn registrations(&self) -> Vec<Registration> {
        let Some(stored) = self.versions.iter().find(|version| version.stored) else {
            return Vec::new();
        };
        self.versions.iter().map(|version| self.registration(version, stored)).collect()
    }

    /// The fields that selectors may name in any version.
    pub fn selectable_fields(&self) -> SelectableFields {
        let mut all = SelectableFields::metadata_only();
        for version in &self.versions {
            for field in version.selectable() {
                if all.find(&field.name).is_none() {
                    all.fields.push(field);
                }
            }
        }
        all
    }

    fn registration(&self, version: &Version, stored: &Version) -> Registration {
        let gvk =
            |version: &str| GroupVersionKind::new(self.group.as_str(), version, self.kind.as_str());
        let texts = |names: &[&'static str]| names.iter().map(|name| (*name).into()).collect();
        let list = |name: &str| {
            let items = self.names.get(name).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(|item| item.to_owned().into()).collect()
        };
        let name = |name: &str| {
            self.names.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let has_status = version.has_status();
        let scale = version.scale();
        let mut subresources = Vec::new();
        if scale.is_some() {
            subresources.push(Subresource {
                name: "scale".into(),
                kind: GroupVersionKind::new("autoscaling", "v1", "Scale"),
                verbs: texts(&SUBRESOURCE_VERBS),
            });
        }
        if has_status {
            subresources.push(Subresource {
                name: "status".into(),
                kind: gvk(&version.name),
                verbs: texts(&SUBRESOURCE_VERBS),
            });
        }
        let mut selectable_fields = SelectableFields::metadata_only();
        selectable_fields.fields.extend(version.selectable());
        selectable_fields.refusal = Refusal::Plain;
        selectable_fields.of_what_is_shown = true;
        Registration {
            group: self.group.clone().into(),
            version: version.name.clone().into(),
            resource: self.plural.clone().into(),
            singular: name("singular").into(),
            kind: self.kind.clone().into(),
            list_kind: name("listKind").into(),
            namespaced: self.namespaced,
            verbs: texts(if self.terminating { &LAST_VERBS } else { &VERBS }),
            short_names: list("shortNames"),
            categories: list("categories"),
            subresources,
            ty: version.ty.clone(),
            storage: Storage {
                prefix: format!("{}/{}", self.group, self.plural).into(),
                kind: gvk(&stored.name),
                ty: stored.ty.clone(),
                conversion: Some(self.conversion(version, stored)),
            },
            columns: columns::columns(version.source.get("additionalPrinterColumns")),
            selectable_fields,
            strategy: Arc::new(CustomResource {
                schema: version.schema.as_ref().clone(),
                has_status,
                scale: scale.clone(),
                rules: version.rules.clone(),
            }),
            scale,
            deprecation: self.deprecation(version),
            published: Some(Arc::new(openapi::published(
                [&self.group, &version.name, &self.kind],
                &name("listKind"),
                &version.published(),
                version.source.get("selectableFields"),
            ))),
        }
    }

    /// What is said to users of a deprecated version: what the definition says, or which version to
    /// use instead.
    fn deprecation(&self, version: &Version) -> Option<String> {
        if !version.is_deprecated() {
            return None;
        }
        if let Some(own) = version.source.get("deprecationWarning").and_then(Value::as_str) {
            return Some(own.to_owned());
        }
        let (group, kind) = (&self.group, &self.kind);
        let mut text = format!("{group}/{} {kind} is deprecated", version.name);
        let is_better = |other: &&Version| {
            other.served && !other.is_deprecated() && rank(&other.name) > rank(&version.name)
        };
        // Versions are in the order of preference.
        if let Some(better) = self.versions.iter().find(is_better) {
            text.push_str(&format!("; use {group}/{} {kind}", better.name));
        }
        Some(text)
    }

    /// Objects come out of the store in whatever version they were written in.
    fn conversion(&self, version: &Version, stored: &Version) -> Conversion {
        let api_version = |version: &Version| format!("{}/{}", self.group, version.name);
        let (to, into) = (api_version(stored), stored.ty.clone());
        let to_storage = move |object: &mut Value| {
            object["apiVersion"] = to.clone().into();
            codec::prune(object, into.type_ref());
        };
        match &self.webhook {
            None => {
                let (from, ty) = (api_version(version), version.ty.clone());
                let schema = version.schema.clone();
                let from_storage = move |object: &mut Value| {
                    object["apiVersion"] = from.clone().into();
                    codec::prune(object, ty.type_ref());
                    default::apply(object, &schema);
                };
                Conversion::Pure {
                    to_storage: Arc::new(to_storage),
                    from_storage: Arc::new(from_storage),
                }
            }
            Some(webhook) => {
                let versions: Arc<[(String, Version)]> = self
                    .versions
                    .iter()
                    .map(|version| (api_version(version), version.clone()))
                    .collect();
                let by_version = move |object: &Value| {
                    let own = meta::api_version(object);
                    versions.iter().find(|(name, _)| name == own).map(|(_, v)| v.clone())
                };
                let known = by_version.clone();
                let decoded = move |object: &mut Value| {
                    if let Some(version) = by_version(object) {
                        codec::prune(object, version.ty.type_ref());
                        default::apply(object, &version.schema);
                    }
                };
                let converted = move |object: &mut Value| {
                    if let Some(version) = known(object) {
                        codec::prune(object, version.ty.type_ref());
                        default::apply(object, &version.schema);
                    }
                };
                Conversion::Webhook(WebhookConversion {
                    webhook: webhook.clone(),
                    decoded: Arc::new(decoded),
                    converted: Arc::new(converted),
                })
            }
        }
    }
}

impl Version {
    fn new(source: &Value, group: &str, kind: &str) -> Option<Self> {
        let name = source.get("name")?.as_str()?.to_owned();
        let mut schema = match source.pointer("/schema/openAPIV3Schema") {
            Some(schema) => Structural::new(schema),
            None => Structural { preserves_unknown_fields: true, ..Structural::default() },
        };
        // The root is an object, whether or not the schema says so.
        schema.kind.get_or_insert(Kind::Object);
        let flag = |field: &str| source.get(field).and_then(Value::as_bool).unwrap_or_default();
        let rules = source.pointer("/schema/openAPIV3Schema").map(Rules::compile_stored);
        let ty = compile(&schema, &openapi::definition_name(group, &name, kind));
        Some(Self {
            served: flag("served"),
            stored: flag("storage"),
            schema: Arc::new(schema),
            rules: Arc::new(rules.unwrap_or_default()),
            ty,
            source: source.clone(),
            name,
        })
    }

    fn has_status(&self) -> bool {
        self.source.pointer("/subresources/status").is_some_and(|status| !status.is_null())
    }

    fn scale(&self) -> Option<ScalePaths> {
        let scale = self.source.pointer("/subresources/scale")?;
        let path = |name: &str| scale.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(ScalePaths {
            spec_replicas: path("specReplicasPath")?.into(),
            status_replicas: path("statusReplicasPath")?.into(),
            label_selector: path("labelSelectorPath").filter(|p| !p.is_empty()).map(Into::into),
        })
    }

    fn selectable(&self) -> Vec<SelectableField> {
        let fields = self.source.get("selectableFields").and_then(Value::as_array);
        fields
            .into_iter()
            .flatten()
            .filter_map(|field| {
                let path = JsonPath::parse(field.get("jsonPath")?.as_str()?).ok()?;
                let name = path.members()?.join(".");
                Some(SelectableField {
                    name: name.clone().into(),
                    canonical: name.into(),
                    read: Read::Path,
                })
            })
            .collect()
    }

    fn is_deprecated(&self) -> bool {
        self.source.get("deprecated").and_then(Value::as_bool).unwrap_or_default()
    }

    /// The schema for documents.
    fn published(&self) -> Value {
        self.source.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default()
    }
}

/// Whether a condition of a definition holds.
pub fn is_true(crd: &Value, condition: &str) -> bool {
    let conditions = crd.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == condition && c["status"] == "True")
}

/// Versions in the order of preference: stable ones before beta and alpha, higher numbers first,
/// then everything else by name.
pub fn rank(version: &str) -> impl Ord + use<> {
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, rest) = rest.split_at(end);
        if major.is_empty() || major.starts_with('0') {
            return None;
        }
        let major: u64 = major.parse().ok()?;
        let (level, minor) = match rest {
            "" => (2, ""),
            _ if rest.starts_with("beta") => (1, &rest[4..]),
            _ if rest.starts_with("alpha") => (0, &rest[5..]),
            _ => return None,
        };
        let minor: u64 = if level == 2 { 0 } else { minor.parse().ok()? };
        Some((level, major, minor))
    };
    // Other names come last, in order of the alphabet.
    (parsed(), Reverse(version.to_owned()))
}

#[cfg(test)]
mod tests;
