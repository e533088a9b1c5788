//! What a webhook's HTTP response says, in the words of upstream's REST client.

use machinery::Value;
use serde_json::json;

/// What is shown of a body that is no answer.
const SHOWN: usize = 2048;

/// The object in a response, or why there is none.
pub(super) fn object(code: u16, body: &[u8]) -> Result<Value, String> {
    let parsed: Result<Value, _> = serde_json::from_slice(body);
    if !(200..=206).contains(&code) {
        // An error may say itself what it is.
        if let Ok(status) = &parsed
            && status.get("kind") == Some(&json!("Status"))
            && let Some(message) = status.get("message").and_then(Value::as_str)
        {
            return Err(message.to_owned());
        }
        return Err(of_code(code, body));
    }
    if body.is_empty() {
        return Err(format!("0-length response with status code: {code} and content type: "));
    }
    let object = parsed.map_err(|error| {
        format!("couldn't get version/kind; json parse error: {}", parse_error(body, &error))
    })?;
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("kind").is_empty() {
        return Err(format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(body)));
    }
    if text("apiVersion").is_empty() {
        let shown = String::from_utf8_lossy(body);
        return Err(format!("Object 'apiVersion' is missing in '{shown}'"));
    }
    if text("kind") == "Status" && text("status") != "Success" {
        return Err(text("message").to_owned());
    }
    Ok(object)
}

/// `group/version, Kind=kind`, as Go prints what an object is.
pub(super) fn gvk(object: &Value) -> String {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    format!("{}, Kind={}", text("apiVersion"), text("kind"))
}

fn of_code(code: u16, body: &[u8]) -> String {
    let fixed = match code {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 => "unknown",
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 => "the server was unable to respond with a content type that the client supports",
        409 => "the server reported a conflict",
        410 => "the server closed our request",
        415 => "the server does not allow this content type on the requested resource",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be \
                processing the request"
        }
        500.. => {
            let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
            let shown = shown.trim();
            let shown = if shown.is_empty() { "unknown" } else { shown };
            return format!(
                "an error on the server ({shown:?}) has prevented the request from succeeding"
            );
        }
        _ => {
            return format!(
                "the server responded with the status code {code} but did not return more information"
            );
        }
    };
    fixed.to_owned()
}

/// Go's words for where JSON breaks off.
fn parse_error(body: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let first = String::from_utf8_lossy(body);
    match first.trim_start().chars().next() {
        Some(c) if !"{[\"tfn-0123456789".contains(c) => {
            format!("invalid character '{c}' looking for beginning of value")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |code: u16, body: &str, expected: &str| {
            assert_eq!(object(code, body.as_bytes()).unwrap_err(), expected);
        };
        check(404, "x", "the server could not find the requested resource");
        check(
            500,
            "oops\n",
            "an error on the server (\"oops\") has prevented the request from succeeding",
        );
        check(500, r#"{"kind":"Status","status":"Failure","message":"no"}"#, "no");
        check(200, r#"{"kind":"Status","apiVersion":"v1","message":"no"}"#, "no");
        check(
            200,
            "<html>",
            "couldn't get version/kind; json parse error: invalid character '<' looking for \
             beginning of value",
        );
        check(
            200,
            "{",
            "couldn't get version/kind; json parse error: unexpected end of JSON input",
        );
        check(200, "{}", "Object 'Kind' is missing in '{}'");
        assert!(object(200, br#"{"kind":"X","apiVersion":"v1"}"#).is_ok());
    }
}
