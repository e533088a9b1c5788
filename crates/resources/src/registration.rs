//! One registration per API resource, and the order in which generic and own rules run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use machinery::Value;
use machinery::field::ErrorList;
use machinery::gvk::{GroupKind, GroupResource, GroupVersionKind, GroupVersionResource};
use machinery::openapi::Published;
use machinery::schema::{self, Type, TypeRef};
use machinery::{meta, time};
use serde::Deserialize;

use crate::amounts;
use crate::columns::{ColumnDefinition, Columns};
use crate::convert::{self, Conversion};
use crate::cursor::{copy_field, remove, same};
use crate::declarative;
use crate::object_meta;
use crate::selectable::{self, SelectableFields};
use crate::strategy::{Ctx, Generation, StatusOnCreate, Strategy};

/// Everything the API server knows about a resource in one version of its group.
#[derive(Clone)]
pub struct Registration {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The version in which it is served.
    pub version: Cow<'static, str>,
    /// The plural name, as in URLs.
    pub resource: Cow<'static, str>,
    /// The singular name.
    pub singular: Cow<'static, str>,
    /// The kind of its objects.
    pub kind: Cow<'static, str>,
    /// The kind of its lists.
    pub list_kind: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it, sorted.
    pub verbs: Vec<Cow<'static, str>>,
    /// Names for people in a hurry.
    pub short_names: Vec<Cow<'static, str>>,
    /// Groups of resources such as `all`.
    pub categories: Vec<Cow<'static, str>>,
    /// `status`, `scale`, `log` and the like.
    pub subresources: Vec<Subresource>,
    /// The type of its objects; see [`Registration::ty`].
    pub ty: Type,
    /// How its objects are stored.
    pub storage: Storage,
    /// What `kubectl get` prints.
    pub columns: Columns,
    /// The fields that field selectors may name.
    pub selectable_fields: SelectableFields,
    /// The kind's own rules.
    pub strategy: Arc<dyn Strategy>,
    /// Where the number of replicas is, if the resource has a scale and is not a built-in one.
    pub scale: Option<ScalePaths>,
    /// What clients are told about this version.
    pub deprecation: Option<String>,
    /// Its schemas in documents, unless they derive from a built-in type.
    pub published: Option<Arc<Published>>,
}

/// Where the parts of a Scale are, as dotted paths such as `.spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted number of replicas.
    pub spec_replicas: Cow<'static, str>,
    /// The present number of replicas.
    pub status_replicas: Cow<'static, str>,
    /// The selector of the replicas, as text.
    pub label_selector: Option<Cow<'static, str>>,
}

/// A part of a resource with a path of its own.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// The last part of the path.
    pub name: Cow<'static, str>,
    /// Kind, group and version of the objects it takes and gives.
    pub kind: GroupVersionKind,
    /// What can be done with it, sorted.
    pub verbs: Vec<Cow<'static, str>>,
}

/// The stored form of a resource.
#[derive(Clone)]
pub struct Storage {
    /// Between `/registry/` and the object's namespace and name. Two resources with the same
    /// prefix are two views of the same objects.
    pub prefix: Cow<'static, str>,
    /// The kind in which objects are stored.
    pub kind: GroupVersionKind,
    /// The type of the stored objects; see [`Storage::ty`].
    pub ty: Type,
    /// How to get from the served to the stored form and back, if they differ.
    pub conversion: Option<Conversion>,
}

#[derive(Deserialize)]
struct Table<'a> {
    #[serde(borrow)]
    groups: Vec<TableGroup<'a>>,
}

#[derive(Deserialize)]
struct TableGroup<'a> {
    group: &'a str,
    #[serde(borrow)]
    resources: Vec<TableResource<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableResource<'a> {
    version: &'a str,
    name: &'a str,
    singular: &'a str,
    kind: &'a str,
    namespaced: bool,
    #[serde(borrow)]
    verbs: Vec<&'a str>,
    #[serde(default, borrow)]
    short_names: Vec<&'a str>,
    #[serde(default, borrow)]
    categories: Vec<&'a str>,
    #[serde(default, borrow)]
    subresources: Vec<TableSubresource<'a>>,
    #[serde(default)]
    columns: Vec<ColumnDefinition>,
}

#[derive(Deserialize)]
struct TableSubresource<'a> {
    name: &'a str,
    kind: &'a str,
    #[serde(borrow)]
    verbs: Vec<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
}

/// Every built-in resource in every version, in the order of discovery.
///
/// # Panics
/// Never in a released program: a test reads the same data.
pub fn all() -> &'static [Registration] {
    static ALL: LazyLock<Vec<Registration>> = LazyLock::new(load);
    &ALL
}

/// A built-in resource.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Registration> {
    all().iter().find(|r| r.resource == resource && r.group == group && r.version == version)
}

/// A built-in resource by the kind of its objects.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Registration> {
    all().iter().find(|r| r.kind == kind && r.group == group && r.version == version)
}

