//! Joins a WebSocket client to a SPDY server: what the kubelet does between kubectl and the
//! container runtime.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::BoxIo;
use crate::remotecommand::{Channel, ExitStatus, StreamSet};
use crate::spdy::{Connection, Headers, SpdyError, StreamReader, StreamWriter};
use crate::websocket::{self, Frame, Socket, Subprotocol, WebSocketError};

/// Output chunks on their way to the client.
const QUEUE: usize = 8;
/// How long a client that has its exit status may go on sending input.
const LINGER: Duration = Duration::from_secs(10);
/// Bytes of a tunnel message.
const TUNNEL_CHUNK: usize = 32 * 1024;

/// Why a bridge broke down.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The client's side.
    #[error(transparent)]
    Client(#[from] WebSocketError),
    /// The runtime's side.
    #[error(transparent)]
    Runtime(#[from] SpdyError),
}

/// Carries a remote command between the WebSocket of a client and the SPDY connection of a
/// runtime, until the runtime has reported the exit status or the client has left.
pub async fn remote_command(
    socket: Socket,
    protocol: Subprotocol,
    runtime: Connection,
    streams: StreamSet,
) -> Result<(), BridgeError> {
    let (mut to_client, mut from_client) = websocket::channels(socket, protocol);
    let mut stdin = None;
    let mut resize = None;
    let (output, mut queue) = mpsc::channel(QUEUE);
    for channel in streams.channels() {
        let headers = Headers::new().with("streamType", channel.stream_type());
        let stream = match runtime.open(headers).await {
            Ok(stream) => stream,
            Err(error) => {
                let status = ExitStatus::Failed(error.to_string()).to_json();
                to_client.send(Channel::Error, status.into()).await?;
                to_client.close().await?;
                return Err(error.into());
            }
        };
        match channel {
            Channel::Stdin => stdin = Some(stream.writer),
            Channel::Resize => resize = Some(stream.writer),
            Channel::Stdout | Channel::Stderr | Channel::Error => {
                tokio::spawn(collect(channel, stream.reader, output.clone()));
            }
        }
    }
    drop(output);
    // Tells the client that the streams are there, as upstream does.
    let first = if streams.stdout { Channel::Stdout } else { Channel::Error };
    to_client.send(first, Bytes::new()).await?;

    let (input, input_queue) = mpsc::channel(QUEUE);
    let feeder = tokio::spawn(feed(input_queue, stdin, resize));
    let outbound = async {
        let mut status = None;
        while let Some((channel, data)) = queue.recv().await {
            if channel == Channel::Error {
                status.get_or_insert_with(Vec::new).extend_from_slice(&data);
            } else {
                to_client.send(channel, data).await?;
            }
        }
        // Held back until here, because clients stop reading output once they have it.
        let status = status.unwrap_or_else(|| {
            let lost = "the container runtime ended the stream without a status";
            ExitStatus::Failed(lost.to_owned()).to_json()
        });
        to_client.send(Channel::Error, status.into()).await?;
        to_client.close().await
    };
    let inbound = async {
        while let Some(frame) = from_client.next().await? {
            // The feeder ends when the process takes no input; the rest is read and dropped.
            input.send(frame).await.ok();
        }
        Ok::<_, WebSocketError>(())
    };
    let mut inbound = pin!(inbound);
    let ended = tokio::select! {
        ended = outbound => ended,
        left = &mut inbound => {
            feeder.abort();
            return Ok(left?);
        }
    };
    feeder.abort();
    if ended.is_ok() {
        // What a process left of its input is read all the same: a connection that is closed before
        // that is reset, and a client which is still sending sees an error in place of the status.
        timeout(LINGER, inbound).await.ok();
    }
    Ok(ended?)
}

async fn collect(
    channel: Channel,
    mut reader: StreamReader,
    output: mpsc::Sender<(Channel, Bytes)>,
) {
    while let Some(data) = reader.next().await {
        if output.send((channel, data)).await.is_err() {
            return;
        }
    }
}

async fn feed(
    mut queue: mpsc::Receiver<Frame>,
    mut stdin: Option<StreamWriter>,
    mut resize: Option<StreamWriter>,
) {
    while let Some(frame) = queue.recv().await {
        let sent = match frame {
            Frame::Data(Channel::Stdin, data) => match &mut stdin {
                Some(writer) => writer.send(data).await,
                None => Ok(()),
            },
            Frame::Data(Channel::Resize, data) => match &mut resize {
                Some(writer) => writer.send(data).await,
                None => Ok(()),
            },
            Frame::Closed(Channel::Stdin) => match stdin.take() {
                Some(writer) => writer.finish().await,
                None => Ok(()),
            },
            Frame::Data(..) | Frame::Closed(_) => Ok(()),
        };
        if let Err(error) = sent {
            // A process may close its input before the client has sent everything.
            tracing::debug!(%error, "input of the remote command is closed");
        }
    }
}

/// Carries the bytes of a SPDY connection inside the binary messages of a WebSocket: the tunnel
/// that kubectl uses for port forwarding (KEP-4006).
pub async fn tunnel(socket: Socket, runtime: BoxIo) -> Result<(), WebSocketError> {
    use futures::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;

    let (mut sink, mut stream) = socket.split();
    let (mut read, mut write) = tokio::io::split(runtime);
    let inbound = async {
        while let Some(message) = stream.next().await {
            match message? {
                Message::Binary(data) => {
                    let written = async {
                        write.write_all(&data).await?;
                        write.flush().await
                    };
                    let Ok(()) = written.await else { break };
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok::<_, WebSocketError>(())
    };
    let outbound = async {
        let mut buffer = vec![0; TUNNEL_CHUNK];
        while let Ok(read) = read.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..read]))).await?;
        }
        sink.send(Message::Close(None)).await.ok(); // The client may have left first.
        Ok::<_, WebSocketError>(())
    };
    tokio::select! {
        ended = inbound => ended,
        ended = outbound => ended,
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::Error;

    use super::*;
    use crate::spdy;

    /// A runtime whose process echoes its input in capitals and exits with 3 at its end.
    async fn runtime(io: BoxIo) {
        let (_connection, mut incoming) = spdy::Connection::server(io).unwrap();
        let mut by_type = std::collections::HashMap::new();
        for _ in 0..4 {
            let stream = incoming.recv().await.unwrap();
            stream.writer.reply(Headers::new()).unwrap();
            by_type.insert(stream.headers.get("streamtype").unwrap().to_owned(), stream);
        }
        let mut stdin = by_type.remove("stdin").unwrap();
        let mut stdout = by_type.remove("stdout").unwrap();
        let mut error = by_type.remove("error").unwrap();
        while let Some(data) = stdin.reader.next().await {
            stdout.writer.send(data.to_ascii_uppercase().into()).await.unwrap();
        }
        error.writer.send(ExitStatus::Code(3).to_json().into()).await.unwrap();
        for stream in [stdout, error, by_type.remove("stderr").unwrap()] {
            stream.writer.finish().await.unwrap();
        }
        // Ends with the connection.
        while incoming.recv().await.is_some() {}
    }

    /// Both ends of a connection through the kernel, where closing with unread input is a reset.
    async fn connection() -> (BoxIo, BoxIo) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        (Box::new(near.unwrap()), Box::new(far.unwrap().0))
    }

    /// A runtime whose process ends at once and takes no input.
    async fn deaf_runtime(io: BoxIo) {
        let (_connection, mut incoming) = spdy::Connection::server(io).unwrap();
        let mut kept = Vec::new();
        for _ in 0..3 {
            let stream = incoming.recv().await.unwrap();
            stream.writer.reply(Headers::new()).unwrap();
            kept.push(stream);
        }
        kept.sort_by_key(|stream| stream.headers.get("streamtype") == Some("stdin"));
        let _stdin = kept.pop();
        for mut stream in kept {
            if stream.headers.get("streamtype") == Some("error") {
                stream.writer.send(ExitStatus::Success.to_json().into()).await.unwrap();
            }
            stream.writer.finish().await.unwrap();
        }
        while incoming.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn input_that_nobody_takes_is_read_to_its_end() {
        let (client_io, server_io) = connection().await;
        let (near, far) = connection().await;
        let process = tokio::spawn(deaf_runtime(far));
        let streams = StreamSet { stdin: true, stdout: true, stderr: false, tty: false };
        let bridge = tokio::spawn(async move {
            let socket = websocket::server_socket(server_io).await;
            let runtime = spdy::Connection::client(near).unwrap();
            remote_command(socket, Subprotocol::ChannelV5, runtime, streams).await
        });
        let socket = websocket::client_socket(client_io).await;
        let (mut sender, mut receiver) = websocket::channels(socket, Subprotocol::ChannelV5);
        let feed = async {
            let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
            for _ in 0..1000 {
                match sender.send(Channel::Stdin, chunk.clone()).await {
                    Ok(()) => {}
                    // Told that it was the end, in order.
                    Err(WebSocketError::Socket(Error::Protocol(_))) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let collect = async {
            let mut last = None;
            while let Some(Frame::Data(channel, data)) = receiver.next().await.unwrap() {
                last = Some((channel, data));
                // Slower than the sender, so that there is input behind the status.
                tokio::task::yield_now().await;
            }
            last
        };
        let ((), last) = tokio::join!(feed, collect);
        let (channel, status) = last.unwrap();
        assert_eq!(channel, Channel::Error);
        assert_eq!(ExitStatus::from_json(&status), ExitStatus::Success);
        drop((sender, receiver));
        bridge.await.unwrap().unwrap();
        process.await.unwrap();
    }

    #[tokio::test]
    async fn input_ends_output_flows_and_the_exit_code_comes_last() {
        let (client_io, server_io) = tokio::io::duplex(1024);
        let (near, far) = tokio::io::duplex(1024);
        let process = tokio::spawn(runtime(Box::new(far)));
        let streams = StreamSet { stdin: true, stdout: true, stderr: true, tty: false };
        let bridge = tokio::spawn(async move {
            let socket = websocket::server_socket(Box::new(server_io)).await;
            let runtime = spdy::Connection::client(Box::new(near)).unwrap();
            remote_command(socket, Subprotocol::ChannelV5, runtime, streams).await
        });
        let socket = websocket::client_socket(Box::new(client_io)).await;
        let (mut sender, mut receiver) = websocket::channels(socket, Subprotocol::ChannelV5);
        sender.send(Channel::Stdin, Bytes::from_static(b"hello")).await.unwrap();
        sender.close_channel(Channel::Stdin).await.unwrap();
        let mut frames = Vec::new();
        while let Some(Frame::Data(channel, data)) = receiver.next().await.unwrap() {
            frames.push((channel, data));
        }
        assert_eq!(frames[0], (Channel::Stdout, Bytes::new()));
        assert_eq!(frames[1], (Channel::Stdout, Bytes::from_static(b"HELLO")));
        let (channel, status) = frames.last().unwrap();
        assert_eq!(*channel, Channel::Error);
        assert_eq!(ExitStatus::from_json(status), ExitStatus::Code(3));
        drop((sender, receiver));
        bridge.await.unwrap().unwrap();
        process.await.unwrap();
    }
}
