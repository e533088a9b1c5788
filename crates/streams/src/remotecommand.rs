//! The vocabulary of remote commands: which streams there are, their numbers and names, and the
//! status that ends them.
//!
//! Follows <https://kubernetes.io/docs/reference/using-api/> "Streaming" and KEP-4006.

use serde::{Deserialize, Serialize};

/// A logical stream of a remote command. The discriminant is its WebSocket channel number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Input of the process.
    Stdin = 0,
    /// Output of the process.
    Stdout = 1,
    /// Error output of the process; absent with a terminal.
    Stderr = 2,
    /// The final `Status`.
    Error = 3,
    /// Terminal sizes, JSON objects.
    Resize = 4,
}

impl Channel {
    /// The channel with this WebSocket number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Error,
            4 => Self::Resize,
            _ => return None,
        })
    }

    /// Value of the SPDY header `streamType`.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Error => "error",
            Self::Resize => "resize",
        }
    }
}

/// Remote command protocol over SPDY that this crate speaks, for `X-Stream-Protocol-Version`.
pub const SPDY_PROTOCOL: &str = "v4.channel.k8s.io";

/// Which streams the client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSet {
    /// Client sends input.
    pub stdin: bool,
    /// Client wants output.
    pub stdout: bool,
    /// Client wants error output.
    pub stderr: bool,
    /// The process runs in a terminal.
    pub tty: bool,
}

impl StreamSet {
    /// The streams to open, in the order in which upstream's clients open them.
    pub fn channels(self) -> Vec<Channel> {
        let mut channels = vec![Channel::Error];
        if self.stdin {
            channels.push(Channel::Stdin);
        }
        if self.stdout {
            channels.push(Channel::Stdout);
        }
        if self.stderr && !self.tty {
            channels.push(Channel::Stderr);
        }
        if self.tty {
            channels.push(Channel::Resize);
        }
        channels
    }
}

/// Size of a terminal in characters; the JSON of the resize channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// How a remote command ended; the `Status` object of the error channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Exit code zero.
    Success,
    /// The process ended with this code.
    Code(i32),
    /// It could not be run, or the stream broke.
    Failed(String),
}

impl ExitStatus {
    /// The `Status` in JSON, as protocol version 4 and later send it.
    pub fn to_json(&self) -> Vec<u8> {
        let status = match self {
            Self::Success => serde_json::json!({ "metadata": {}, "status": "Success" }),
            Self::Code(code) => serde_json::json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Self::Failed(message) => serde_json::json!({
                "metadata": {},
                "status": "Failure",
                "message": message,
                "reason": "InternalError",
                "details": { "causes": [{ "message": message }] },
                "code": 500,
            }),
        };
        status.to_string().into_bytes()
    }

    /// Reads a `Status`; anything else is the text of a failure.
    pub fn from_json(bytes: &[u8]) -> Self {
        let Ok(status) = serde_json::from_slice::<serde_json::Value>(bytes) else {
            return Self::Failed(String::from_utf8_lossy(bytes).into_owned());
        };
        if status["status"] == "Success" {
            return Self::Success;
        }
        if status["reason"] == "NonZeroExitCode" {
            let code = status["details"]["causes"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|cause| cause["reason"] == "ExitCode")
                .and_then(|cause| cause["message"].as_str())
                .and_then(|code| code.parse().ok());
            if let Some(code) = code {
                return Self::Code(code);
            }
        }
        Self::Failed(status["message"].as_str().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_survive_their_json_form() {
        for status in
            [ExitStatus::Success, ExitStatus::Code(137), ExitStatus::Failed("no such pod".into())]
        {
            assert_eq!(ExitStatus::from_json(&status.to_json()), status);
        }
        assert_eq!(
            String::from_utf8(ExitStatus::Code(3).to_json()).unwrap(),
            r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#
        );
    }

    #[test]
    fn a_terminal_has_resize_and_no_stderr() {
        let set = StreamSet { stdin: true, stdout: true, stderr: true, tty: true };
        use Channel::{Error, Resize, Stdin, Stdout};
        assert_eq!(set.channels(), [Error, Stdin, Stdout, Resize]);
    }
}
