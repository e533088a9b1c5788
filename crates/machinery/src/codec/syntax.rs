//! Where a text stops being JSON, in the words of Go's scanner.
//!
//! Only texts that have already been refused come here.

/// Says what is wrong with `text`. `error` is used where Go accepts what we refuse, such as
/// nesting deeper than ours.
pub(super) fn explain(text: &str, error: &serde_json::Error) -> String {
    match Scanner::new(text).run() {
        Err(problem) => problem,
        Ok(()) if text.len() > 128 && too_deep(text) => "exceeded max depth".to_owned(),
        Ok(()) => error.to_string(),
    }
}

/// The nesting that the decoder takes.
const MAX_DEPTH: usize = 127;

fn too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

/// What is read next.
#[derive(Clone, Copy)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    AfterValue,
}

type Scan<T = ()> = Result<T, String>;

impl<'t> Scanner<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn run(mut self) -> Scan {
        let mut open: Vec<u8> = Vec::new();
        let mut expect = Expect::Value;
        loop {
            self.skip_space();
            let Some(byte) = self.peek() else {
                return match expect {
                    Expect::AfterValue if open.is_empty() => Ok(()),
                    _ => Err("unexpected end of JSON input".into()),
                };
            };
            expect = match (expect, byte) {
                (Expect::Value | Expect::ValueOrEnd, b'{') => {
                    self.at += 1;
                    open.push(b'{');
                    Expect::KeyOrEnd
                }
                (Expect::Value | Expect::ValueOrEnd, b'[') => {
                    self.at += 1;
                    open.push(b'[');
                    Expect::ValueOrEnd
                }
                (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') => {
                    self.at += 1;
                    open.pop();
                    Expect::AfterValue
                }
                (Expect::Value | Expect::ValueOrEnd, _) => {
                    self.scalar()?;
                    Expect::AfterValue
                }
                (Expect::Key | Expect::KeyOrEnd, b'"') => {
                    self.string()?;
                    self.skip_space();
                    match self.peek() {
                        Some(b':') => self.at += 1,
                        Some(_) => return Err(self.invalid("after object key")),
                        None => return Err("unexpected end of JSON input".into()),
                    }
                    Expect::Value
                }
                (Expect::Key | Expect::KeyOrEnd, _) => {
                    return Err(self.invalid("looking for beginning of object key string"));
                }
                (Expect::AfterValue, byte) => match (open.last(), byte) {
                    (Some(b'{'), b',') => {
                        self.at += 1;
                        Expect::Key
                    }
                    (Some(b'['), b',') => {
                        self.at += 1;
                        Expect::Value
                    }
                    (Some(b'{'), b'}') | (Some(b'['), b']') => {
                        self.at += 1;
                        open.pop();
                        Expect::AfterValue
                    }
                    (Some(b'{'), _) => return Err(self.invalid("after object key:value pair")),
                    (Some(_), _) => return Err(self.invalid("after array element")),
                    (None, _) => return Err(self.invalid("after top-level value")),
                },
            };
        }
    }

    fn scalar(&mut self) -> Scan {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Scan {
        for (at, wanted) in word.char_indices() {
            match self.peek() {
                Some(byte) if char::from(byte) == wanted => self.at += 1,
                None => return Err("unexpected end of JSON input".into()),
                Some(_) => {
                    debug_assert!(at > 0, "the first letter chose the word");
                    return Err(self.invalid(&format!("in literal {word} (expecting '{wanted}')")));
                }
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Scan {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err("unexpected end of JSON input".into()),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        None => return Err("unexpected end of JSON input".into()),
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                match self.peek() {
                                    Some(c) if c.is_ascii_hexdigit() => self.at += 1,
                                    None => return Err("unexpected end of JSON input".into()),
                                    Some(_) => {
                                        return Err(
                                            self.invalid("in \\u hexadecimal character escape")
                                        );
                                    }
                                }
                            }
                        }
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => {
                            self.at += 1;
                        }
                        Some(_) => return Err(self.invalid("in string escape code")),
                    }
                }
                Some(byte) if byte < 0x20 => return Err(self.invalid("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Scan {
        if self.peek() == Some(b'-') {
            self.at += 1;
            self.need_digit("in numeric literal")?;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.need_digit("after decimal point in numeric literal")?;
            self.skip_digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.need_digit("in exponent of numeric literal")?;
            self.skip_digits();
        }
        Ok(())
    }

    fn need_digit(&self, context: &str) -> Scan {
        match self.peek() {
            Some(b'0'..=b'9') => Ok(()),
            Some(_) => Err(self.invalid(context)),
            None => Err("unexpected end of JSON input".into()),
        }
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Go quotes single bytes, so that a character beyond ASCII shows as its first byte.
    fn invalid(&self, context: &str) -> String {
        let quoted = match self.peek() {
            Some(b'\'') => r"'\''".to_owned(),
            Some(b'"') => "'\"'".to_owned(),
            Some(byte) => match byte {
                b'\n' => r"'\n'".to_owned(),
                b'\r' => r"'\r'".to_owned(),
                b'\t' => r"'\t'".to_owned(),
                b'\\' => r"'\\'".to_owned(),
                0x20..=0x7e => format!("'{}'", char::from(byte)),
                0..=0x1f | 0x7f => format!(r"'\x{byte:02x}'"),
                _ => format!("'{}'", char::from(byte)),
            },
            None => return "unexpected end of JSON input".into(),
        };
        format!("invalid character {quoted} {context}")
    }
}
