//! The subset of JSONPath that printer columns, scale and selectable fields use: members, items,
//! unions, slices, wildcards and filters of one comparison.

use machinery::Value;

/// A parsed path such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        step: i64,
    },
    All,
    /// What each of several steps leads to.
    Union(Vec<Step>),
    /// Everything below, at any depth.
    Descend,
    Filter {
        path: Vec<Step>,
        comparison: Option<(Comparison, Value)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path; surrounding braces are allowed.
    ///
    /// # Errors
    /// When it does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut parser = Parser { rest: inner.strip_prefix('$').unwrap_or(inner) };
        let steps = parser.steps()?;
        match parser.rest {
            "" => Ok(Self(steps)),
            rest => Err(ParseError(format!("unrecognized character in action: {rest}"))),
        }
    }

    /// The values that it leads to.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        find(&self.0, value)
    }

    /// The member names of a path of nothing but members.
    pub fn members(&self) -> Option<Vec<&str>> {
        self.0
            .iter()
            .map(|step| match step {
                Step::Member(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

fn find<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| step.apply(value)).collect();
    }
    found
}

impl Step {
    fn apply<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let children = || match value {
            Value::Object(members) => members.values().collect(),
            Value::Array(items) => items.iter().collect(),
            _ => Vec::new(),
        };
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Index(at) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                position(*at, items.len()).and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::Slice { from, to, step } => {
                let Some(items) = value.as_array() else { return Vec::new() };
                let bound = |at: Option<i64>, default: usize| match at {
                    Some(at) if at < 0 => (items.len() as i64 + at).max(0) as usize,
                    Some(at) => (at as usize).min(items.len()),
                    None => default,
                };
                let (from, to) = (bound(*from, 0), bound(*to, items.len()));
                let range = items.get(from..to).unwrap_or_default();
                range.iter().step_by((*step).max(1) as usize).collect()
            }
            Self::All => children(),
            Self::Union(steps) => steps.iter().flat_map(|step| step.apply(value)).collect(),
            Self::Descend => {
                let mut all = vec![value];
                let mut at = 0;
                while at < all.len() {
                    match all[at] {
                        Value::Object(members) => all.extend(members.values()),
                        Value::Array(items) => all.extend(items),
                        _ => {}
                    }
                    at += 1;
                }
                all
            }
            Self::Filter { path, comparison } => {
                let keeps = |item: &&Value| {
                    let found = find(path, item);
                    match (comparison, found.first()) {
                        (None, found) => found.is_some(),
                        (Some((comparison, wanted)), Some(found)) => {
                            comparison.holds(found, wanted)
                        }
                        (Some(_), None) => false,
                    }
                };
                children().into_iter().filter(keeps).collect()
            }
        }
    }
}

fn position(at: i64, len: usize) -> Option<usize> {
    usize::try_from(if at < 0 { len as i64 + at } else { at }).ok()
}

