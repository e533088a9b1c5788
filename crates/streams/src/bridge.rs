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
mod tests;
