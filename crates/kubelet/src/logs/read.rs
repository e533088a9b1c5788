//! Reading a log for `kubectl logs`: the last lines, since a time, and what is yet to come.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{self, AsyncReadExt as _, AsyncSeekExt as _};

use super::format::{self, Stream};

/// How often a followed file is looked at: inotify does not tell of writes through other mounts
/// of an overlay, and a fifth of a second is not noticed by a person.
const FOLLOW_PERIOD: Duration = Duration::from_millis(200);
const BLOCK: usize = 64 * 1024;

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what comes.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only what is not older.
    pub since: Option<Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
    /// Only one of the streams.
    pub stream: Option<OnlyStream>,
}

/// Choice of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlyStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Reads one log file, and the file that takes its place after rotation.
pub struct Reader {
    path: PathBuf,
    options: LogOptions,
    file: File,
    inode: u64,
    /// Bytes read that do not make a line yet.
    pending: Vec<u8>,
    left: Option<u64>,
    /// The last piece delivered left its line open.
    line_open: bool,
}

impl Reader {
    /// Opens `path` and finds the place to start at.
    pub async fn open(path: &Path, options: LogOptions) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        let inode = inode(&file).await?;
        if let Some(lines) = options.tail {
            let start = tail_start(&mut file, lines).await?;
            file.seek(SeekFrom::Start(start)).await?;
        }
        let left = options.limit_bytes;
        let path = path.to_owned();
        Ok(Self { path, options, file, inode, pending: Vec::new(), left, line_open: false })
    }

    /// The next output; `None` at the end of the file, or with `follow` once `running` says that
    /// the container has ended and everything has been read.
    pub async fn next(&mut self, running: impl Fn() -> bool) -> io::Result<Option<Bytes>> {
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            // Asked first: what the container wrote before its end is then still read.
            let was_running = self.options.follow && running();
            let mut block = vec![0; BLOCK];
            let read = self.file.read(&mut block).await?;
            if read > 0 {
                self.pending.extend_from_slice(&block[..read]);
                let out = self.take_lines(false);
                if !out.is_empty() {
                    return Ok(Some(out));
                }
                continue;
            }
            if self.options.follow && self.reopen().await? {
                continue;
            }
            if !was_running {
                let out = self.take_lines(true);
                return Ok(Some(out).filter(|out| !out.is_empty()));
            }
            tokio::time::sleep(FOLLOW_PERIOD).await;
        }
    }

    /// Switches to the file that took this one's place; false when there is none.
    async fn reopen(&mut self) -> io::Result<bool> {
        let fresh = match File::open(&self.path).await {
            Ok(fresh) => fresh,
            // Between the two steps of a rotation.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let fresh_inode = inode(&fresh).await?;
        if fresh_inode == self.inode {
            return Ok(false);
        }
        self.file = fresh;
        self.inode = fresh_inode;
        self.pending.clear();
        Ok(true)
    }

    /// Output of the complete lines that are pending; with `end` also of an incomplete one.
    fn take_lines(&mut self, end: bool) -> Bytes {
        let complete = match self.pending.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None => 0,
        };
        let take = if end { self.pending.len() } else { complete };
        let lines: Vec<u8> = self.pending.drain(..take).collect();
        let mut out = Vec::with_capacity(lines.len());
        for raw in lines.split_inclusive(|byte| *byte == b'\n') {
            self.deliver(raw, &mut out);
            if self.left == Some(0) {
                break;
            }
        }
        Bytes::from(out)
    }

    fn deliver(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some(line) = format::parse(raw) else {
            tracing::debug!(path = %self.path.display(), "log line is not of the CRI format");
            return;
        };
        let wanted = match self.options.stream {
            None => true,
            Some(OnlyStream::Stdout) => line.stream == Stream::Stdout,
            Some(OnlyStream::Stderr) => line.stream == Stream::Stderr,
        };
        if !wanted {
            return;
        }
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        let start = out.len();
        if self.options.timestamps && !self.line_open {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.content);
        self.line_open = line.partial;
        if !line.partial {
            out.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            let written = (out.len() - start) as u64;
            let kept = written.min(*left);
            out.truncate(start + kept as usize);
            *left -= kept;
        }
    }
}

async fn inode(file: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.metadata().await?.ino())
}

/// Where the last `lines` log lines begin. A piece of a line counts as a line, as upstream counts.
async fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut seen = 0;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut block).await?;
        for (offset, byte) in block.iter().enumerate().rev() {
            let at = start + offset as u64;
            // The end of the last line begins none.
            if *byte == b'\n' && at + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}