fn load() -> Vec<Registration> {
    let table: Table<'static> = serde_json::from_str(include_str!("../data/resources.json"))
        .expect("the data file of the crate is well-formed");
    let mut all = Vec::new();
    for group in table.groups {
        // The versions of a group stand in the order of preference.
        let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
        for resource in group.resources {
            let newest = *newest.entry(resource.name).or_insert(resource.version);
            all.push(register(group.group, newest, resource));
        }
    }
    all
}

fn borrowed(names: Vec<&'static str>) -> Vec<Cow<'static, str>> {
    names.into_iter().map(Cow::Borrowed).collect()
}

fn register(
    group: &'static str,
    newest: &'static str,
    entry: TableResource<'static>,
) -> Registration {
    let table = schema::builtin();
    let type_of = |gvk: &GroupVersionKind| {
        table
            .kind(&gvk.group, &gvk.version, &gvk.kind)
            .unwrap_or_else(|| panic!("{gvk} is in the discovery table and must be in the schema"))
    };
    let kind = GroupVersionKind::new(group, entry.version, entry.kind);
    let storage = convert::storage(group, entry.version, newest, entry.name, entry.kind);
    let subresources = entry.subresources.into_iter().map(|sub| Subresource {
        name: sub.name.into(),
        kind: GroupVersionKind::new(
            sub.group.unwrap_or(group),
            sub.version.unwrap_or(entry.version),
            sub.kind,
        ),
        verbs: borrowed(sub.verbs),
    });
    Registration {
        group: group.into(),
        version: entry.version.into(),
        resource: entry.name.into(),
        singular: entry.singular.into(),
        kind: entry.kind.into(),
        list_kind: format!("{}List", entry.kind).into(),
        namespaced: entry.namespaced,
        verbs: borrowed(entry.verbs),
        short_names: borrowed(entry.short_names),
        categories: borrowed(entry.categories),
        subresources: subresources.collect(),
        ty: type_of(&kind).into(),
        storage: Storage {
            prefix: storage.prefix,
            ty: type_of(&storage.kind).into(),
            kind: storage.kind,
            conversion: storage.conversion,
        },
        columns: Columns::of_kind(group, entry.kind, entry.columns),
        selectable_fields: selectable::of_kind(group, entry.version, entry.kind),
        strategy: crate::kinds::strategy(group, entry.version, entry.kind),
        scale: None,
        deprecation: None,
        published: None,
    }
}

// === impl Storage ===

impl Storage {
    /// The type of the stored objects.
    pub fn ty(&self) -> TypeRef<'_> {
        self.ty.type_ref()
    }
}

// === impl Registration ===

