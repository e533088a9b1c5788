//! `/logs/`: files of the node's log directory.

use std::path::Path;

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use super::response::{Body, error, full, not_found};

/// A file, or the list of a directory.
pub(super) async fn show(root: &Path, path: &str, slash: bool) -> Response<Body> {
    let path = super::decode(path);
    // Links are followed only as far as they stay inside.
    let (Ok(root), Ok(found)) =
        (tokio::fs::canonicalize(root).await, tokio::fs::canonicalize(root.join(&path)).await)
    else {
        return not_found();
    };
    if !found.starts_with(&root) {
        return not_found();
    }
    if !found.is_dir() {
        return match tokio::fs::read(&found).await {
            Ok(bytes) => html_or_text(full(bytes), "text/plain; charset=utf-8"),
            Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, problem),
        };
    }
    if !slash {
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let last = path.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or("logs");
        if let Ok(location) = HeaderValue::from_str(&format!("{last}/")) {
            response.headers_mut().insert(LOCATION, location);
        }
        return response;
    }
    let mut names = Vec::new();
    let mut entries = match tokio::fs::read_dir(&found).await {
        Ok(entries) => entries,
        Err(problem) => return error(StatusCode::INTERNAL_SERVER_ERROR, problem),
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let is_dir = entry.file_type().await.is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name().to_string_lossy().into_owned();
        names.push(if is_dir { format!("{name}/") } else { name });
    }
    names.sort();
    let lines: Vec<String> = names
        .iter()
        .map(|name| {
            let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&#34;");
            format!("<a href=\"{name}\">{name}</a>\n")
        })
        .collect();
    let page = format!("<!doctype html>\n<pre>\n{}</pre>\n", lines.concat());
    html_or_text(full(page), "text/html; charset=utf-8")
}

fn html_or_text(body: Body, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
