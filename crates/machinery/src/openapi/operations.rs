//! Paths and operations.

use std::collections::BTreeMap;

use super::definitions::{Definitions, write_kind};
use super::text::Json;
use super::{Dialect, ResourceInfo, SubresourceInfo};
use crate::schema::{Kind, TypeRef};

/// Media types of objects.
const OBJECTS: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const WATCHES: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Get,
    List,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
    /// A stream or proxy, by HTTP method.
    Connect(&'static str),
}

/// One operation of one path.
struct Operation<'o, 's> {
    action: Action,
    resource: &'o ResourceInfo<'s>,
    subresource: Option<&'o SubresourceInfo<'s>>,
    /// A namespaced resource across all namespaces.
    everywhere: bool,
    /// The rest of a proxied path.
    with_path: bool,
}

/// Writes all paths of the resources and notes the types that they use.
pub(super) fn write_paths<'s>(
    out: &mut Json,
    dialect: Dialect,
    resources: &[ResourceInfo<'s>],
    definitions: &mut Definitions<'s>,
) {
    let mut paths: BTreeMap<String, Vec<Operation<'_, 's>>> = BTreeMap::new();
    for resource in resources {
        collect(resource, &mut paths);
    }
    out.object(|out| {
        for (path, operations) in &paths {
            out.member(path, |out| {
                out.object(|out| {
                    for operation in operations {
                        operation.write(out, dialect, definitions);
                    }
                    out.member("parameters", |out| path_parameters(out, dialect, path));
                });
            });
        }
    });
}

fn collect<'o, 's>(
    resource: &'o ResourceInfo<'s>,
    paths: &mut BTreeMap<String, Vec<Operation<'o, 's>>>,
) {
    let root = format!("/{}", super::v3_path(resource.group, resource.version));
    let collection = match resource.namespaced {
        true => format!("{root}/namespaces/{{namespace}}/{}", resource.name),
        false => format!("{root}/{}", resource.name),
    };
    let object = format!("{collection}/{{name}}");
    let mut add = |path: &str, action, subresource, everywhere| {
        let with_path = path.ends_with("/{path}");
        let operation = Operation { action, resource, subresource, everywhere, with_path };
        paths.entry(path.to_owned()).or_default().push(operation);
    };
    for verb in &resource.verbs {
        match *verb {
            "get" => add(&object, Action::Get, None, false),
            "update" => add(&object, Action::Put, None, false),
            "patch" => add(&object, Action::Patch, None, false),
            "delete" => add(&object, Action::Delete, None, false),
            "create" => add(&collection, Action::Post, None, false),
            "deletecollection" => add(&collection, Action::DeleteCollection, None, false),
            "list" => {
                add(&collection, Action::List, None, false);
                if resource.namespaced {
                    add(&format!("{root}/{}", resource.name), Action::List, None, true);
                }
            }
            _ => {}
        }
    }
    for subresource in &resource.subresources {
        let path = format!("{object}/{}", subresource.name);
        let streams = subresource.kind.ends_with("Options");
        for verb in &subresource.verbs {
            let (action, method) = match *verb {
                "get" => (Action::Get, "get"),
                "update" => (Action::Put, "put"),
                "patch" => (Action::Patch, "patch"),
                "delete" => (Action::Delete, "delete"),
                "create" => (Action::Post, "post"),
                _ => continue,
            };
            let action = if streams { Action::Connect(method) } else { action };
            add(&path, action, Some(subresource), false);
            if streams && subresource.name == "proxy" {
                add(&format!("{path}/{{path}}"), action, Some(subresource), false);
            }
        }
    }
}