impl Registration {
    /// The type of its objects.
    pub fn ty(&self) -> TypeRef<'_> {
        self.ty.type_ref()
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&*self.group, &*self.version, &*self.kind)
    }

    /// Group, version and resource.
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource::new(&*self.group, &*self.version, &*self.resource)
    }

    /// Group and resource, as in the texts of errors.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, &*self.resource)
    }

    /// Group and kind, as in the texts of errors.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(&*self.group, &*self.kind)
    }

    /// The text of `apiVersion`.
    pub fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    /// Whether a verb is served.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether status is written apart from the rest.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Fills in what a client left open. Done to everything that is decoded: bodies, results of
    /// patches, and stored objects of an older release.
    pub fn default(&self, object: &mut Value) {
        schema::apply_defaults(object, self.ty());
        amounts::round_up(object, self.ty());
        self.strategy.default(object);
    }

    /// First step of a creation. Name, namespace, UID and creationTimestamp are set by the caller
    /// before.
    pub fn prepare_create(&self, ctx: &Ctx<'_>, object: &mut Value) {
        meta::metadata_mut(object).shift_remove("deletionTimestamp");
        meta::metadata_mut(object).shift_remove("deletionGracePeriodSeconds");
        meta::metadata_mut(object).shift_remove("selfLink");
        meta::set_resource_version(object, "");
        if self.has_status() && self.strategy.status_on_create() == StatusOnCreate::Drop {
            remove(object, "status");
        }
        let generation = i64::from(self.strategy.generation() != Generation::None);
        meta::set_generation(object, generation);
        declarative::drop_disabled(object, None, self.ty());
        self.strategy.prepare_for_create(ctx, object);
    }

    /// Second step of a creation: all that is wrong with the object.
    pub fn check_create(&self, ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let check_name = |name: &str, prefix: bool| self.strategy.check_name(name, prefix);
        object_meta::validate(object, self.namespaced, &check_name, &mut errors);
        self.check_finalizers(object, &mut errors);
        declarative::validate(object, None, self.ty(), &mut errors);
        errors.extend(self.strategy.validate(ctx, object));
        errors
    }

    /// First step of an update through the main resource.
    pub fn prepare_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        carry_metadata(new, old);
        if self.has_status() {
            copy_field(new, old, "status");
        }
        declarative::drop_disabled(new, Some(old), self.ty());
        self.strategy.prepare_for_update(ctx, new, old);
        self.count_generation(new, old);
    }

    /// Second step of an update: all that is wrong with the new object.
    pub fn check_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        object_meta::validate_update(new, old, &mut errors);
        self.check_finalizers(new, &mut errors);
        declarative::validate(new, Some(old), self.ty(), &mut errors);
        errors.extend(self.strategy.validate_update(ctx, new, old));
        errors
    }

    /// First step of an update of `status`: everything but status and metadata stays.
    pub fn prepare_status_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        carry_metadata(new, old);
        let status = new.get("status").cloned();
        let metadata = new.get("metadata").cloned();
        *new = old.clone();
        if let Some(fields) = new.as_object_mut() {
            if let Some(metadata) = metadata {
                fields.insert("metadata".to_owned(), metadata);
            }
            match status {
                Some(status) => {
                    fields.insert("status".to_owned(), status);
                }
                None => {
                    fields.shift_remove("status");
                }
            }
        }
        // What the status subresource may not touch although it is metadata.
        meta::set_generation(new, meta::generation(old));
        self.strategy.status_metadata().keep(new, old);
        self.strategy.prepare_for_status_update(ctx, new, old);
        declarative::drop_disabled(new, Some(old), self.ty());
    }

    /// Second step of an update of `status`.
    pub fn check_status_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        object_meta::validate_update(new, old, &mut errors);
        self.check_finalizers(new, &mut errors);
        declarative::validate(new, Some(old), self.ty(), &mut errors);
        errors.extend(self.strategy.validate_status_update(ctx, new, old));
        errors
    }

    /// First step of an update through a subresource other than `status`.
    pub fn prepare_subresource_update(
        &self,
        ctx: &Ctx<'_>,
        subresource: &str,
        new: &mut Value,
        old: &Value,
    ) {
        carry_metadata(new, old);
        self.strategy.prepare_for_subresource(ctx, subresource, new, old);
        declarative::drop_disabled(new, Some(old), self.ty());
        self.count_generation(new, old);
    }

    /// Second step of an update through a subresource other than `status`.
    pub fn check_subresource_update(
        &self,
        ctx: &Ctx<'_>,
        subresource: &str,
        new: &Value,
        old: &Value,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        object_meta::validate_update(new, old, &mut errors);
        self.check_finalizers(new, &mut errors);
        errors.extend(self.strategy.validate_subresource(ctx, subresource, new, old));
        errors
    }

    /// What a client is told about an update that is accepted.
    pub fn update_warnings(
        &self,
        ctx: &Ctx<'_>,
        subresource: &str,
        new: &Value,
        old: &Value,
    ) -> Vec<String> {
        match subresource {
            "" => self.strategy.warnings(ctx, new, Some(old)),
            "status" => self.strategy.status_warnings(ctx, new, old),
            _ => Vec::new(),
        }
    }

    /// Definitions, what they define and API services are laxer than the core.
    fn check_finalizers(&self, object: &Value, errors: &mut ErrorList) {
        let lax = matches!(&*self.group, "apiextensions.k8s.io" | "apiregistration.k8s.io");
        if !self.ty().is_custom() && !lax {
            object_meta::core_finalizers(object, errors);
        }
    }

    /// The generation counts what users changed, never what they say it is.
    fn count_generation(&self, new: &mut Value, old: &Value) {
        let differs = |pointer: &str| {
            let part = |object: &Value| object.pointer(pointer).cloned().unwrap_or_default();
            !same(&part(new), &part(old))
        };
        let changed = match self.strategy.generation() {
            Generation::None | Generation::Fixed => false,
            Generation::Spec => differs("/spec"),
            Generation::SpecAndAnnotations => differs("/spec") || differs("/metadata/annotations"),
            Generation::Content => object_meta::content_differs(new, old),
            Generation::All => {
                let without_metadata = |object: &Value| {
                    let mut object = object.clone();
                    remove(&mut object, "metadata");
                    object
                };
                !same(&without_metadata(new), &without_metadata(old))
            }
            Generation::ContentAndLabels => {
                object_meta::content_differs(new, old) || differs("/metadata/labels")
            }
        };
        meta::set_generation(new, meta::generation(old) + i64::from(changed));
    }

    /// The cells of an object's row in a table.
    pub fn cells(&self, object: &Value, now: time::Timestamp) -> Vec<Value> {
        (self.columns.cells)(object, now)
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registration({})", self.gvr())
    }
}

/// The times of creation and deletion are what they were. What else the client leaves out of the
/// metadata that the server writes is what it was; what it says instead is checked later.
fn carry_metadata(new: &mut Value, old: &Value) {
    let metadata = meta::metadata_mut(new);
    metadata.shift_remove("selfLink");
    let null = Value::Null;
    let before = old.get("metadata").unwrap_or(&null);
    for field in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(value) = before.get(field).filter(|value| !value.is_null()) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let grace = "deletionGracePeriodSeconds";
    let absent = metadata.get(grace).is_none_or(Value::is_null);
    if let (true, Some(value)) = (absent, before.get(grace)) {
        metadata.insert(grace.to_owned(), value.clone());
    }
    for field in ["uid", "name", "namespace"] {
        let absent = metadata.get(field).and_then(Value::as_str).is_none_or(str::is_empty);
        if let (true, Some(value)) = (absent, before.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
}

/// A function from an object to its cells.
pub(crate) type Cells = Arc<dyn Fn(&Value, time::Timestamp) -> Vec<Value> + Send + Sync>;
