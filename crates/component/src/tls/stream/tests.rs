use std::future::poll_fn;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::pki::{Authority, Subject};
use crate::tls::{certificates, private_key, provider};

/// The head of a record, its type and its tag.
const AROUND: usize = 5 + 1 + 16;

/// Both ends of a connection; the client's as socket and session.
async fn pair() -> (Stream, Cork, TcpStream, ClientConnection) {
    let authority = Authority::generate("a").unwrap();
    let subject = Subject {
        common_name: "x".to_owned(),
        names: vec!["localhost".to_owned()],
        server: true,
        ..Subject::default()
    };
    let served = authority.issue(&subject, std::time::Duration::from_secs(3600)).unwrap();
    let chain = certificates(served.certificate.as_bytes()).unwrap();
    let key = private_key(served.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.send_tls13_tickets = 0;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority.certificate().as_bytes()).unwrap() {
        roots.add(certificate).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let client = builder.with_root_certificates(roots).with_no_client_auth();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(
        TlsAcceptor::from(Arc::new(config)).accept(accepted),
        TlsConnector::from(Arc::new(client)).connect(name, socket),
    );
    let (socket, session) = server.unwrap().into_inner();
    let (stream, cork) = split(socket, session);
    let (socket, session) = client.unwrap().into_inner();
    (stream, cork, socket, session)
}

/// So many bytes of plaintext, and the plaintext of each record that they came in.
async fn receive(
    socket: &mut TcpStream,
    session: &mut ClientConnection,
    len: usize,
) -> (Vec<u8>, Vec<usize>) {
    let (mut plain, mut raw) = (Vec::new(), Vec::new());
    while plain.len() < len {
        let start = raw.len();
        assert!(socket.read_buf(&mut raw).await.unwrap() > 0, "the connection ended");
        let mut rest = &raw[start..];
        while !rest.is_empty() {
            session.read_tls(&mut rest).unwrap();
            session.process_new_packets().unwrap();
            loop {
                let mut piece = [0; 4096];
                match session.reader().read(&mut piece) {
                    Ok(0) => break,
                    Ok(read) => plain.extend_from_slice(&piece[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    let (mut records, mut at) = (Vec::new(), 0);
    while at < raw.len() {
        let body = usize::from(u16::from_be_bytes([raw[at + 3], raw[at + 4]]));
        records.push(5 + body - AROUND);
        at += 5 + body;
    }
    (plain, records)
}

/// Bytes that are not the same everywhere.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 % 251) as u8).collect()
}

/// Writes and flushes pieces in one turn of the connection's task, as HTTP libraries do.
async fn write(stream: &mut Stream, cork: &Cork, pieces: &[&[&[u8]]]) {
    let mut work = std::pin::pin!(async move {
        for piece in pieces {
            let mut left: Vec<&[u8]> = piece.to_vec();
            while !left.is_empty() {
                let slices: Vec<IoSlice<'_>> = left.iter().map(|part| IoSlice::new(part)).collect();
                let mut taken =
                    poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, &slices))
                        .await
                        .unwrap();
                assert!(taken > 0 || slices.iter().all(|slice| slice.is_empty()));
                left.retain_mut(|part| {
                    let part_taken = taken.min(part.len());
                    taken -= part_taken;
                    *part = &part[part_taken..];
                    !part.is_empty()
                });
            }
            stream.flush().await.unwrap();
        }
    });
    poll_fn(|cx| cork.turn(cx, |cx| work.as_mut().poll(cx))).await;
}

#[tokio::test]
async fn what_is_written_in_one_turn_goes_out_together() {
    let (mut stream, cork, mut socket, mut session) = pair().await;
    let text = pattern(3000);
    let parts: Vec<&[u8]> = text.chunks(100).collect();
    let pieces: Vec<&[&[u8]]> = parts.chunks(1).collect();
    write(&mut stream, &cork, &pieces).await;
    let (plain, records) = receive(&mut socket, &mut session, text.len()).await;
    assert!(plain == text);
    assert_eq!(records, [3000]);
    // And nothing waits for more.
    write(&mut stream, &cork, &[&[b"x"]]).await;
    assert_eq!(receive(&mut socket, &mut session, 1).await, (b"x".to_vec(), vec![1]));
}

#[tokio::test]
async fn frames_of_a_long_answer_fill_records() {
    let (mut stream, cork, mut socket, mut session) = pair().await;
    let text = pattern(40 * (9 + RECORD));
    let frames: Vec<[&[u8]; 2]> =
        text.chunks(9 + RECORD).map(|frame| frame.split_at(9).into()).collect();
    let pieces: Vec<&[&[u8]]> = frames.iter().map(|frame| &frame[..]).collect();
    let (_, (plain, records)) = tokio::join!(
        write(&mut stream, &cork, &pieces),
        receive(&mut socket, &mut session, text.len()),
    );
    assert!(plain == text);
    let (last, full) = records.split_last().unwrap();
    assert!(full.iter().all(|record| *record == RECORD), "{records:?}");
    assert_eq!(*last, text.len() % RECORD);
}

#[tokio::test]
async fn long_writes_of_any_shape_come_out_as_they_are() {
    let (mut stream, cork, mut socket, mut session) = pair().await;
    for shape in [vec![500_000], vec![10, 160_000, 160_000, 3], vec![20_000; 30], vec![5000; 90]] {
        let text = pattern(shape.iter().sum());
        let (mut slices, mut rest) = (Vec::new(), &text[..]);
        for len in &shape {
            let (slice, behind) = rest.split_at(*len);
            slices.push(slice);
            rest = behind;
        }
        let pieces: [&[&[u8]]; 1] = [&slices];
        let (_, (plain, records)) = tokio::join!(
            write(&mut stream, &cork, &pieces),
            receive(&mut socket, &mut session, text.len()),
        );
        assert!(plain == text, "{shape:?}");
        assert!(records.len() <= text.len() / RECORD + 2, "{shape:?}: {records:?}");
    }
}

#[tokio::test]
async fn outside_of_turns_a_flush_sends() {
    let (mut stream, _cork, mut socket, mut session) = pair().await;
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(receive(&mut socket, &mut session, 5).await.0, b"hello");

    // The other way round, and to the end of it.
    session.set_buffer_limit(None);
    session.writer().write_all(&pattern(100_000)).unwrap();
    let client = async {
        let mut raw = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut raw).unwrap();
        }
        session.send_close_notify();
        session.write_tls(&mut raw).unwrap();
        socket.write_all(&raw).await.unwrap();
    };
    let mut plain = Vec::new();
    let (_, read) = tokio::join!(client, stream.read_to_end(&mut plain));
    read.unwrap();
    assert!(plain == pattern(100_000));

    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
    let (plain, _) = receive(&mut socket, &mut session, 3).await;
    assert_eq!(plain, b"bye");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    let mut rest = &rest[..];
    while !rest.is_empty() {
        session.read_tls(&mut rest).unwrap();
        session.process_new_packets().unwrap();
    }
    assert_eq!(session.reader().read(&mut [0; 8]).unwrap(), 0, "it ends as TLS wants it");
}

#[tokio::test]
async fn a_broken_connection_is_an_error() {
    let (mut stream, cork, socket, session) = pair().await;
    drop((socket, session));
    let error = poll_fn(|cx| {
        cork.turn(cx, |cx| {
            let mut byte = [0];
            Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut byte))
        })
    });
    assert_eq!(error.await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
