//! How a server stops: what it has begun is finished, watches end, and who comes late is told so.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::streams::BoxIo;
use serde_json::Value;
use testkit::{ApiServer, Error, fixtures, send_json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::watches::Watch;
use crate::{CONFIG_MAPS, Outcome, expect, wire};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// An HTTP/2 connection that goes on asking after it was told to go away, as a client does that
/// has not heard it yet.
struct Late(BoxIo);

impl Late {
    async fn open(server: &ApiServer) -> Result<Self, Error> {
        let mut target = wire::target(server)?;
        if let Some(tls) = &mut target.tls {
            Arc::make_mut(tls).alpn_protocols = vec![b"h2".to_vec()];
        }
        let mut late = Self(target.dial().await?);
        late.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        late.write(SETTINGS, 0, 0, b"").await?;
        Ok(late)
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Outcome {
        let len = u32::try_from(payload.len())?.to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await?;
        Ok(self.0.flush().await?)
    }

    /// The next frame's kind, flags, stream and payload.
    async fn read(&mut self) -> Result<(u8, u8, u32, Vec<u8>), Error> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let mut payload = vec![0; usize::try_from(number(&head[..3]))?];
        self.0.read_exact(&mut payload).await?;
        Ok((head[3], head[4], number(&head[5..]), payload))
    }

    /// The body of the answer to a GET.
    async fn get(&mut self, stream: u32, path: &str) -> Result<String, Error> {
        // `:method GET` and `:scheme https` by number, `:path` and `:authority` as texts.
        let mut headers = vec![0x82, 0x87, 0x04, u8::try_from(path.len())?];
        headers.extend(path.as_bytes());
        headers.extend(b"\x01\x01x");
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, &headers).await?;
        let mut body = Vec::new();
        loop {
            let (kind, flags, of, payload) = self.read().await?;
            if of != stream || !matches!(kind, DATA | HEADERS) {
                continue;
            }
            if kind == DATA {
                body.extend(payload);
            }
            if flags & END_STREAM != 0 {
                return Ok(String::from_utf8(body)?);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_is_finished_and_who_comes_late_is_told_so() -> Outcome {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Nothing here may be cut off for want of time.
    let drain = |config: &mut testkit::Config| config.drain = Duration::from_secs(3600);
    let mut server = ApiServer::start_on(any, drain).await?;
    let client = server.client()?;
    let mut watch = Watch::open(&client, "resourceVersion=0", "application/json").await?;
    let mut late = Late::open(&server).await?;
    assert_eq!(late.get(1, "/readyz").await?, "ok");
    // The server says so when it waits for the body.
    let map = fixtures::config_map("slow", "k", "v").to_string();
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        map.len()
    );
    let mut slow = wire::target(&server)?.dial().await?;
    slow.write_all(head.as_bytes()).await?;
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).await?;
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let meanwhile = async {
        while late.read().await?.0 != GOAWAY {}
        let ready = late.get(3, "/readyz").await?;
        assert!(ready.contains("[-]shutdown failed"), "{ready}");
        assert_eq!(late.get(5, "/livez").await?, "ok");
        for (stream, query) in [(7, ""), (9, "?watch=true")] {
            let answer = late.get(stream, &format!("{CONFIG_MAPS}{query}")).await?;
            let status: Value = serde_json::from_str(&answer)?;
            assert_eq!(status["code"], 503, "{status}");
            assert_eq!(status["message"], "apiserver is shutting down");
            assert_eq!(status["details"]["retryAfterSeconds"], 1);
        }
        while !watch.next().await?.is_null() {}
        slow.write_all(map.as_bytes()).await?;
        slow.flush().await?;
        // To the end: the connection is closed behind the answer.
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        drop(late);
        Ok(())
    };
    tokio::try_join!(server.stop(), meanwhile)?;
    server.restart().await?;
    let path = format!("{CONFIG_MAPS}/slow");
    expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    Ok(())
}
