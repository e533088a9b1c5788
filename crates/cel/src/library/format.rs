//! Named formats of text.

use std::fmt;

use base64::Engine as _;
use machinery::names;

use super::{Answer, Declared, no_overload, opaque, text, time, url};
use crate::eval::Scope;
use crate::value::{Opaque, Value};

/// A format that text may have.
pub struct Format {
    name: &'static str,
    /// Length of the regular expression that the cost of a check is counted by.
    pub(crate) regex_size: u64,
    validate: fn(&str) -> Vec<String>,
}

/// The longest of the regular expressions that names are checked by.
pub(crate) const MAX_NAME_REGEX_SIZE: f64 = 128.0;

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", regex_size: 30, validate: names::dns1123_label },
    Format { name: "dns1123Subdomain", regex_size: 60, validate: names::dns1123_subdomain },
    Format { name: "dns1035Label", regex_size: 30, validate: names::dns1035_label },
    Format { name: "qualifiedName", regex_size: 60, validate: names::qualified_name },
    Format {
        name: "dns1123LabelPrefix",
        regex_size: 30,
        validate: |text| names::dns1123_label(&names::mask_trailing_dash(text)),
    },
    Format {
        name: "dns1123SubdomainPrefix",
        regex_size: 60,
        validate: |text| names::dns1123_subdomain(&names::mask_trailing_dash(text)),
    },
    Format {
        name: "dns1035LabelPrefix",
        regex_size: 30,
        validate: |text| names::dns1035_label(&names::mask_trailing_dash(text)),
    },
    Format { name: "labelValue", regex_size: 40, validate: names::label_value },
    Format {
        name: "uri",
        regex_size: 1500,
        validate: |text| url::parse(text).err().into_iter().collect(),
    },
    Format {
        name: "uuid",
        regex_size: 80,
        validate: |text| unless(uuid(text), "does not match the UUID format"),
    },
    Format {
        name: "byte",
        regex_size: 80,
        validate: |text| {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            unless(decoded.is_ok() && !text.is_empty(), "invalid base64")
        },
    },
    Format {
        name: "date",
        regex_size: 150,
        validate: |text| unless(time::parse_date(text).is_some(), "invalid date"),
    },
    Format {
        name: "datetime",
        regex_size: 150,
        validate: |text| unless(time::parse_timestamp(text).is_some(), "invalid datetime"),
    },
];

pub(super) const DECLARED: &[Declared] = &[
    Declared(
        "format-named",
        "format.named(string) -> optional(kubernetes.NamedFormat)",
        |_, args| {
            Ok(find(text(args, 0)?).map_or_else(Value::none, |format| {
                Value::some(Value::Opaque(Opaque::Format(format)))
            }))
        },
    ),
    Declared(
        "format-validate",
        "kubernetes.NamedFormat::validate(string) -> optional(list(string))",
        validate,
    ),
    Declared("format.dns1123Label", "format.dns1123Label() -> kubernetes.NamedFormat", |_, _| {
        named("dns1123Label")
    }),
    Declared(
        "format.dns1123Subdomain",
        "format.dns1123Subdomain() -> kubernetes.NamedFormat",
        |_, _| named("dns1123Subdomain"),
    ),
    Declared("format.dns1035Label", "format.dns1035Label() -> kubernetes.NamedFormat", |_, _| {
        named("dns1035Label")
    }),
    Declared("format.qualifiedName", "format.qualifiedName() -> kubernetes.NamedFormat", |_, _| {
        named("qualifiedName")
    }),
    Declared(
        "format.dns1123LabelPrefix",
        "format.dns1123LabelPrefix() -> kubernetes.NamedFormat",
        |_, _| named("dns1123LabelPrefix"),
    ),
    Declared(
        "format.dns1123SubdomainPrefix",
        "format.dns1123SubdomainPrefix() -> kubernetes.NamedFormat",
        |_, _| named("dns1123SubdomainPrefix"),
    ),
    Declared(
        "format.dns1035LabelPrefix",
        "format.dns1035LabelPrefix() -> kubernetes.NamedFormat",
        |_, _| named("dns1035LabelPrefix"),
    ),
    Declared("format.labelValue", "format.labelValue() -> kubernetes.NamedFormat", |_, _| {
        named("labelValue")
    }),
    Declared("format.uri", "format.uri() -> kubernetes.NamedFormat", |_, _| named("uri")),
    Declared("format.uuid", "format.uuid() -> kubernetes.NamedFormat", |_, _| named("uuid")),
    Declared("format.byte", "format.byte() -> kubernetes.NamedFormat", |_, _| named("byte")),
    Declared("format.date", "format.date() -> kubernetes.NamedFormat", |_, _| named("date")),
    Declared("format.datetime", "format.datetime() -> kubernetes.NamedFormat", |_, _| {
        named("datetime")
    }),
];

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn named(name: &str) -> Answer {
    find(name).map(|format| Value::Opaque(Opaque::Format(format))).ok_or_else(no_overload)
}

fn validate(_: &mut Scope, args: &[Value]) -> Answer {
    let Opaque::Format(format) = opaque(args, 0)? else {
        return Err(no_overload());
    };
    let mistakes = (format.validate)(text(args, 1)?);
    if mistakes.is_empty() {
        return Ok(Value::none());
    }
    Ok(Value::some(Value::list(mistakes.into_iter().map(Value::string).collect())))
}

fn unless(valid: bool, message: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![message.to_owned()] }
}

fn uuid(text: &str) -> bool {
    let hex = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    match dashes.len() {
        0 => hex == 32 && text.len() == 32,
        _ => hex == 32 && text.len() == 36 && dashes == [8, 13, 18, 23],
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Format").field(&self.name).finish()
    }
}
