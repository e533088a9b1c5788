//! Content negotiation: which forms a client takes and which form its body has.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use machinery::status::Status;

/// What the server writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What is made of the objects in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The objects themselves.
    None,
    /// A `meta.k8s.io/v1` (or v1beta1) Table.
    Table {
        /// Whether the client asked for the old `v1beta1`.
        beta: bool,
    },
    /// Only their metadata.
    Metadata {
        /// Whether the client asked for the old `v1beta1`.
        beta: bool,
    },
}

/// The chosen form of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How it is written.
    pub format: Format,
    /// What is made of the objects.
    pub transform: Transform,
}

/// The media types of an Accept header that can be answered with objects.
pub const ACCEPTED: [&str; 3] = ["application/json", "application/yaml", PROTOBUF];

/// The binary form of objects, which upstream's components and kubectl speak.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// One entry of an Accept header.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// `application/json`
    pub media_type: &'a str,
    /// All parameters but `q`.
    pub parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Entry<'_> {
    /// A parameter's value.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
}

impl Accepted {
    /// Plain JSON.
    pub const JSON: Self = Self { format: Format::Json, transform: Transform::None };

    /// Chooses the form of a response. `transforms` says whether Tables and metadata can be had.
    ///
    /// # Errors
    /// 406 when nothing the client takes can be made.
    pub fn choose(headers: &HeaderMap, transforms: bool) -> Result<Self, Box<Status>> {
        let Some(header) = headers.get(ACCEPT) else { return Ok(Self::JSON) };
        let Ok(header) = header.to_str() else { return Err(not_acceptable()) };
        if matches!(header, "application/json" | "*/*" | "application/json, */*" | "") {
            return Ok(Self::JSON);
        }
        parse(header)
            .iter()
            .find_map(|entry| Self::of(entry, transforms))
            .ok_or_else(not_acceptable)
    }

    fn of(entry: &Entry<'_>, transforms: bool) -> Option<Self> {
        let format = match entry.media_type {
            "application/json" | "*/*" | "application/*" => Format::Json,
            "application/yaml" => Format::Yaml,
            PROTOBUF => Format::Protobuf,
            _ => return None,
        };
        if entry.parameter("stream").is_some_and(|stream| stream != "watch") {
            return None;
        }
        let transform = match entry.parameter("as") {
            None => Transform::None,
            Some(_) if !transforms => return None,
            Some(kind) => {
                if entry.parameter("g") != Some("meta.k8s.io") {
                    return None;
                }
                let beta = match entry.parameter("v") {
                    Some("v1") => false,
                    Some("v1beta1") => true,
                    _ => return None,
                };
                match kind {
                    // A Table's cells have no binary form.
                    "Table" if format == Format::Protobuf => return None,
                    "Table" => Transform::Table { beta },
                    "PartialObjectMetadata" | "PartialObjectMetadataList" => {
                        Transform::Metadata { beta }
                    }
                    _ => return None,
                }
            }
        };
        Some(Self { format, transform })
    }
}

/// 406 with the list of what there is.
#[must_use]
pub fn not_acceptable() -> Box<Status> {
    Box::new(Status::not_acceptable(&ACCEPTED))
}

/// Splits an Accept header into its entries, best first.
#[must_use]
pub fn parse(header: &str) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = header
        .split(',')
        .filter_map(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let media_type = pieces.next().filter(|media| !media.is_empty())?;
            let mut entry = Entry { media_type, parameters: Vec::new(), quality: 1.0 };
            for piece in pieces {
                let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                let value = value.trim_matches('"');
                if name == "q" {
                    entry.quality = value.parse().unwrap_or(0.0);
                } else if !name.is_empty() {
                    entry.parameters.push((name, value));
                }
            }
            (entry.quality > 0.0).then_some(entry)
        })
        .collect();
    entries.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    entries
}

/// The media type of a request's body, without parameters; empty when none is given.
#[must_use]
pub fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, want: Option<(Format, Transform)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let got = Accepted::choose(&headers, true).ok().map(|a| (a.format, a.transform));
        assert_eq!(got, want, "{accept}");
    }

    #[test]
    fn best_entry_wins() {
        use Format::{Json, Protobuf, Yaml};
        check("application/json", Some((Json, Transform::None)));
        check("application/yaml", Some((Yaml, Transform::None)));
        let table = Transform::Table { beta: false };
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Json, table)),
        );
        check(PROTOBUF, Some((Protobuf, Transform::None)));
        check(&format!("{PROTOBUF},application/json"), Some((Protobuf, Transform::None)));
        check(&format!("application/json,{PROTOBUF}"), Some((Json, Transform::None)));
        check(&format!("{PROTOBUF};q=0.4,application/json;q=0.5"), Some((Json, Transform::None)));
        check(&format!("{PROTOBUF};stream=watch"), Some((Protobuf, Transform::None)));
        check(&format!("{PROTOBUF};as=Table;v=v1;g=meta.k8s.io"), None);
        check(
            &format!("{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
            Some((Protobuf, Transform::Metadata { beta: false })),
        );
        check("application/json;q=0.5,application/yaml", Some((Yaml, Transform::None)));
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Some((Json, Transform::Metadata { beta: false })),
        );
        check("text/html", None);
        check(
            "application/json;as=Nonsense;g=meta.k8s.io;v=v1,*/*;q=0.1",
            Some((Json, Transform::None)),
        );
    }
}
