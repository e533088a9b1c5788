//! From the events of the parser to a tree.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libyaml_safer::{self as libyaml, ErrorKind, Event, EventData, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::resolve::Scalar;
use super::{Document, Error, json};

/// The nesting that JSON is taken with.
const MAX_DEPTH: usize = 127;
/// Below so many values aliases may make up nearly all of a document.
const FEW_VALUES: f64 = 400_000.0;
/// From so many values on they may make up a tenth.
const MANY_VALUES: f64 = 4_000_000.0;

const LONG_TAG: &str = "tag:yaml.org,2002:";

/// Reads the first document of a stream.
///
/// # Errors
/// When the text is no YAML, or has no JSON form.
pub fn read(text: &str) -> Result<Document, Error> {
    if let Some(value) = json::read(text) {
        return Ok(Document { value, duplicates: Vec::new() });
    }
    let open = text.rsplit(is_break).next().filter(|line| !line.is_empty());
    // The parser wants the break that the last line of a block of text lacks.
    let whole = open.map_or(Cow::Borrowed(text), |_| Cow::Owned(format!("{text}\n")));
    let mut input = whole.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let loader = Loader {
        parser,
        end: text.len() as u64,
        open,
        anchors: HashMap::new(),
        duplicates: Vec::new(),
        values: 0,
        from_aliases: 0,
        depth: 0,
    };
    loader.document()
}

fn yaml(text: impl std::fmt::Display) -> Error {
    Error(format!("yaml: {text}"))
}

/// A tree with its number of values; none while it is still being read.
type Anchored = Option<(Value, usize)>;

struct Loader<'i, 't> {
    parser: Parser<&'i mut &'t [u8]>,
    /// Bytes of the text as it was given.
    end: u64,
    /// Its last line, if that has no break.
    open: Option<&'t str>,
    anchors: HashMap<String, Anchored>,
    duplicates: Vec<String>,
    values: usize,
    from_aliases: usize,
    depth: usize,
}

/// A key of a mapping.
struct Key {
    text: String,
    /// How Go prints it.
    shown: String,
}

impl Loader<'_, '_> {
    fn next(&mut self) -> Result<Event, Error> {
        let mut event = self.parser.parse().map_err(|error| syntax(&error))?;
        if let Some(line) = self.open
            && event.end_mark.index > self.end
            && let EventData::Scalar { value, style, .. } = &mut event.data
            && matches!(style, ScalarStyle::Literal | ScalarStyle::Folded)
        {
            unbroken(value, line);
        }
        Ok(event)
    }

    fn document(mut self) -> Result<Document, Error> {
        loop {
            match self.next()?.data {
                EventData::StreamStart { .. } => {}
                EventData::DocumentStart { .. } => break,
                _ => return Ok(Document::default()),
            }
        }
        let event = self.next()?;
        let value = self.value(event)?;
        // What follows must not be part of it.
        self.next()?;
        Ok(Document { value, duplicates: self.duplicates })
    }