impl<'s> Operation<'_, 's> {
    fn write(&self, out: &mut Json, dialect: Dialect, definitions: &mut Definitions<'s>) {
        out.member(self.method(), |out| {
            out.object(|out| {
                let (group, version, kind) = self.kind();
                out.text("description", &self.description(kind));
                out.texts("tags", [self.tag().as_str()]);
                out.text("operationId", &self.id());
                if dialect == Dialect::V2 {
                    self.write_media_types(out);
                    out.texts("schemes", ["https"]);
                }
                self.write_parameters(out, dialect, definitions);
                if dialect == Dialect::V3 {
                    self.write_request_body(out, definitions);
                }
                self.write_responses(out, dialect, definitions);
                out.text("x-kubernetes-action", self.action_name());
                out.member("x-kubernetes-group-version-kind", |out| {
                    write_kind(out, [group, version, kind]);
                });
            });
        });
    }

    fn method(&self) -> &'static str {
        match self.action {
            Action::Get | Action::List => "get",
            Action::Post => "post",
            Action::Put => "put",
            Action::Patch => "patch",
            Action::Delete | Action::DeleteCollection => "delete",
            Action::Connect(method) => method,
        }
    }

    fn action_name(&self) -> &'static str {
        match self.action {
            Action::List => "list",
            Action::DeleteCollection => "deletecollection",
            Action::Connect(_) => "connect",
            _ => self.method(),
        }
    }

    fn kind(&self) -> (&'s str, &'s str, &'s str) {
        match self.subresource {
            Some(sub) => (sub.group, sub.version, sub.kind),
            None => (self.resource.group, self.resource.version, self.resource.kind),
        }
    }

    fn ty(&self) -> TypeRef<'s> {
        self.subresource.map_or(self.resource.ty, |sub| sub.ty)
    }

    fn description(&self, kind: &str) -> String {
        let what = match self.subresource {
            Some(sub) if matches!(self.action, Action::Connect(_)) => {
                let method = self.method().to_uppercase();
                return format!(
                    "connect {method} requests to {} of {}",
                    sub.name, self.resource.kind
                );
            }
            Some(sub) => format!("{} of the specified {}", sub.name, self.resource.kind),
            None => format!("the specified {kind}"),
        };
        match self.action {
            Action::Get => format!("read {what}"),
            Action::List => format!("list or watch objects of kind {kind}"),
            Action::Post => match self.subresource {
                Some(sub) => format!("create {} of {}", sub.name, article(self.resource.kind)),
                None => format!("create {}", article(kind)),
            },
            Action::Put => format!("replace {what}"),
            Action::Patch => format!("partially update {what}"),
            Action::Delete => format!("delete {}", article(kind)),
            Action::DeleteCollection => format!("delete collection of {kind}"),
            Action::Connect(_) => what,
        }
    }

    /// `core_v1`, `rbacAuthorization_v1`
    fn tag(&self) -> String {
        let group = group_words(self.resource.group);
        let mut letters = group.chars();
        let first = letters.next().map(|c| c.to_ascii_lowercase());
        let group: String = first.into_iter().chain(letters).collect();
        format!("{group}_{}", self.resource.version)
    }

    /// `listCoreV1NamespacedPod`
    fn id(&self) -> String {
        let verb = match self.action {
            Action::Get => "read",
            Action::List => "list",
            Action::Post => "create",
            Action::Put => "replace",
            Action::Patch => "patch",
            Action::Delete => "delete",
            Action::DeleteCollection => "deleteCollection",
            Action::Connect("get") => "connectGet",
            Action::Connect("post") => "connectPost",
            Action::Connect("put") => "connectPut",
            Action::Connect("patch") => "connectPatch",
            Action::Connect(_) => "connectDelete",
        };
        let resource = self.resource;
        let scope = if resource.namespaced && !self.everywhere { "Namespaced" } else { "" };
        let group = group_words(resource.group);
        let version = capitalized(resource.version);
        let sub = self.subresource.map(|sub| capitalized(sub.name)).unwrap_or_default();
        let path = if self.with_path { "WithPath" } else { "" };
        let end = if self.everywhere { "ForAllNamespaces" } else { "" };
        format!("{verb}{group}{version}{scope}{}{sub}{path}{end}", resource.kind)
    }

    /// Custom objects have no protobuf form.
    fn objects(&self) -> Vec<&'static str> {
        let known = |name: &&str| self.resource.published.is_none() || !name.ends_with("protobuf");
        OBJECTS.into_iter().filter(known).collect()
    }

    /// Custom objects have no strategic merge patch.
    fn patches(&self) -> Vec<&'static str> {
        let known = |name: &&str| self.resource.published.is_none() || !name.contains("strategic");
        PATCHES.into_iter().filter(known).collect()
    }

    fn write_media_types(&self, out: &mut Json) {
        match self.action {
            Action::Patch => out.texts("consumes", self.patches()),
            _ => out.texts("consumes", ["*/*"]),
        }
        match self.action {
            Action::List => out.texts("produces", self.objects().into_iter().chain(WATCHES)),
            Action::Connect(_) => out.texts("produces", ["*/*"]),
            _ => out.texts("produces", self.objects()),
        }
    }

    fn write_parameters(
        &self,
        out: &mut Json,
        dialect: Dialect,
        definitions: &mut Definitions<'s>,
    ) {
        out.member("parameters", |out| {
            out.list(|out| {
                if dialect == Dialect::V2 && self.has_body() {
                    out.item(|out| {
                        out.object(|out| {
                            out.text("name", "body");
                            out.text("in", "body");
                            if self.body_is_required() {
                                out.flag("required", true);
                            }
                            out.member("schema", |out| self.write_body(out, definitions));
                        });
                    });
                }
                for (name, kind) in self.query() {
                    out.item(|out| query_parameter(out, dialect, name, kind));
                }
                if self.takes_options() {
                    for field in self.ty().fields() {
                        if matches!(field.name(), "kind" | "apiVersion") {
                            continue;
                        }
                        let kind = match field.type_ref().kind() {
                            Kind::Bool => "boolean",
                            Kind::Int32 | Kind::Int64 => "integer",
                            _ => "string",
                        };
                        out.item(|out| query_parameter(out, dialect, field.name(), kind));
                    }
                }
                if self.is_log() {
                    for (name, kind) in LOG_OPTIONS {
                        out.item(|out| query_parameter(out, dialect, name, kind));
                    }
                }
            });
        });
    }

    fn is_log(&self) -> bool {
        self.subresource.is_some_and(|sub| sub.name == "log")
    }

    /// The query of a stream is an options object.
    fn takes_options(&self) -> bool {
        matches!(self.action, Action::Connect(_))
    }

    fn query(&self) -> Vec<(&'static str, &'static str)> {
        const WRITE: [(&str, &str); 3] =
            [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
        const LIST: [(&str, &str); 10] = [
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ];
        const DELETE: [(&str, &str); 5] = [
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ];
        match self.action {
            Action::Get | Action::Connect(_) => Vec::new(),
            Action::List => LIST.to_vec(),
            Action::Post | Action::Put => WRITE.to_vec(),
            Action::Patch => {
                let mut all = WRITE.to_vec();
                all.push(("force", "boolean"));
                all
            }
            Action::Delete => DELETE.to_vec(),
            Action::DeleteCollection => {
                let watching = ["allowWatchBookmarks", "watch"];
                let list = LIST.into_iter().filter(|(name, _)| !watching.contains(name));
                let mut all: Vec<_> = list.chain(DELETE).collect();
                all.sort_unstable();
                all
            }
        }
    }

    fn has_body(&self) -> bool {
        !matches!(self.action, Action::Get | Action::List | Action::Connect(_))
    }

    fn body_is_required(&self) -> bool {
        matches!(self.action, Action::Post | Action::Put | Action::Patch)
    }

    fn write_body(&self, out: &mut Json, definitions: &mut Definitions<'s>) {
        out.object(|out| match self.action {
            Action::Patch => definitions.patch_reference(out),
            Action::Delete | Action::DeleteCollection => {
                definitions.reference(out, self.meta_type("DeleteOptions"));
            }
            _ => self.write_object(out, definitions, false),
        });
    }

    /// A reference to the objects that the operation is about, or to lists of them.
    fn write_object(&self, out: &mut Json, definitions: &mut Definitions<'s>, list: bool) {
        let own = self.subresource.is_none_or(|sub| sub.kind == self.resource.kind);
        match self.resource.published {
            Some(published) if own => definitions.custom_reference(out, published, list),
            _ if list => {
                let resource = self.resource;
                let kind = format!("{}List", resource.kind);
                let table = resource.ty.schema();
                let ty = table.kind(resource.group, resource.version, &kind);
                definitions.reference(out, ty.unwrap_or(resource.ty));
            }
            _ => definitions.reference(out, self.ty()),
        }
    }

    fn write_request_body(&self, out: &mut Json, definitions: &mut Definitions<'s>) {
        if !self.has_body() {
            return;
        }
        let media_types = match self.action {
            Action::Patch => self.patches(),
            _ => self.objects(),
        };
        out.member("requestBody", |out| {
            out.object(|out| {
                out.member("content", |out| {
                    out.object(|out| {
                        for media_type in media_types {
                            out.member(media_type, |out| {
                                out.object(|out| {
                                    out.member("schema", |out| self.write_body(out, definitions));
                                });
                            });
                        }
                    });
                });
                if self.body_is_required() {
                    out.flag("required", true);
                }
            });
        });
    }

    fn write_responses(&self, out: &mut Json, dialect: Dialect, definitions: &mut Definitions<'s>) {
        let codes: &[(&str, &str)] = match self.action {
            Action::Post => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
            Action::Put | Action::Patch => &[("200", "OK"), ("201", "Created")],
            Action::Delete => &[("200", "OK"), ("202", "Accepted")],
            _ => &[("200", "OK")],
        };
        out.member("responses", |out| {
            out.object(|out| {
                for (code, text) in codes {
                    out.member(code, |out| {
                        out.object(|out| {
                            out.text("description", text);
                            self.write_content(out, dialect, definitions);
                        });
                    });
                }
                out.member("401", |out| {
                    out.object(|out| out.text("description", "Unauthorized"));
                });
            });
        });
    }

    fn write_content(&self, out: &mut Json, dialect: Dialect, definitions: &mut Definitions<'s>) {
        if dialect == Dialect::V2 {
            out.member("schema", |out| self.write_result(out, definitions));
            return;
        }
        let media_types: Vec<&str> = match self.action {
            Action::List => self.objects().into_iter().chain(WATCHES).collect(),
            Action::Connect(_) => vec!["*/*"],
            _ => self.objects(),
        };
        out.member("content", |out| {
            out.object(|out| {
                for media_type in media_types {
                    out.member(media_type, |out| {
                        out.object(|out| {
                            out.member("schema", |out| self.write_result(out, definitions));
                        });
                    });
                }
            });
        });
    }

    fn write_result(&self, out: &mut Json, definitions: &mut Definitions<'s>) {
        out.object(|out| match self.action {
            Action::Connect(_) => out.text("type", "string"),
            _ if self.is_log() => out.text("type", "string"),
            Action::Delete | Action::DeleteCollection => {
                definitions.reference(out, self.meta_type("Status"));
            }
            Action::List => self.write_object(out, definitions, true),
            _ => self.write_object(out, definitions, false),
        });
    }

    fn meta_type(&self, kind: &str) -> TypeRef<'s> {
        match self.resource.ty {
            custom if custom.is_custom() => crate::schema::builtin(),
            builtin => builtin.schema(),
        }
        .kind("", "v1", kind)
        .unwrap_or(self.resource.ty)
    }
}

