//! Lines as upstream's components write them with `--logging-format=json`: `ts` in milliseconds,
//! `caller`, `msg`, `v` unless it is an error, and the rest under its own names.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{}", line(event.metadata(), now.as_micros() as u64, fields))
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => {
                self.message = value.as_str().unwrap_or_default().to_owned();
                return;
            }
            // Upstream's name for what went wrong.
            "error" => "err",
            name => name,
        };
        self.others.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

fn line(metadata: &Metadata<'_>, micros: u64, fields: Fields) -> Value {
    let mut line = Map::new();
    line.insert("ts".to_owned(), (micros as f64 / 1000.0).into());
    if let (Some(file), Some(at)) = (metadata.file(), metadata.line()) {
        let file = file.rsplit('/').next().unwrap_or(file);
        line.insert("caller".to_owned(), format!("{file}:{at}").into());
    }
    line.insert("msg".to_owned(), fields.message.into());
    let v = match *metadata.level() {
        Level::ERROR => None,
        Level::WARN | Level::INFO => Some(0),
        Level::DEBUG => Some(if metadata.target() == super::REQUESTS { 3 } else { 4 }),
        Level::TRACE => Some(6),
    };
    line.extend(v.map(|v| ("v".to_owned(), v.into())));
    line.insert("logger".to_owned(), metadata.target().into());
    line.extend(fields.others);
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_objects() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .event_format(Json)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(port = 6443, ready = true, "serving \"now\"");
            tracing::error!(error = %"no space", "cannot write");
            tracing::debug!(target: super::super::REQUESTS, resp = 200_u16, "audit-ID" = "x", "HTTP");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let found: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let [info, error, request] = found.as_slice() else { panic!("{text}") };
        assert_eq!((&info["msg"], &info["v"]), (&"serving \"now\"".into(), &0.into()));
        assert_eq!((&info["port"], &info["ready"]), (&6443.into(), &true.into()));
        assert!(info["ts"].as_f64().is_some_and(|ts| ts > 1e12), "{info}");
        assert!(info["caller"].as_str().is_some_and(|caller| caller.starts_with("json.rs:")));
        assert_eq!((&error["err"], error.get("v")), (&"no space".into(), None));
        assert_eq!((&request["msg"], &request["audit-ID"]), (&"HTTP".into(), &"x".into()));
        assert_eq!((&request["v"], &request["resp"]), (&3.into(), &200.into()));
    }
}
