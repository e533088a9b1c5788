//! Feature gates, <https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/>:
//! which there are in this release, what `--feature-gates` says of them, and what that leads to.
//!
//! Every component knows every gate, as upstream. A gate counts only where something is built that
//! goes by it: whoever sets another one hears so ([`Notice::Ignored`]), and it stays as it is.
//!
//! Gates are the one thing that is the same for the whole process: they are installed once, at
//! its start, before anything asks for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, OnceLock};

/// How far a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// Mostly on.
    Beta,
    /// There to stay.
    Stable,
    /// There for those who still need what was before.
    Deprecated,
}

/// A feature that can be named.
#[derive(Debug)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// How far it is.
    pub stage: Stage,
    /// Whether it is on unless told otherwise.
    pub default: bool,
    /// Whether nothing else is allowed.
    locked: bool,
    /// Without which it cannot be on.
    needs: Vec<&'static str>,
}

/// What a gate is to be, by name.
pub type Choices = BTreeMap<String, bool>;

/// Which features are on.
#[derive(Clone, Debug)]
pub struct Features {
    /// In the order of [`gates`].
    on: Vec<bool>,
}

/// Why gates cannot be set; upstream's texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// A gate of something that is not in this program.
    #[error("component not registered: {0}")]
    Component(String),
    /// A gate without a value.
    #[error("missing bool value for {0}")]
    Missing(String),
    /// A value that is no truth value.
    #[error(
        "invalid value of {key}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    Value {
        /// The gate.
        key: String,
        /// What it was to be.
        value: String,
    },
    /// There is no such gate.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// The gate is what it is.
    #[error("cannot set feature gate {name} to {value}, feature is locked to {}", !.value)]
    Locked {
        /// The gate.
        name: String,
        /// What it was to be.
        value: bool,
    },
    /// A feature is on without others that it is made of.
    #[error("{name} is enabled, but depends on features that are disabled: [{}]", .off.join(" "))]
    Needs {
        /// The gate.
        name: &'static str,
        /// Those that are off.
        off: Vec<&'static str>,
    },
    /// Several of these.
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<FeatureError>),
}

/// What somebody who sets gates should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The gate will go away.
    Going {
        /// How far it is: stable or deprecated.
        stage: Stage,
        /// Its name.
        name: &'static str,
        /// What it is now.
        value: bool,
    },
    /// These gates change nothing here.
    Ignored(Vec<(&'static str, bool)>),
}

/// What upstream puts before the names of its own gates.
const PREFIX: &str = "kube";
const ALL: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

static GATES: LazyLock<Vec<Gate>> =
    LazyLock::new(|| include_str!("../data/features.txt").lines().map(Gate::read).collect());
static INSTALLED: OnceLock<Features> = OnceLock::new();

/// All gates, by name.
pub fn gates() -> &'static [Gate] {
    &GATES
}

/// What is to be from now on. Who asked before this was told the defaults; what was installed
/// before stays.
pub fn install(features: Features) {
    // Only the first of several servers in one process is asked.
    drop(INSTALLED.set(features));
}

/// Whether a feature is on in this process; none if there is no such feature.
pub fn enabled(name: &str) -> Option<bool> {
    let at = position(name)?;
    Some(INSTALLED.get().map_or(GATES[at].default, |features| features.on[at]))
}

/// Reads values of `--feature-gates`: `name=true`, separated by commas, later ones outdo earlier
/// ones.
///
/// # Errors
/// What is wrong with their form.
pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Choices, FeatureError> {
    let mut choices = Choices::new();
    for text in texts {
        for pair in text.as_ref().split(',').filter(|pair| !pair.is_empty()) {
            let pair = match pair.split_once(':') {
                Some((component, _)) if component.trim() != PREFIX => {
                    return Err(FeatureError::Component(component.trim().to_owned()));
                }
                Some((_, pair)) => pair,
                None => pair,
            };
            let Some((key, value)) = pair.split_once('=') else {
                return Err(FeatureError::Missing(pair.trim().to_owned()));
            };
            let (key, value) = (key.trim().to_owned(), value.trim());
            let on = match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(FeatureError::Value { key, value: value.to_owned() }),
            };
            choices.insert(key, on);
        }
    }
    Ok(choices)
}