const LOG_OPTIONS: [(&str, &str); 10] = [
    ("container", "string"),
    ("follow", "boolean"),
    ("insecureSkipTLSVerifyBackend", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("sinceTime", "string"),
    ("stream", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];

fn query_parameter(out: &mut Json, dialect: Dialect, name: &str, kind: &str) {
    parameter(out, dialect, name, "query", kind);
}

fn path_parameters(out: &mut Json, dialect: Dialect, path: &str) {
    out.list(|out| {
        for name in ["name", "namespace", "path"] {
            if path.contains(&format!("{{{name}}}")) {
                out.item(|out| parameter(out, dialect, name, "path", "string"));
            }
        }
        out.item(|out| query_parameter(out, dialect, "pretty", "string"));
    });
}

fn parameter(out: &mut Json, dialect: Dialect, name: &str, place: &str, kind: &str) {
    out.object(|out| {
        out.text("name", name);
        out.text("in", place);
        if place == "path" {
            out.flag("required", true);
        }
        let describe = |out: &mut Json| {
            out.text("type", kind);
            out.flag("uniqueItems", true);
        };
        match dialect {
            Dialect::V2 => describe(out),
            Dialect::V3 => out.member("schema", |out| out.object(describe)),
        }
    });
}

/// `rbac.authorization.k8s.io` is `RbacAuthorization`, the core group `Core`.
fn group_words(group: &str) -> String {
    match group {
        "" => "Core".to_owned(),
        _ => group.trim_end_matches(".k8s.io").split('.').map(capitalized).collect(),
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
