//! Messages of D-Bus, as far as the kubelet speaks to logind: calls with texts and numbers, answers
//! and signals (<https://dbus.freedesktop.org/doc/dbus-specification.html>). Pure.

/// A message is a call, an answer, an error or a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Call = 1,
    Answer = 2,
    Error = 3,
    Signal = 4,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) serial: u32,
    /// The call that an answer or error is about.
    pub(super) answers: Option<u32>,
    pub(super) path: String,
    pub(super) interface: String,
    /// The method or signal; of an error its name.
    pub(super) member: String,
    pub(super) destination: String,
    /// The types of the arguments.
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
    /// How many open files come with it.
    pub(super) files: u32,
}

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument<'a> {
    Text(&'a str),
    Number(i32),
}

/// The longest message that is of any interest.
const LONGEST: usize = 64 << 10;
/// The part of a message that is always there.
const FIXED: usize = 16;

mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR: u8 = 4;
    pub(super) const ANSWERS: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
    pub(super) const FILES: u8 = 9;
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of D-Bus")]
pub(super) struct Malformed;

// === impl Message ===

impl Message {
    /// A call.
    pub(super) fn call(
        serial: u32,
        (destination, path): (&str, &str),
        (interface, member): (&str, &str),
        arguments: &[Argument<'_>],
    ) -> Self {
        let mut body = Writer::default();
        let mut signature = String::new();
        for argument in arguments {
            match argument {
                Argument::Text(text) => {
                    signature.push('s');
                    body.text(text);
                }
                Argument::Number(number) => {
                    signature.push('i');
                    body.number(number.cast_unsigned());
                }
            }
        }
        Self {
            kind: Kind::Call,
            serial,
            answers: None,
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            destination: destination.to_owned(),
            signature,
            body: body.0,
            files: 0,
        }
    }

    /// As it is sent.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![b'l', self.kind as u8, 0, 1]);
        out.number(length(self.body.len()));
        out.number(self.serial);
        let mut fields = Writer::default();
        let name = if self.kind == Kind::Error { field::ERROR } else { field::MEMBER };
        for (code, kind, text) in [
            (field::PATH, b'o', &self.path),
            (field::INTERFACE, b's', &self.interface),
            (name, b's', &self.member),
            (field::DESTINATION, b's', &self.destination),
        ] {
            if !text.is_empty() {
                fields.field(code, kind);
                fields.text(text);
            }
        }
        if !self.signature.is_empty() {
            fields.field(field::SIGNATURE, b'g');
            fields.signature(self.signature.as_bytes());
        }
        let numbers =
            [(field::ANSWERS, self.answers), (field::FILES, Some(self.files).filter(|n| *n > 0))];
        for (code, number) in numbers {
            if let Some(number) = number {
                fields.field(code, b'u');
                fields.number(number);
            }
        }
        // They begin where the fixed part ends, so that they are aligned as if they stood alone.
        out.number(length(fields.0.len()));
        out.0.extend(fields.0);
        out.align(8);
        out.0.extend(&self.body);
        out.0
    }

