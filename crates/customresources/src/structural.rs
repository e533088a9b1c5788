//! A schema in the form that all decisions are made on.
//!
//! Only definitions whose schemas have passed validation come here; what is malformed all the
//! same is read as if it were absent.

use std::collections::BTreeMap;

use machinery::Value;
use machinery::schema::{ListType, StructType};

use crate::pattern::{self, Pattern};

/// What a schema says about one value, with the schemas of its members.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    /// The JSON type; none where anything goes or only value validations are given.
    pub kind: Option<Kind>,
    /// null is a value like any other.
    pub nullable: bool,
    /// Number or text.
    pub int_or_string: bool,
    /// Members that are not declared stay.
    pub preserves_unknown_fields: bool,
    /// The value is an object of the API.
    pub embedded_resource: bool,
    /// Declared members of an object.
    pub properties: BTreeMap<String, Structural>,
    /// Members of an object that are not declared.
    pub additional: Additional,
    /// Items of a list.
    pub items: Option<Box<Structural>>,
    /// The value that stands for an absent one.
    pub default: Option<Value>,
    /// How a list is merged.
    pub list_type: Option<ListType>,
    /// The keys of a list of type map.
    pub list_keys: Vec<String>,
    /// How a map or object is merged.
    pub map_type: Option<StructType>,
    /// What the value must satisfy besides.
    pub rules: Rules,
}

/// The types of JSON, as schemas name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `array`
    Array,
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `object`
    Object,
    /// `string`
    String,
}

/// What a schema says about members that are not declared.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// Nothing.
    #[default]
    Unsaid,
    /// Whether there may be any.
    Allowed(bool),
    /// They all have one schema.
    Schema(Box<Structural>),
}

/// Conditions on a value that say nothing about its structure.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The format of a text or number.
    pub format: String,
    /// Upper bound.
    pub maximum: Option<f64>,
    /// The upper bound itself is too much.
    pub exclusive_maximum: bool,
    /// Lower bound.
    pub minimum: Option<f64>,
    /// The lower bound itself is too little.
    pub exclusive_minimum: bool,
    /// The number must be a multiple of this.
    pub multiple_of: Option<f64>,
    /// Characters of a text at most.
    pub max_length: Option<u64>,
    /// Characters of a text at least.
    pub min_length: Option<u64>,
    /// What a text must match.
    pub pattern: Option<Pattern>,
    /// Items of a list at most.
    pub max_items: Option<u64>,
    /// Items of a list at least.
    pub min_items: Option<u64>,
    /// No two items may be the same.
    pub unique_items: bool,
    /// Members of an object at most.
    pub max_properties: Option<u64>,
    /// Members of an object at least.
    pub min_properties: Option<u64>,
    /// Members that must be there.
    pub required: Vec<String>,
    /// The only values there are.
    pub values: Vec<Value>,
    /// All of these must hold.
    pub all_of: Vec<Structural>,
    /// One of these must hold.
    pub any_of: Vec<Structural>,
    /// Exactly one of these must hold.
    pub one_of: Vec<Structural>,
    /// This must not hold.
    pub not: Option<Box<Structural>>,
}

impl Kind {
    /// By its name in schemas.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    /// Its name in schemas.
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

impl Structural {
    /// Reads a `JSONSchemaProps`.
    pub fn new(schema: &Value) -> Self {
        let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
        let one = |name: &str| schema.get(name).filter(|s| s.is_object()).map(Self::new);
        let properties: BTreeMap<String, Self> = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), Self::new(schema)))
            .collect();
        let additional = match schema.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
            Some(schema @ Value::Object(_)) => Additional::Schema(Box::new(Self::new(schema))),
            _ => Additional::Unsaid,
        };
        let items = one("items").map(Box::new);
        Self {
            kind: Kind::parse(text("type")),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserves_unknown_fields: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            default: schema.get("default").filter(|default| !default.is_null()).cloned(),
            list_type: match text("x-kubernetes-list-type") {
                "atomic" => Some(ListType::Atomic),
                "set" => Some(ListType::Set),
                "map" => Some(ListType::Map),
                _ => None,
            },
            list_keys: texts(schema.get("x-kubernetes-list-map-keys")),
            map_type: match text("x-kubernetes-map-type") {
                "atomic" => Some(StructType::Atomic),
                "granular" => Some(StructType::Granular),
                _ => None,
            },
            rules: Rules::new(schema),
            properties,
            additional,
            items,
        }
    }

    /// The schema of a member.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or_else(|| self.additional.schema())
    }

    /// Whether a default stands here or below.
    pub fn has_defaults(&self) -> bool {
        self.default.is_some()
            || self.properties.values().any(Self::has_defaults)
            || self.items.as_ref().is_some_and(|items| items.has_defaults())
            || self.additional.schema().is_some_and(Self::has_defaults)
    }
}

impl Additional {
    /// The schema that the members have.
    pub fn schema(&self) -> Option<&Structural> {
        match self {
            Self::Schema(schema) => Some(schema),
            _ => None,
        }
    }
}

impl Rules {
    fn new(schema: &Value) -> Self {
        let number = |name: &str| schema.get(name).and_then(Value::as_f64);
        let count = |name: &str| schema.get(name).and_then(Value::as_u64);
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
        let list = |name: &str| {
            let schemas = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            schemas.map(Structural::new).collect()
        };
        let pattern = schema.get("pattern").and_then(Value::as_str).filter(|p| !p.is_empty());
        Self {
            format: schema.get("format").and_then(Value::as_str).unwrap_or_default().to_owned(),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: pattern.and_then(|text| pattern::compile(text).ok()),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            unique_items: flag("uniqueItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: texts(schema.get("required")),
            values: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: schema
                .get("not")
                .filter(|not| not.is_object())
                .map(|not| Box::new(Structural::new(not))),
        }
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