impl Comparison {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let order = match (found, wanted) {
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().and_then(|a| a.partial_cmp(&b.as_f64()?))
            }
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        let Some(order) = order else { return self == Self::Unequal };
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn steps(&mut self) -> Result<Vec<Step>, ParseError> {
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix("..") {
                self.rest = rest;
                steps.push(Step::Descend);
                if !rest.starts_with('[') {
                    steps.push(self.member()?);
                }
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                if !rest.starts_with('[') {
                    steps.push(self.member()?);
                }
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                self.rest = rest;
                steps.push(self.bracket()?);
            } else {
                return Ok(steps);
            }
        }
    }

    /// A name up to what ends it; a backslash takes the next character as it is.
    fn member(&mut self) -> Result<Step, ParseError> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ' ' | ')' | '=' | '!' | '<' | '>' | '}' | ']' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => Err(ParseError("unexpected end of path: a name is missing".to_owned())),
            "*" => Ok(Step::All),
            _ => Ok(Step::Member(name)),
        }
    }

    fn bracket(&mut self) -> Result<Step, ParseError> {
        let unterminated = || ParseError("unterminated array".to_owned());
        if let Some(rest) = self.rest.strip_prefix("?(") {
            self.rest = rest;
            let step = self.filter()?;
            self.rest = self.rest.trim_start().strip_prefix(")]").ok_or_else(unterminated)?;
            return Ok(step);
        }
        let mut steps = vec![self.within_brackets()?];
        while let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest.trim_start();
            steps.push(self.within_brackets()?);
        }
        self.rest = self.rest.strip_prefix(']').ok_or_else(unterminated)?;
        Ok(match steps.len() {
            1 => steps.remove(0),
            _ => Step::Union(steps),
        })
    }

    /// A name in quotes, an index, a slice or a star.
    fn within_brackets(&mut self) -> Result<Step, ParseError> {
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Step::Member(self.quoted()?));
        }
        let end = self.rest.find([',', ']']);
        let end = end.ok_or_else(|| ParseError("unterminated array".to_owned()))?;
        let (inside, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = |text: &str| -> Result<Option<i64>, ParseError> {
            match text.trim() {
                "" => Ok(None),
                digits => digits
                    .parse()
                    .map(Some)
                    .map_err(|_| ParseError(format!("invalid array index {inside}"))),
            }
        };
        if inside == "*" {
            return Ok(Step::All);
        }
        let parts: Vec<&str> = inside.split(':').collect();
        match parts.as_slice() {
            [index] => number(index)?
                .map(Step::Index)
                .ok_or_else(|| ParseError(format!("invalid array index {inside}"))),
            [from, to] => Ok(Step::Slice { from: number(from)?, to: number(to)?, step: 1 }),
            [from, to, step] => Ok(Step::Slice {
                from: number(from)?,
                to: number(to)?,
                step: number(step)?.unwrap_or(1),
            }),
            _ => Err(ParseError(format!("invalid array index {inside}"))),
        }
    }

    fn filter(&mut self) -> Result<Step, ParseError> {
        let bad = |rest: &str| ParseError(format!("unrecognized filter: {rest}"));
        let trimmed = self.rest.trim_start();
        self.rest = trimmed.strip_prefix('@').ok_or_else(|| bad(trimmed))?;
        let path = self.steps()?;
        self.rest = self.rest.trim_start();
        const OPERATORS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let operator = OPERATORS
            .iter()
            .find_map(|(text, comparison)| Some((*comparison, self.rest.strip_prefix(text)?)));
        let Some((comparison, rest)) = operator else {
            return Ok(Step::Filter { path, comparison: None });
        };
        self.rest = rest.trim_start();
        let wanted = match self.rest.starts_with(['\'', '"']) {
            true => Value::String(self.quoted()?),
            false => {
                let end = self.rest.find(')').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                serde_json::from_str(text.trim()).map_err(|_| bad(text))?
            }
        };
        Ok(Step::Filter { path, comparison: Some((comparison, wanted)) })
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                c if Some(c) == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(ParseError("unterminated quoted string".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let object = json!({
            "spec": {"a.b": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}, {"n": "z"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}]},
        });
        let check = |path: &str, expected: Value| {
            let found: Vec<Value> =
                JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(Value::Array(found), expected, "{path}");
        };
        check(r".spec.a\.b", json!([1]));
        check(".spec['a.b']", json!([1]));
        check(".spec.list[1].n", json!(["y"]));
        check(".spec.list[-1].n", json!(["z"]));
        check(".spec.list[0:2].n", json!(["x", "y"]));
        check(".spec.list[*].v", json!([1, 2]));
        check("{.status.conditions[?(@.type==\"Ready\")].status}", json!(["True"]));
        check(".status.conditions[?(@.type == 'Ready')].status", json!(["True"]));
        check(".spec.list[?(@.v>1)].n", json!(["y"]));
        check(".spec.list[?(@.v)].n", json!(["x", "y"]));
        check(".spec.list[0,2].n", json!(["x", "z"]));
        check(".spec.list[0]['v','n']", json!([1, "x"]));
        check("..type", json!(["Ready", "Other"]));
        check(".spec.nothing", json!([]));
        for bad in [".spec[", ".a[?(b)]", ".", ".a['b]", "x"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