fn position(name: &str) -> Option<usize> {
    GATES.binary_search_by(|gate| gate.name.cmp(name)).ok()
}

// === impl Stage ===

impl Stage {
    /// As metrics have it: nothing for what is stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Stable => "",
            Self::Deprecated => "DEPRECATED",
        }
    }
}

// === impl Gate ===

impl Gate {
    /// Reads a line of the table: name, stage, default, and whether that is locked and what the
    /// feature needs.
    fn read(line: &'static str) -> Self {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let stage = match words.next() {
            Some("alpha") => Stage::Alpha,
            Some("beta") => Stage::Beta,
            Some("deprecated") => Stage::Deprecated,
            _ => Stage::Stable,
        };
        let mut gate = Self {
            name,
            stage,
            default: words.next() == Some("on"),
            locked: false,
            needs: Vec::new(),
        };
        for word in words {
            match word.strip_prefix("needs=") {
                Some(needs) => gate.needs = needs.split(',').collect(),
                None => gate.locked = word == "locked",
            }
        }
        gate
    }
}

// === impl Features ===

impl Default for Features {
    fn default() -> Self {
        Self { on: GATES.iter().map(|gate| gate.default).collect() }
    }
}

impl Features {
    /// What choices lead to where `follows` says which gates something goes by.
    ///
    /// # Errors
    /// Choices that are not possible.
    pub fn choose(
        choices: &Choices,
        follows: impl Fn(&str) -> bool,
    ) -> Result<(Self, Vec<Notice>), FeatureError> {
        let (mut wanted, mut notices) = (Self::default(), Vec::new());
        let mut errors = Vec::new();
        for (name, stage) in ALL {
            let Some(&value) = choices.get(name) else { continue };
            for (gate, on) in GATES.iter().zip(&mut wanted.on) {
                if gate.stage == stage && !ALL.iter().any(|(all, _)| *all == gate.name) {
                    *on = value;
                }
            }
        }
        for (name, &value) in choices {
            let at = position(name).ok_or_else(|| FeatureError::Unknown(name.clone()))?;
            let gate = &GATES[at];
            if gate.locked && gate.default != value {
                errors.push(FeatureError::Locked { name: name.clone(), value });
                continue;
            }
            wanted.on[at] = value;
            if matches!(gate.stage, Stage::Stable | Stage::Deprecated) {
                notices.push(Notice::Going { stage: gate.stage, name: gate.name, value });
            }
        }
        if errors.is_empty() {
            errors.extend(wanted.unmet());
        }
        match errors.len() {
            0 => {}
            1 => return Err(errors.remove(0)),
            _ => return Err(FeatureError::Several(errors)),
        }
        let mut ignored = Vec::new();
        for (gate, on) in GATES.iter().zip(&mut wanted.on) {
            let is_all = ALL.iter().any(|(all, _)| *all == gate.name);
            if *on != gate.default && !is_all && !follows(gate.name) {
                ignored.push((gate.name, *on));
                *on = gate.default;
            }
        }
        if !ignored.is_empty() {
            notices.push(Notice::Ignored(ignored));
        }
        Ok((wanted, notices))
    }

    /// Each gate and whether it is on.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Gate, bool)> {
        GATES.iter().zip(self.on.iter().copied())
    }

    fn unmet(&self) -> Vec<FeatureError> {
        let is_off = |name: &&'static str| position(name).is_some_and(|at| !self.on[at]);
        self.iter()
            .filter(|(_, on)| *on)
            .filter_map(|(gate, _)| {
                let off: Vec<&str> = gate.needs.iter().copied().filter(is_off).collect();
                (!off.is_empty()).then_some(FeatureError::Needs { name: gate.name, off })
            })
            .collect()
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Going { stage, name, value } => {
                let stage = if *stage == Stage::Stable { "GA" } else { "deprecated" };
                write!(f, "Setting {stage} feature gate {name}={value}. ")?;
                f.write_str("It will be removed in a future release.")
            }
            Self::Ignored(gates) => {
                let gates: Vec<String> =
                    gates.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "Feature gates change nothing in this program: {}", gates.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests;
