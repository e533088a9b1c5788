//! A connection to the system's D-Bus: calls, one after the other, and the signals between them.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, IoSliceMut, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use machinery::hex;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{close, geteuid};

use super::message::{Argument, Kind, Malformed, Message};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The bus itself.
const BUS: (&str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");

/// Why the bus is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// The connection broke.
    #[error("D-Bus: {0}")]
    Io(#[from] io::Error),
    /// It does not let this process in.
    #[error("D-Bus: authentication: {0}")]
    Authentication(String),
    /// It says something that is no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It answers with an error.
    #[error("{name}: {text}")]
    Refused {
        /// Its name.
        name: String,
        /// Its text.
        text: String,
    },
    /// An answer without the file that it is to bring.
    #[error("no lock came with the answer")]
    NoFile,
}

/// An open file that came with a message.
#[derive(Debug)]
pub(super) struct File(RawFd);

impl Drop for File {
    fn drop(&mut self) {
        // There is nobody who could do anything about it.
        close(self.0).ok();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    received: Vec<u8>,
    files: VecDeque<File>,
    signals: VecDeque<Message>,
}

impl Bus {
    /// Connects to the bus at `path`, as this process' user.
    pub(super) fn connect(path: &Path) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self {
            stream,
            serial: 0,
            received: Vec::new(),
            files: VecDeque::new(),
            signals: VecDeque::new(),
        };
        bus.authenticate()?;
        bus.call(BUS, (BUS.0, "Hello"), &[])?;
        Ok(bus)
    }

    fn authenticate(&mut self) -> Result<(), BusError> {
        // The user's number in digits, each of which is two hexadecimal ones.
        let user = hex::digits(geteuid().to_string());
        // What the bus says after `BEGIN` is not for this reader, and nothing comes before a call.
        let mut reader = BufReader::new(self.stream.try_clone()?);
        for (words, wanted) in [
            (format!("\0AUTH EXTERNAL {user}\r\n"), "OK "),
            ("NEGOTIATE_UNIX_FD\r\n".to_owned(), "AGREE_UNIX_FD"),
        ] {
            self.stream.write_all(words.as_bytes())?;
            let mut answer = String::new();
            reader.read_line(&mut answer)?;
            if !answer.starts_with(wanted) {
                return Err(BusError::Authentication(answer.trim().to_owned()));
            }
        }
        self.stream.write_all(b"BEGIN\r\n")?;
        Ok(())
    }

    /// Calls a method and gives its answer.
    pub(super) fn call(
        &mut self,
        at: (&str, &str),
        method: (&str, &str),
        arguments: &[Argument<'_>],
    ) -> Result<Message, BusError> {
        self.serial += 1;
        let call = Message::call(self.serial, at, method, arguments);
        self.stream.write_all(&call.encode())?;
        loop {
            let message = self.receive()?;
            match message.kind {
                Kind::Signal => self.signals.push_back(message),
                Kind::Answer if message.answers == Some(self.serial) => return Ok(message),
                Kind::Error if message.answers == Some(self.serial) => {
                    let text = message.text().unwrap_or_default();
                    return Err(BusError::Refused { name: message.member, text });
                }
                _ => {}
            }
        }
    }

    /// The open file that came with an answer.
    pub(super) fn file(&mut self, answer: &Message) -> Result<File, BusError> {
        let file = self.files.pop_front().filter(|_| answer.files == 1);
        file.ok_or(BusError::NoFile)
    }

    /// Hears a signal from now on.
    pub(super) fn listen(
        &mut self,
        path: &str,
        interface: &str,
        member: &str,
    ) -> Result<(), BusError> {
        let rule = format!("type='signal',path='{path}',interface='{interface}',member='{member}'");
        self.call(BUS, (BUS.0, "AddMatch"), &[Argument::Text(&rule)]).map(drop)
    }

    /// The next signal, however long it takes.
    pub(super) fn signal(&mut self) -> Result<Message, BusError> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        self.stream.set_read_timeout(None)?;
        let signal = loop {
            let message = self.receive()?;
            if message.kind == Kind::Signal {
                break message;
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE))?;
        Ok(signal)
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        loop {
            if let Some((message, length)) = Message::decode(&self.received)? {
                self.received.drain(..length);
                return Ok(message);
            }
            let mut buffer = [0; 4096];
            let mut space = nix::cmsg_space!([RawFd; 4]);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let got = recvmsg::<()>(self.stream.as_raw_fd(), &mut parts, Some(&mut space), flags)
                .map_err(io::Error::from)?;
            for part in got.cmsgs().map_err(io::Error::from)? {
                if let ControlMessageOwned::ScmRights(files) = part {
                    self.files.extend(files.into_iter().map(File));
                }
            }
            let length = got.bytes;
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.received.extend_from_slice(&buffer[..length]);
        }
    }
}
