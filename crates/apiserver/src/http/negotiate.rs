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
    /// `application/cbor`
    Cbor,
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
        /// Whether it asked for a list.
        list: bool,
    },
}

/// What a place of the API can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether Tables and metadata can be had.
    pub transforms: bool,
    /// Whether the objects have a protobuf form.
    pub protobuf: bool,
    /// Whether it is a stream of events, which YAML has no form for.
    pub watch: bool,
}

impl Offer {
    /// What every place has, such as discovery and failures.
    pub const PLAIN: Self = Self { transforms: false, protobuf: true, watch: false };

    fn accepted(self) -> impl Iterator<Item = &'static str> {
        let fits = move |media: &&str| match *media {
            PROTOBUF => self.protobuf,
            YAML => !self.watch,
            _ => true,
        };
        ACCEPTED.into_iter().filter(fits)
    }

    fn not_acceptable(self) -> Box<Status> {
        let stream = if self.watch { ";stream=watch" } else { "" };
        let names: Vec<String> = self.accepted().map(|media| format!("{media}{stream}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Box::new(Status::not_acceptable(&names))
    }
}

/// The chosen form of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How it is written.
    pub format: Format,
    /// What is made of the objects.
    pub transform: Transform,
    /// Whether the entry of the header asks for indented JSON.
    pub pretty: bool,
}

/// The media types that clients are told of. CBOR, which upstream has behind a switch that is off,
/// is for those who ask for it by name.
pub const ACCEPTED: [&str; 3] = [JSON, YAML, PROTOBUF];

/// Text, which is also what an absent header means.
pub const JSON: &str = "application/json";

/// Text for people.
pub const YAML: &str = "application/yaml";

/// The binary form of objects, which upstream's components and kubectl speak.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The other binary form, which any kind has.
pub const CBOR: &str = "application/cbor";

/// Events one after the other in that form.
pub const CBOR_SEQUENCE: &str = "application/cbor-seq";

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
    pub const JSON: Self = Self { format: Format::Json, transform: Transform::None, pretty: false };

    /// Chooses the form of a response.
    ///
    /// # Errors
    /// 406 when nothing the client takes can be made.
    pub fn choose(headers: &HeaderMap, offer: Offer) -> Result<Self, Box<Status>> {
        let Some(header) = headers.get(ACCEPT) else { return Ok(Self::JSON) };
        let Ok(header) = header.to_str() else { return Err(offer.not_acceptable()) };
        if matches!(header, "application/json" | "*/*" | "application/json, */*" | "") {
            return Ok(Self::JSON);
        }
        parse(header)
            .iter()
            .find_map(|entry| Self::of(entry, offer))
            .ok_or_else(|| offer.not_acceptable())
    }

    fn of(entry: &Entry<'_>, offer: Offer) -> Option<Self> {
        let format = match entry.media_type {
            JSON | "*/*" | "application/*" => Format::Json,
            YAML if !offer.watch => Format::Yaml,
            PROTOBUF => Format::Protobuf,
            CBOR => Format::Cbor,
            CBOR_SEQUENCE if offer.watch => Format::Cbor,
            _ => return None,
        };
        if entry.parameter("stream").is_some_and(|stream| stream != "watch") {
            return None;
        }
        let pretty = format == Format::Json && entry.parameter("pretty") == Some("1");
        let transform = match entry.parameter("as") {
            // Metadata has a protobuf form whatever it is of.
            None if format == Format::Protobuf && !offer.protobuf => return None,
            None => Transform::None,
            Some(_) if !offer.transforms => return None,
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
                    // A Table's cells have no form in protobuf.
                    "Table" if format == Format::Protobuf => return None,
                    "Table" => Transform::Table { beta },
                    "PartialObjectMetadata" => Transform::Metadata { beta, list: false },
                    "PartialObjectMetadataList" => Transform::Metadata { beta, list: true },
                    _ => return None,
                }
            }
        };
        Some(Self { format, transform, pretty })
    }
}

