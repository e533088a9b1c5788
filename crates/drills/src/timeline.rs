//! What was done and seen, and when: printed as it happens, and kept for the report.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// Most lines that one step shows; of more than that, it shows only so many as to get the idea.
const LINES: (usize, usize) = (6, 3);

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something was done.
    Do,
    /// Something was seen.
    See,
    /// What the drill broke was mended.
    Mend,
}

/// One step of a drill.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Seconds since the drill began.
    pub at: f64,
    /// Seconds since something was last done.
    pub after: f64,
    /// What it is.
    pub kind: Kind,
    /// In words.
    pub text: String,
    /// The objects, conditions and events that were seen, as kubectl shows them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<String>,
    /// What `after` measures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<&'static str>,
}

/// The steps of one drill so far.
#[derive(Debug)]
pub(crate) struct Timeline {
    begun: Instant,
    acted: Instant,
    pub(crate) steps: Vec<Step>,
    voice: Voice,
}

/// Where timelines are printed.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    /// Where errors go, since the report goes to the output.
    pub(crate) aside: bool,
    /// Ends the drills. Cancelled when nobody reads any more, as with `| head`: what is broken must
    /// still be mended, so the process cannot just end.
    pub(crate) over: CancellationToken,
}

impl Timeline {
    pub(crate) fn start(voice: &Voice) -> Self {
        let now = Instant::now();
        Self { begun: now, acted: now, steps: Vec::new(), voice: voice.clone() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Something is done now.
    pub(crate) fn act(&mut self, kind: Kind, text: &str) {
        self.acted = Instant::now();
        self.add(kind, text, Vec::new(), None);
    }

    /// Something was seen.
    pub(crate) fn see(&mut self, text: &str, shown: Vec<String>, figure: Option<&'static str>) {
        self.add(Kind::See, text, shown, figure);
    }

    fn add(&mut self, kind: Kind, text: &str, shown: Vec<String>, figure: Option<&'static str>) {
        let (at, after) = (self.begun.elapsed().as_secs_f64(), self.acted.elapsed().as_secs_f64());
        let step = Step { at, after, kind, text: text.to_owned(), shown, figure };
        self.say(&render(&step));
        self.steps.push(step);
    }

    pub(crate) fn say(&self, text: &str) {
        let printed = if self.voice.aside {
            writeln!(std::io::stderr(), "{text}")
        } else {
            writeln!(std::io::stdout(), "{text}")
        };
        // Nothing else keeps a drill from its end, a disk that is full of its output least of all.
        if printed.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            self.voice.over.cancel();
        }
    }
}

fn render(step: &Step) -> String {
    let word = match step.kind {
        Kind::Do => "do  ",
        Kind::See => "see ",
        Kind::Mend => "mend",
    };
    let mut text = format!("{:>7.1} s  {word}  {}", step.at, step.text);
    if let Some(figure) = step.figure {
        text.push_str(&format!("  [{figure}: {:.1} s]", step.after));
    }
    let all = step.shown.len();
    let lines = if all > LINES.0 { LINES.1 } else { all };
    for line in &step.shown[..lines] {
        text.push_str(&format!("\n                   {line}"));
    }
    if lines < all {
        text.push_str(&format!("\n                   ... and {} more", all - lines));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_line_with_what_was_seen_below() {
        let mut step = Step {
            at: 12.34,
            after: 1.25,
            kind: Kind::See,
            text: "the Pod runs".into(),
            shown: vec!["web-1  1/1".into()],
            figure: Some("replacement"),
        };
        let wanted =
            "   12.3 s  see   the Pod runs  [replacement: 1.2 s]\n                   web-1  1/1";
        assert_eq!(render(&step), wanted);
        step.shown = vec!["row".into(); 10];
        assert!(render(&step).ends_with("row\n                   ... and 7 more"));
    }
}
