use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::message::{Kind, Message};
use super::*;

/// The bus and logind in one: it allows five seconds until it is told to read its configuration.
struct Logind {
    stream: UnixStream,
    configuration: PathBuf,
    /// The other end of every lock that is held.
    locks: Vec<std::io::PipeReader>,
    reloaded: bool,
}

impl Logind {
    fn accept(listener: &UnixListener, configuration: PathBuf) -> Self {
        let mut stream = listener.accept().unwrap().0;
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for (wanted, answer) in [
            ("\0AUTH EXTERNAL 3", "OK 1234deadbeef\r\n"),
            ("NEGOTIATE_UNIX_FD", "AGREE_UNIX_FD\r\n"),
            ("BEGIN", ""),
        ] {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.starts_with(wanted), "{line:?}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        // Whatever was read too far stays unread: the caller waits for an answer before it goes on.
        let rest = reader.buffer().to_vec();
        let mut logind = Self { stream, configuration, locks: Vec::new(), reloaded: false };
        logind.serve(rest, &["Hello"]);
        logind
    }

    /// Answers the calls of these methods, in this order.
    fn serve(&mut self, mut received: Vec<u8>, methods: &[&str]) {
        for method in methods {
            let call = loop {
                if let Some((call, length)) = Message::decode(&received).unwrap() {
                    received.drain(..length);
                    break call;
                }
                let mut buffer = [0; 1024];
                let length = self.stream.read(&mut buffer).unwrap();
                received.extend_from_slice(&buffer[..length]);
            };
            assert_eq!(call.member, *method);
            self.answer(&call);
        }
    }

    fn answer(&mut self, call: &Message) {
        let mut answer = Message::call(100, ("", ""), ("", ""), &[]);
        answer.kind = Kind::Answer;
        answer.answers = Some(call.serial);
        let mut file = None;
        match call.member.as_str() {
            "Get" => {
                let text = fs::read_to_string(&self.configuration).unwrap_or_default();
                let seconds = text.lines().find_map(|l| l.strip_prefix("InhibitDelayMaxSec="));
                let seconds: u64 = seconds.map_or(0, |seconds| seconds.parse().unwrap());
                let seconds = if self.reloaded { seconds } else { 5 };
                answer.signature = "v".to_owned();
                answer.body = b"\x01t\0\0\0\0\0\0".to_vec();
                answer.body.extend((seconds * 1_000_000).to_le_bytes());
            }
            "Inhibit" => {
                let (ours, theirs) = std::io::pipe().unwrap();
                self.locks.push(ours);
                answer.signature = "h".to_owned();
                answer.body = vec![0; 4];
                answer.files = 1;
                file = Some(OwnedFd::from(theirs));
            }
            "KillUnit" => self.reloaded = true,
            _ => {}
        }
        let bytes = answer.encode();
        let files: Vec<_> = file.iter().map(|file| file.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&files)];
        let rights = if files.is_empty() { &[][..] } else { &rights };
        let parts = [IoSlice::new(&bytes)];
        let flags = MsgFlags::empty();
        sendmsg::<()>(self.stream.as_raw_fd(), &parts, rights, flags, None).unwrap();
    }

    fn prepare_for_shutdown(&mut self, begins: bool) {
        let mut signal = Message::call(9, ("", LOGIND.1), (MANAGER, "PrepareForShutdown"), &[]);
        signal.kind = Kind::Signal;
        signal.signature = "b".to_owned();
        signal.body = u32::from(begins).to_le_bytes().to_vec();
        self.stream.write_all(&signal.encode()).unwrap();
    }
}

#[tokio::test]
async fn logind_waits_until_the_lock_is_dropped_and_is_told_how_long_that_may_take() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places {
        socket: folder.path().join("bus"),
        configuration: folder.path().join("logind.conf.d/99-kubelet.conf"),
    };
    let listener = UnixListener::bind(&places.socket).unwrap();
    let configuration = places.configuration.clone();
    let (begin, begun) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let mut logind = Logind::accept(&listener, configuration);
        logind.serve(Vec::new(), &["Get", "KillUnit", "Get", "AddMatch", "Inhibit"]);
        logind.prepare_for_shutdown(true);
        begun.recv().unwrap();
        // The lock is gone once its other end is at its end.
        assert_eq!(logind.locks[0].read(&mut [0]).unwrap(), 0);
        logind.prepare_for_shutdown(false);
        logind.serve(Vec::new(), &["Inhibit"]);
        logind
    });
    let mut news = follow_at(Duration::from_secs(30), places.clone());
    let Some(News::Stopping(lock)) = news.recv().await else { panic!("the machine stops") };
    let text = fs::read_to_string(&places.configuration).unwrap();
    assert!(text.ends_with("[Login]\nInhibitDelayMaxSec=30\n"), "{text}");
    drop(lock);
    begin.send(()).unwrap();
    assert!(matches!(news.recv().await, Some(News::Cancelled)));
    assert_eq!(server.join().unwrap().locks.len(), 2);
}