    /// The first message in `bytes` and its length, once it is whole.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        if bytes.len() < FIXED {
            return Ok(None);
        }
        let mut fixed = Reader { bytes, at: 4 };
        if bytes[0] != b'l' {
            return Err(Malformed);
        }
        let body = fixed.number()? as usize;
        let serial = fixed.number()?;
        let fields = fixed.number()? as usize;
        if body > LONGEST || fields > LONGEST {
            return Err(Malformed);
        }
        let start = (FIXED + fields).next_multiple_of(8);
        let Some(whole) = bytes.get(..start + body) else { return Ok(None) };
        let kind = match bytes[1] {
            1 => Kind::Call,
            2 => Kind::Answer,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Err(Malformed),
        };
        let mut message = Self::call(serial, ("", ""), ("", ""), &[]);
        message.kind = kind;
        message.body = whole[start..].to_vec();
        let mut reader = Reader { bytes: &whole[..FIXED + fields], at: FIXED };
        while reader.at < FIXED + fields {
            reader.align(8);
            let code = reader.byte()?;
            let signature = reader.signature()?;
            let text = match signature {
                b"s" | b"o" => Some(reader.text()?),
                b"g" => Some(String::from_utf8_lossy(reader.signature()?).into_owned()),
                _ => None,
            };
            match (code, text) {
                (field::PATH, Some(text)) => message.path = text,
                (field::INTERFACE, Some(text)) => message.interface = text,
                (field::MEMBER | field::ERROR, Some(text)) => message.member = text,
                (field::DESTINATION, Some(text)) => message.destination = text,
                (field::SIGNATURE, Some(text)) => message.signature = text,
                (field::ANSWERS, None) => message.answers = Some(reader.number()?),
                (field::FILES, None) => message.files = reader.number()?,
                (_, Some(_)) => {}
                (_, None) => return Err(Malformed),
            }
        }
        Ok(Some((message, start + body)))
    }

    /// Its only argument, if that is yes or no.
    pub(super) fn flag(&self) -> Result<bool, Malformed> {
        match self.signature.as_str() {
            "b" => Ok(Reader { bytes: &self.body, at: 0 }.number()? != 0),
            _ => Err(Malformed),
        }
    }

    /// Its only argument, if that is some value which is a long number.
    pub(super) fn long(&self) -> Result<u64, Malformed> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        if self.signature != "v" || reader.signature()? != b"t" {
            return Err(Malformed);
        }
        reader.align(8);
        let bytes = reader.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
    }

    /// Its first argument, if that is a text, as errors have it.
    pub(super) fn text(&self) -> Option<String> {
        let text = self.signature.starts_with('s').then(|| Reader { bytes: &self.body, at: 0 });
        text.and_then(|mut reader| reader.text().ok())
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a message is short")
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &[u8]) {
        self.0.push(u8::try_from(signature.len()).expect("a signature is short"));
        self.0.extend(signature);
        self.0.push(0);
    }

    fn field(&mut self, code: u8, kind: u8) {
        self.align(8);
        self.0.push(code);
        self.signature(&[kind]);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.number()? as usize;
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| Malformed)?;
        self.take(1)?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.byte()?;
        let signature = self.take(length.into())?;
        self.take(1)?;
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_spelled_as_the_bus_has_it() {
        let hello = Message::call(
            1,
            ("org.freedesktop.DBus", "/org/freedesktop/DBus"),
            ("org.freedesktop.DBus", "Hello"),
            &[],
        );
        let mut wanted = b"l\x01\x00\x01\0\0\0\0\x01\0\0\0\x6e\0\0\0".to_vec();
        wanted.extend(b"\x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0");
        wanted.extend(b"\x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
        wanted.extend(b"\x03\x01s\0\x05\0\0\0Hello\0\0\0");
        wanted.extend(b"\x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
        // The last field is not padded, but what follows it is aligned.
        wanted[12] = u8::try_from(wanted.len() - 3 - FIXED).unwrap();
        assert_eq!(hello.encode(), wanted);
    }

    #[test]
    fn what_is_written_is_read_and_half_of_it_is_waited_for() {
        let words = [Argument::Text("shutdown"), Argument::Number(-1)];
        let mut message = Message::call(7, ("d", "/p"), ("i", "m"), &words);
        assert_eq!(message.signature, "si");
        for kind in [Kind::Call, Kind::Answer, Kind::Error, Kind::Signal] {
            message.kind = kind;
            message.answers = (kind != Kind::Call).then_some(3);
            message.files = 1;
            let bytes = message.encode();
            for end in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..end]), Ok(None));
            }
            let (read, length) = Message::decode(&bytes).unwrap().unwrap();
            assert_eq!((read.text().as_deref(), length), (Some("shutdown"), bytes.len()));
            assert_eq!(read, message);
        }
    }

    #[test]
    fn values_have_their_type_or_are_refused() {
        let mut message = Message::call(1, ("", ""), ("", ""), &[Argument::Number(1)]);
        assert_eq!(message.flag(), Err(Malformed));
        message.signature = "b".to_owned();
        assert_eq!(message.flag(), Ok(true));
        message.signature = "v".to_owned();
        assert_eq!(message.long(), Err(Malformed));
        message.body = b"\x01t\0\0\0\0\0\0\x40\x4b\x4c\0\0\0\0\0".to_vec();
        assert_eq!(message.long(), Ok(5_000_000));
    }

    #[test]
    fn rubbish_is_refused() {
        let good = Message::call(1, ("d", "/p"), ("i", "m"), &[]).encode();
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                // Whatever comes of it, it is no more than there is.
                if let Ok(Some((_, length))) = Message::decode(&bad) {
                    assert!(length <= bad.len());
                }
            }
        }
        assert_eq!(Message::decode(&[b'B'; 16]), Err(Malformed));
        assert_eq!(
            Message::decode(&[b'l', 1, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(Malformed)
        );
    }
}