    fn value(&mut self, event: Event) -> Result<Value, Error> {
        self.values += 1;
        let before = self.values;
        let (anchor, value) = match event.data {
            EventData::Alias { anchor } => return self.alias(&anchor),
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                self.begin(anchor.as_ref());
                let (_, value) = scalar(tag.as_deref(), value, plain_implicit)?;
                (anchor, value)
            }
            EventData::SequenceStart { anchor, .. } => {
                self.begin(anchor.as_ref());
                (anchor, self.nested(Self::sequence)?)
            }
            EventData::MappingStart { anchor, .. } => {
                self.begin(anchor.as_ref());
                (anchor, self.nested(Self::mapping)?)
            }
            other => return Err(yaml(format_args!("unexpected event {other:?}"))),
        };
        if let Some(anchor) = anchor {
            let size = self.values - before + 1;
            self.anchors.insert(anchor, Some((value.clone(), size)));
        }
        Ok(value)
    }

    fn begin(&mut self, anchor: Option<&String>) {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor.clone(), None);
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(yaml("exceeded max depth"));
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn alias(&mut self, anchor: &str) -> Result<Value, Error> {
        let Some(known) = self.anchors.get(anchor) else {
            return Err(yaml(format_args!("unknown anchor '{anchor}' referenced")));
        };
        let Some((value, size)) = known else {
            return Err(yaml(format_args!("anchor '{anchor}' value contains itself")));
        };
        self.values += size;
        self.from_aliases += size;
        if self.from_aliases > 100 && self.values > 1000 {
            #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more")]
            let (values, copied) = (self.values as f64, self.from_aliases as f64);
            let many = ((values - FEW_VALUES) / (MANY_VALUES - FEW_VALUES)).clamp(0.0, 1.0);
            if copied / values > 0.99 - 0.89 * many {
                return Err(yaml("document contains excessive aliasing"));
            }
        }
        Ok(value.clone())
    }

    fn sequence(&mut self) -> Result<Value, Error> {
        let mut items = Vec::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            items.push(self.value(event)?);
        }
    }

    fn mapping(&mut self) -> Result<Value, Error> {
        let mut members = Map::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::MappingEnd) {
                members.sort_keys();
                return Ok(Value::Object(members));
            }
            let line = event.start_mark.line + 1;
            if is_merge(&event.data) {
                let event = self.next()?;
                let merged = self.value(event)?;
                self.merge(&mut members, merged, line)?;
                continue;
            }
            let key = self.key(event)?;
            let event = self.next()?;
            let value_line = event.start_mark.line + 1;
            let value = self.value(event)?;
            self.set(&mut members, key, value, value_line);
        }
    }

    fn set(&mut self, members: &mut Map<String, Value>, key: Key, value: Value, line: u64) {
        if members.contains_key(&key.text) {
            self.duplicates.push(format!("line {line}: key {} already set in map", key.shown));
        }
        members.insert(key.text, value);
    }

    /// The value of a `<<` key: a mapping or several.
    fn merge(
        &mut self,
        members: &mut Map<String, Value>,
        merged: Value,
        line: u64,
    ) -> Result<(), Error> {
        const WRONG: &str = "map merge requires map or sequence of maps as the value";
        match merged {
            Value::Object(map) => {
                for (text, value) in map {
                    let shown = format!("{text:?}");
                    self.set(members, Key { text, shown }, value, line);
                }
                Ok(())
            }
            Value::Array(maps) => {
                // Earlier ones win.
                for map in maps.into_iter().rev() {
                    if !map.is_object() {
                        return Err(yaml(WRONG));
                    }
                    self.merge(members, map, line)?;
                }
                Ok(())
            }
            _ => Err(yaml(WRONG)),
        }
    }

    fn key(&mut self, event: Event) -> Result<Key, Error> {
        let (resolved, value) = match event.data {
            EventData::Scalar { anchor: None, tag, value, plain_implicit, .. } => {
                self.values += 1;
                let text = value.clone();
                let (resolved, value) = scalar(tag.as_deref(), value, plain_implicit)?;
                if let Scalar::Float(float) = resolved {
                    let text = float_key(float);
                    return Ok(Key { shown: text.clone(), text });
                }
                if resolved == Scalar::Null {
                    return Err(unsupported_key(&text));
                }
                (resolved, value)
            }
            _ => (Scalar::Text, self.value(event)?),
        };
        Ok(match value {
            Value::String(text) => Key { shown: format!("{text:?}"), text },
            Value::Bool(_) | Value::Number(_) => {
                let text = value.to_string();
                let shown = match resolved {
                    Scalar::Uint(n) => format!("{n:#x}"),
                    _ => text.clone(),
                };
                Key { text, shown }
            }
            Value::Null => return Err(unsupported_key("null")),
            Value::Array(_) | Value::Object(_) => {
                return Err(yaml(format_args!("invalid map key: {}", go_syntax(&value))));
            }
        })
    }
}

