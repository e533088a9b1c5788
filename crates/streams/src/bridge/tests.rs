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