/// The form of a failure: what the client takes, or else indented JSON.
#[must_use]
pub fn of_failure(headers: &HeaderMap) -> Accepted {
    let offer = Offer { transforms: true, ..Offer::PLAIN };
    Accepted::choose(headers, offer)
        .or_else(|_| Accepted::choose(headers, Offer { watch: true, ..offer }))
        .unwrap_or(Accepted { pretty: true, ..Accepted::JSON })
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
    // Of equal quality, what is named exactly comes before what is covered by a star.
    let stars = |entry: &Entry<'_>| entry.media_type.bytes().filter(|byte| *byte == b'*').count();
    entries.sort_by(|a, b| b.quality.total_cmp(&a.quality).then_with(|| stars(a).cmp(&stars(b))));
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

    const EVERYTHING: Offer = Offer { transforms: true, protobuf: true, watch: false };

    fn choose(accept: &str, offer: Offer) -> Result<Accepted, Box<Status>> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Accepted::choose(&headers, offer)
    }

    #[track_caller]
    fn check(accept: &str, want: Option<(Format, Transform)>) {
        let got = choose(accept, EVERYTHING).ok().map(|a| (a.format, a.transform));
        assert_eq!(got, want, "{accept}");
    }

    #[test]
    fn best_entry_wins() {
        use Format::{Cbor, Json, Protobuf, Yaml};
        check("application/json", Some((Json, Transform::None)));
        check("application/yaml", Some((Yaml, Transform::None)));
        check("application/cbor", Some((Cbor, Transform::None)));
        let table = Transform::Table { beta: false };
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Json, table)),
        );
        check("application/cbor;as=Table;v=v1;g=meta.k8s.io", Some((Cbor, table)));
        check(PROTOBUF, Some((Protobuf, Transform::None)));
        check(&format!("{PROTOBUF},application/json"), Some((Protobuf, Transform::None)));
        check(&format!("application/json,{PROTOBUF}"), Some((Json, Transform::None)));
        check(&format!("*/*,{PROTOBUF}"), Some((Protobuf, Transform::None)));
        check("application/*,application/yaml", Some((Yaml, Transform::None)));
        check("application/*", Some((Json, Transform::None)));
        check("application/cbor;q=0.5,*/*", Some((Json, Transform::None)));
        check(&format!("{PROTOBUF};q=0.4,application/json;q=0.5"), Some((Json, Transform::None)));
        check(&format!("{PROTOBUF};stream=watch"), Some((Protobuf, Transform::None)));
        check(&format!("{PROTOBUF};as=Table;v=v1;g=meta.k8s.io"), None);
        check(
            &format!("{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
            Some((Protobuf, Transform::Metadata { beta: false, list: false })),
        );
        check("application/json;q=0.5,application/yaml", Some((Yaml, Transform::None)));
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Some((Json, Transform::Metadata { beta: false, list: true })),
        );
        check("text/html", None);
        check("application/cbor-seq", None);
        check("application/json;stream=sideways", None);
        check(
            "application/json;as=Nonsense;g=meta.k8s.io;v=v1,*/*;q=0.1",
            Some((Json, Transform::None)),
        );
        assert!(choose("application/json;pretty=1", EVERYTHING).unwrap().pretty);
    }

    #[track_caller]
    fn check_refused(accept: &str, offer: Offer, names: &str) {
        let status = choose(accept, offer).unwrap_err();
        assert_eq!(status.code, 406);
        let want = format!("only the following media types are accepted: {names}");
        assert_eq!(status.message, want);
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        let all = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        check_refused("text/html", EVERYTHING, all);
        let custom = Offer { protobuf: false, ..EVERYTHING };
        check_refused(PROTOBUF, custom, "application/json, application/yaml");
        let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
        assert_eq!(choose(&metadata, custom).unwrap().format, Format::Protobuf);
        let watch = Offer { watch: true, ..EVERYTHING };
        let streams =
            "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        check_refused("application/yaml", watch, streams);
        assert_eq!(choose(CBOR_SEQUENCE, watch).unwrap().format, Format::Cbor);
    }
}