/// Takes back the break that was added to the last line, if it is in the text. It is not where that
/// line is empty but for its indentation and the text ends with one break however many there are.
fn unbroken(text: &mut String, line: &str) {
    let Some(rest) = text.strip_suffix('\n') else { return };
    let last = rest.rsplit('\n').next().unwrap_or_default();
    let is_blank = |line: &str| line.chars().all(|c| c == ' ');
    if !is_blank(line) || is_blank(last) {
        text.pop();
    }
}

/// What ends a line in YAML 1.1.
fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn unsupported_key(text: &str) -> Error {
    Error(format!("unsupported map key of type: %!s(<nil>), key: <nil>, value: {text:?}"))
}

fn is_merge(data: &EventData) -> bool {
    match data {
        EventData::Scalar { tag, value, plain_implicit, .. } => {
            let tagged = tag.as_deref().and_then(|tag| tag.strip_prefix(LONG_TAG));
            value == "<<" && (*plain_implicit || tagged == Some("merge"))
        }
        _ => false,
    }
}

/// The value of a scalar with its tag, if it has one.
fn scalar(tag: Option<&str>, text: String, plain: bool) -> Result<(Scalar, Value), Error> {
    let (scalar, wanted) = match tag {
        None if plain => (Scalar::of(&text), None),
        None => return Ok((Scalar::Text, text.into())),
        Some(tag) => match tag.strip_prefix(LONG_TAG) {
            Some("binary") => {
                let bytes = STANDARD
                    .decode(text.replace(['\n', ' '], ""))
                    .map_err(|_| yaml("!!binary value contains invalid base64 data"))?;
                return Ok((Scalar::Text, String::from_utf8_lossy(&bytes).into()));
            }
            Some(wanted @ ("bool" | "int" | "float" | "null")) => (Scalar::of(&text), Some(wanted)),
            _ => return Ok((Scalar::Text, text.into())),
        },
    };
    let scalar = match (wanted, scalar) {
        #[expect(clippy::cast_precision_loss, reason = "the document asks for a float")]
        (Some("float"), Scalar::Int(n)) => Scalar::Float(n as f64),
        (Some(wanted), found) if found.tag().strip_prefix("!!") != Some(wanted) => {
            let found = found.tag();
            return Err(yaml(format_args!("cannot decode {found} `{text}` as a !!{wanted}")));
        }
        (_, scalar) => scalar,
    };
    let value = scalar.to_json(&text).map_err(|float| {
        let shown = match float {
            float if float.is_nan() => "NaN",
            float if float > 0.0 => "+Inf",
            _ => "-Inf",
        };
        Error(format!("json: unsupported value: {shown}"))
    })?;
    Ok((scalar, value))
}

/// A float as a key, as Go prints one of 32 bits in its shortest form.
fn float_key(float: f64) -> String {
    if !float.is_finite() {
        let text = if float.is_nan() { ".nan" } else { ".inf" };
        return if float < 0.0 { format!("-{text}") } else { text.to_owned() };
    }
    let text = format!("{:e}", float as f32);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if float == 0.0 || (-4..21).contains(&exponent) && exponent < 6.max(digits(mantissa)) {
        return (float as f32).to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn digits(mantissa: &str) -> i32 {
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // Only as many as there are before the point count.
    i32::try_from(digits).unwrap_or(i32::MAX).min(6)
}

/// A value as Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{key:?}:{}", go_syntax(value)))
                .collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", members.join(", "))
        }
    }
}

/// Go's words for what the parser says.
fn syntax(error: &libyaml::Error) -> Error {
    // Lines count from one, but parser errors name the line before.
    let scanner = u64::from(error.kind() == ErrorKind::Scanner);
    let line = match (error.problem_mark(), error.context_mark()) {
        (Some(mark), _) if mark.line != 0 => mark.line + scanner,
        (_, Some(mark)) => mark.line,
        _ => 0,
    };
    match line {
        0 => yaml(error.problem()),
        line => yaml(format_args!("line {line}: {}", error.problem())),
    }
}
