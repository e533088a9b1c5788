use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::frame::Codec;
use super::*;

fn encode(frame: Frame) -> BytesMut {
    let mut out = BytesMut::new();
    Codec.encode(frame, &mut out).unwrap();
    out
}

fn check(frame: Frame, bytes: &[u8]) {
    let mut encoded = encode(frame.clone());
    assert_eq!(&encoded[..], bytes, "{frame:?}");
    assert_eq!(Codec.decode(&mut encoded).unwrap(), Some(frame));
    assert!(encoded.is_empty());
}

#[test]
fn frames_have_the_bytes_of_the_specification() {
    check(Frame::Control(Control::Ping(1)), &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
    check(
        Frame::Data { stream: 3, fin: true, data: Bytes::from_static(b"hi") },
        &[0, 0, 0, 3, 1, 0, 0, 2, b'h', b'i'],
    );
    check(
        Frame::Control(Control::RstStream { stream: 5, status: RstStatus::CANCEL }),
        &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 5],
    );
    check(
        Frame::Control(Control::GoAway { last: 7, status: 0 }),
        &[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0],
    );
    check(
        Frame::Control(Control::WindowUpdate { stream: 1, delta: 0x1_0000 }),
        &[0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 1, 0, 0],
    );
    check(
        Frame::Control(Control::SynStream {
            stream: 1,
            associated: 0,
            priority: 7,
            fin: false,
            unidirectional: true,
            headers: Bytes::from_static(b"zz"),
        }),
        &[0x80, 3, 0, 1, 2, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0xe0, 0, b'z', b'z'],
    );
}

#[test]
fn header_blocks_start_with_the_dictionarys_id() {
    let mut compressor = Compressor::new().unwrap();
    let block = compressor.compress(&Headers::new().with("streamType", "stdin")).unwrap();
    // zlib header with FDICT, best compression; then the Adler-32 of the SPDY/3 dictionary.
    assert_eq!(&block[..6], &[0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2]);
}

#[test]
fn malformed_frames_are_refused() {
    let decode = |bytes: &[u8]| Codec.decode(&mut BytesMut::from(bytes));
    assert!(matches!(decode(&[0x80, 2, 0, 6, 0, 0, 0, 0]), Err(FrameError::Version(2))));
    assert!(matches!(decode(&[0x80, 3, 0, 6, 0, 0, 0, 1, 0]), Err(FrameError::Malformed(6))));
    let settings = [0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(decode(&settings), Err(FrameError::Malformed(4))));
    assert!(matches!(decode(&[0x80, 3, 0, 99, 0, 0, 0, 0]), Ok(Some(Frame::Unknown(99)))));
    assert!(matches!(decode(&[0, 0, 0, 1, 0, 0, 0, 9, 1]), Ok(None)));
    assert!(Decompressor::new().decompress(b"not zlib at all").is_err());
}

fn headers() -> impl Strategy<Value = Headers> {
    proptest::collection::vec(("[a-z-]{1,20}", ".{0,200}"), 0..20).prop_map(|pairs| {
        pairs.into_iter().fold(Headers::new(), |headers, (name, value)| headers.with(&name, value))
    })
}

fn control() -> impl Strategy<Value = Control> {
    let id = 0..0x8000_0000_u32;
    let block = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    prop_oneof![
        (id.clone(), id.clone(), 0..8_u8, any::<bool>(), any::<bool>(), block.clone()).prop_map(
            |(stream, associated, priority, fin, unidirectional, headers)| Control::SynStream {
                stream,
                associated,
                priority,
                fin,
                unidirectional,
                headers
            }
        ),
        (id.clone(), any::<bool>(), block.clone())
            .prop_map(|(stream, fin, headers)| { Control::SynReply { stream, fin, headers } }),
        (id.clone(), any::<bool>(), block).prop_map(|(stream, fin, headers)| Control::Headers {
            stream,
            fin,
            headers
        }),
        (id.clone(), any::<u32>())
            .prop_map(|(stream, code)| Control::RstStream { stream, status: RstStatus(code) }),
        any::<u32>().prop_map(Control::Ping),
        (id.clone(), any::<u32>()).prop_map(|(last, status)| Control::GoAway { last, status }),
        (id.clone(), id).prop_map(|(stream, delta)| Control::WindowUpdate { stream, delta }),
        proptest::collection::vec((any::<u8>(), 0..0x100_0000_u32, any::<u32>()), 0..8)
            .prop_map(Control::Settings),
    ]
}

proptest! {
    #[test]
    fn header_blocks_round_trip_in_order(blocks in proptest::collection::vec(headers(), 1..8)) {
        let mut compressor = Compressor::new().unwrap();
        let mut decompressor = Decompressor::new();
        for block in blocks {
            let compressed = compressor.compress(&block).unwrap();
            prop_assert_eq!(decompressor.decompress(&compressed).unwrap(), block);
        }
    }

    #[test]
    fn control_frames_round_trip(controls in proptest::collection::vec(control(), 1..8)) {
        let mut wire = BytesMut::new();
        for control in &controls {
            Codec.encode(Frame::Control(control.clone()), &mut wire).unwrap();
        }
        for control in controls {
            prop_assert_eq!(Codec.decode(&mut wire).unwrap(), Some(Frame::Control(control)));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut wire = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = Codec.decode(&mut wire) {}
        Decompressor::new().decompress(&bytes).ok();
    }
}

#[tokio::test]
async fn a_half_closed_stream_still_receives() {
    let (near, far) = tokio::io::duplex(64);
    let client = Connection::client(Box::new(near)).unwrap();
    let (server, mut incoming) = Connection::server(Box::new(far)).unwrap();
    let serve = tokio::spawn(async move {
        let mut stream = incoming.recv().await.unwrap();
        assert_eq!(stream.headers.get("streamType"), Some("stdin"));
        stream.writer.reply(Headers::new()).unwrap();
        let mut got = Vec::new();
        while let Some(data) = stream.reader.next().await {
            got.extend_from_slice(&data);
        }
        stream.writer.send(Bytes::from(format!("{} bytes", got.len()))).await.unwrap();
        stream.writer.finish().await.unwrap();
        server.closed().await;
    });
    let mut stream = client.open(Headers::new().with("streamType", "stdin")).await.unwrap();
    stream.writer.send(Bytes::from(vec![7; 200_000])).await.unwrap();
    stream.writer.finish().await.unwrap();
    assert_eq!(stream.reader.next().await.unwrap(), "200000 bytes");
    assert_eq!(stream.reader.next().await, None);
    drop(client);
    serve.await.unwrap();
}

#[tokio::test]
async fn streams_end_with_their_connection() {
    let (near, far) = tokio::io::duplex(64);
    let client = Connection::client(Box::new(near)).unwrap();
    drop(far);
    assert!(client.open(Headers::new()).await.is_err());
    client.closed().await;
}
