//! From a schema to its rules, with the limits on what they may cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::Value as Json;
use machinery::field::{Error, ErrorList, Path};

use super::rule::{self, Rule};
use super::{Node, Rules};
use crate::schema::{Decl, flag, number, strings};

/// The most that one expression may be estimated to cost, over all the places it applies to.
const EXPRESSION_LIMIT: u64 = 10_000_000;
/// The most that all expressions of a schema may be estimated to cost.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of the costliest expressions are named when the sum is too high.
const NAMED: usize = 4;

/// The rules of a new schema. `root` says whether the values are whole objects, and `limited`
/// whether the rules may cost too much.
pub(super) fn checked(
    schema: &Json,
    root: bool,
    limited: bool,
    path: &Path,
) -> Result<Rules, ErrorList> {
    let mut compiler = Compiler { limited, ..Compiler::default() };
    let root = compiler.schema(schema, root, path);
    compiler.check_total(path);
    let mut errors = compiler.form_errors;
    errors.extend(compiler.errors);
    if errors.is_empty() { Ok(Rules { root }) } else { Err(errors) }
}

/// The rules of a whole object's schema that was checked when it was new.
pub(super) fn stored(schema: &Json) -> Rules {
    let mut compiler = Compiler { stored: true, ..Compiler::default() };
    Rules { root: compiler.schema(schema, true, &Path::root()) }
}

#[derive(Default)]
struct Compiler {
    /// Whether mistakes are for the objects to find, not for the schema.
    stored: bool,
    /// Mistakes of form. While there are some, nothing is compiled where they are.
    form_errors: ErrorList,
    errors: ErrorList,
    /// Whether there are limits of cost.
    limited: bool,
    total: u64,
    /// The costliest expressions, costliest first.
    costliest: Vec<(u64, Path)>,
}

/// Where a schema stands in the whole.
#[derive(Clone)]
struct Place {
    decl: Option<Arc<Decl>>,
    root: bool,
    /// How many values of it an object can have; `None` when nothing limits them.
    cardinality: Option<u64>,
    /// The nearest schema above below which old and new values cannot be matched.
    uncorrelatable: Option<Path>,
}

impl Compiler {
    fn schema(&mut self, schema: &Json, root: bool, path: &Path) -> Option<Node> {
        let place = Place {
            decl: Decl::of_schema(schema, root, "self").map(Arc::new),
            root,
            cardinality: Some(1),
            uncorrelatable: None,
        };
        self.node(schema, schema, path, &place)
    }

    /// Compiles the rules of `schema`. `spine` is the schema that says what the values are, which
    /// differs from `schema` inside of `allOf`.
    fn node(&mut self, schema: &Json, spine: &Json, path: &Path, place: &Place) -> Option<Node> {
        let form_errors = self.form_errors.len();
        let (list_keys, fields_correlate) = correlation(spine);
        let mut node = Node {
            decl: place.decl.clone(),
            ty: spine.get("type").and_then(Json::as_str).unwrap_or_default().to_owned(),
            rules: Vec::new(),
            properties: BTreeMap::new(),
            values: None,
            items: None,
            all_of: Vec::new(),
            list_keys,
            fields_correlate,
        };
        self.children(&mut node, schema, spine, path, place);
        let rules = schema.get("x-kubernetes-validations").and_then(Json::as_array);
        let rules_path = path.child("x-kubernetes-validations");
        let rules = rules.map_or(&[][..], Vec::as_slice);
        for (at, rule) in rules.iter().enumerate().filter(|_| !self.stored) {
            rule::check_form(rule, spine, &rules_path.index(at), &mut self.form_errors);
        }
        if self.form_errors.len() == form_errors && !rules.is_empty() {
            node.rules = self.rules(rules, spine, &rules_path, place);
        }
        let useful = !node.rules.is_empty()
            || !node.properties.is_empty()
            || node.values.is_some()
            || node.items.is_some()
            || !node.all_of.is_empty();
        useful.then_some(node)
    }

    fn children(
        &mut self,
        node: &mut Node,
        schema: &Json,
        spine: &Json,
        path: &Path,
        place: &Place,
    ) {
        let fields_break = !node.fields_correlate;
        if let (Some(of), Some(of_spine)) = (values(schema), values(spine)) {
            let place = place.below(
                of_spine,
                place.decl.as_ref().and_then(|decl| decl.element().cloned()),
                number(spine, "maxProperties"),
                fields_break.then_some(path),
            );
            let path = path.child("additionalProperties");
            node.values = self.node(of, of_spine, &path, &place).map(Box::new);
        }
        for (name, of) in properties(schema) {
            let Some(of_spine) = spine.get("properties").and_then(|all| all.get(name)) else {
                continue;
            };
            let decl = place.property(name, of_spine);
            let place = place.below(of_spine, decl, Some(1), fields_break.then_some(path));
            let path = path.child("properties").key(name.as_str());
            if let Some(child) = self.node(of, of_spine, &path, &place) {
                node.properties.insert(name.clone(), child);
            }
        }
        if let (Some(of), Some(of_spine)) = (schema.get("items"), spine.get("items")) {
            let place = place.below(
                of_spine,
                place.decl.as_ref().and_then(|decl| decl.element().cloned()),
                number(spine, "maxItems"),
                node.list_keys.is_none().then_some(path),
            );
            let path = path.child("items");
            node.items = self.node(of, of_spine, &path, &place).map(Box::new);
        }
        for (at, of) in
            schema.get("allOf").and_then(Json::as_array).into_iter().flatten().enumerate()
        {
            let path = path.child("allOf").index(at);
            node.all_of.extend(self.node(of, spine, &path, place));
        }
    }

