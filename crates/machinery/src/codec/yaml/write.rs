//! From a tree to text.

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, Result, ScalarStyle, SequenceStyle};
use serde_json::{Map, Value};

use super::resolve::needs_quotes;
use crate::codec::{encode, verbatim};

/// A tree as YAML, with keys in order of name.
///
/// # Panics
/// Never: every tree has a YAML form.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut out = Vec::with_capacity(1024);
    let mut emitter = Emitter::new();
    emitter.set_output_string(&mut out);
    emitter.set_unicode(true);
    emitter.set_width(-1);
    document(&mut emitter, value).expect("a JSON value can be written as YAML");
    drop(emitter);
    String::from_utf8(out).expect("the emitter writes UTF-8")
}

fn document(emitter: &mut Emitter<'_>, value: &Value) -> Result<()> {
    emitter.emit(Event::stream_start(Encoding::Utf8))?;
    emitter.emit(Event::document_start(None, &[], true))?;
    node(emitter, value)?;
    emitter.emit(Event::document_end(true))?;
    emitter.emit(Event::stream_end())?;
    emitter.flush()
}

fn node(emitter: &mut Emitter<'_>, value: &Value) -> Result<()> {
    match value {
        Value::Null => plain(emitter, "null"),
        Value::Bool(true) => plain(emitter, "true"),
        Value::Bool(false) => plain(emitter, "false"),
        Value::Number(number) => {
            let mut text = Vec::new();
            encode::write_double(&mut text, number);
            plain(emitter, &String::from_utf8_lossy(&text))
        }
        Value::String(text) => string(emitter, text),
        Value::Array(items) => {
            emitter.emit(Event::sequence_start(None, None, true, SequenceStyle::Block))?;
            for item in items {
                node(emitter, item)?;
            }
            emitter.emit(Event::sequence_end())
        }
        Value::Object(members) => match verbatim::number(members) {
            Some(number) => plain(emitter, number),
            None => mapping(emitter, members),
        },
    }
}

fn mapping(emitter: &mut Emitter<'_>, members: &Map<String, Value>) -> Result<()> {
    emitter.emit(Event::mapping_start(None, None, true, MappingStyle::Block))?;
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in sorted {
        string(emitter, key)?;
        node(emitter, value)?;
    }
    emitter.emit(Event::mapping_end())
}

fn plain(emitter: &mut Emitter<'_>, text: &str) -> Result<()> {
    emitter.emit(Event::scalar(None, None, text, true, true, ScalarStyle::Plain))
}

fn string(emitter: &mut Emitter<'_>, text: &str) -> Result<()> {
    let style = if text.contains('\n') {
        ScalarStyle::Literal
    } else if needs_quotes(text) {
        ScalarStyle::DoubleQuoted
    } else {
        ScalarStyle::Plain
    };
    emitter.emit(Event::scalar(None, None, text, true, true, style))
}
