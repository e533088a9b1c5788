//! Copies bytes between two upgraded connections without looking at them.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Io;

/// Bytes a direction may hold in flight.
const BUFFER: usize = 32 * 1024;

/// Copies in both directions until either side has finished sending, then closes both.
///
/// Upstream's proxy ends the same way: the protocols that travel here (WebSocket, SPDY) say
/// goodbye inside the stream, so the end of one direction means that the conversation is over.
/// What the other side had sent by then is still delivered when it was the finishing side.
pub async fn relay(a: impl Io, b: impl Io) {
    let (mut a_read, mut a_write) = tokio::io::split(a);
    let (mut b_read, mut b_write) = tokio::io::split(b);
    tokio::select! {
        () = pump(&mut a_read, &mut b_write) => {}
        () = pump(&mut b_read, &mut a_write) => {}
    }
    a_write.shutdown().await.ok(); // The peer may be gone; there is nobody to tell.
    b_write.shutdown().await.ok(); // As above.
}

async fn pump(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_directions_flow_and_the_end_reaches_the_other_side() {
        let (mut left, left_inner) = tokio::io::duplex(16);
        let (mut right, right_inner) = tokio::io::duplex(16);
        let task = tokio::spawn(relay(left_inner, right_inner));
        left.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        right.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
        right.write_all(b"a reply longer than the pipe between them").await.unwrap();
        right.shutdown().await.unwrap();
        let mut all = Vec::new();
        left.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"a reply longer than the pipe between them");
        task.await.unwrap();
    }
}