    fn rules(
        &mut self,
        rules: &[Json],
        spine: &Json,
        path: &Path,
        place: &Place,
    ) -> Vec<Result<Rule, String>> {
        let Some(decl) = &place.decl else {
            let ty = spine.get("type").and_then(Json::as_str).unwrap_or_default();
            let preserved = flag(spine, "x-kubernetes-preserve-unknown-fields");
            let detail = format!(
                "rule declared on schema that does not support validation rules type: '{ty}' x-kubernetes-preserve-unknown-fields: '{preserved}'"
            );
            self.errors.push(Error::internal(path, detail.as_str()));
            return vec![Err(format!("rule compiler initialization error: {detail}"))];
        };
        let mut compiled = Vec::new();
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule::is_blank(rule)) {
            let path = path.index(at);
            let rule = rule::compile(rule, spine, decl, &path, &mut self.errors);
            if let Ok(rule) = &rule {
                self.check(rule, decl, &path, place);
            }
            compiled.push(rule.map_err(|detail| format!("rule compile error: {detail}")));
        }
        compiled
    }

    /// Checks what a rule costs and whether it can see what it asks for.
    fn check(&mut self, rule: &Rule, decl: &Decl, path: &Path, place: &Place) {
        let times = place.cardinality.unwrap_or_else(|| decl.max_cardinality());
        let cost = rule.program.max_cost().saturating_mul(times);
        self.observe(&path.child("rule"), "estimated rule cost", cost);
        if let Some((_, message)) = &rule.message_expression {
            let path = path.child("messageExpression");
            self.observe(&path, "estimated messageExpression cost", message.max_cost());
        }
        if let Some(within) = place.uncorrelatable.as_ref().filter(|_| rule.uses_old_self) {
            let detail = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
            );
            self.errors.push(Error::invalid(&path.child("rule"), rule.text.as_str(), detail));
        }
    }

    fn observe(&mut self, path: &Path, what: &str, cost: u64) {
        if self.limited && cost > EXPRESSION_LIMIT {
            self.errors.push(Error::forbidden(path, too_costly(what, cost, EXPRESSION_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            let at = self.costliest.partition_point(|(other, _)| *other >= cost);
            self.costliest.insert(at, (cost, path.clone()));
            self.costliest.truncate(NAMED);
        }
    }

    fn check_total(&mut self, path: &Path) {
        if !self.limited || self.total <= SCHEMA_LIMIT {
            return;
        }
        for (_, costly) in std::mem::take(&mut self.costliest) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            self.errors.push(Error::forbidden(&costly, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        self.errors.push(Error::forbidden(path, too_costly(what, self.total, SCHEMA_LIMIT)));
    }
}

impl Place {
    /// The place of a schema below, of which there are up to `times` values for each of this one.
    fn below(
        &self,
        schema: &Json,
        decl: Option<Arc<Decl>>,
        times: Option<u64>,
        uncorrelatable: Option<&Path>,
    ) -> Self {
        let cardinality = match (self.cardinality, times) {
            (Some(of), Some(times)) => Some(of.saturating_mul(times)),
            _ => None,
        };
        Self {
            decl,
            root: flag(schema, "x-kubernetes-embedded-resource"),
            cardinality,
            uncorrelatable: self.uncorrelatable.clone().or_else(|| uncorrelatable.cloned()),
        }
    }

    /// What expressions know of a property; those whose names they cannot spell have rules too.
    fn property(&self, name: &str, schema: &Json) -> Option<Arc<Decl>> {
        let hidden = self.root && matches!(name, "apiVersion" | "kind" | "metadata");
        match crate::schema::escape(name) {
            Some(escaped) if !hidden => self.decl.as_ref()?.field(&escaped).cloned(),
            _ => {
                let embedded = flag(schema, "x-kubernetes-embedded-resource");
                Decl::of_schema(schema, embedded, &format!("self.{name}")).map(Arc::new)
            }
        }
    }
}

/// How old and new values below a schema are matched: keys of list items, and whether fields are.
fn correlation(schema: &Json) -> (Option<Vec<String>>, bool) {
    let text = |name: &str| schema.get(name).and_then(Json::as_str);
    let keys = (text("x-kubernetes-list-type") == Some("map"))
        .then(|| strings(schema.get("x-kubernetes-list-map-keys")).map(str::to_owned).collect());
    (keys, text("x-kubernetes-map-type") != Some("atomic"))
}

fn values(schema: &Json) -> Option<&Json> {
    schema.get("additionalProperties").filter(|values| values.is_object())
}

fn properties(schema: &Json) -> impl Iterator<Item = (&String, &Json)> {
    schema.get("properties").and_then(Json::as_object).into_iter().flatten()
}

fn too_costly(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        // One digit would say 1.0 or leave the reader wondering.
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
