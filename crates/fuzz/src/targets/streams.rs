//! Codecs of upgraded connections.

use bytes::{Bytes, BytesMut};
use streams::spdy::{Codec, Compressor, Control, Decompressor, Frame, Headers, RstStatus};
use streams::websocket::{self, Subprotocol};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::Target;

pub(super) const TARGETS: [Target; 3] = [
    Target { name: "spdy-frames", corpus: frames, run: spdy_frames },
    Target { name: "spdy-headers", corpus: blocks, run: spdy_headers },
    Target { name: "websocket-channels", corpus: messages, run: websocket_channels },
];

fn headers() -> Headers {
    Headers::new().with("streamtype", "error").with("port", "80").with("requestid", "")
}

fn compressed() -> Vec<u8> {
    let block = Compressor::new().and_then(|mut compressor| compressor.compress(&headers()));
    block.expect("good headers can be compressed")
}

fn frames() -> Vec<Vec<u8>> {
    let headers: Bytes = compressed().into();
    let (stream, fin) = (1, false);
    let syn = Control::SynStream {
        stream,
        associated: 0,
        priority: 3,
        fin,
        unidirectional: true,
        headers: headers.clone(),
    };
    let reply = Control::SynReply { stream, fin: true, headers };
    let reset = Control::RstStream { stream, status: RstStatus::CANCEL };
    let data = Frame::Data { stream, fin, data: Bytes::from_static(b"hello") };
    let all = [Frame::Control(syn), Frame::Control(reply), data, Frame::Control(reset)];
    let mut together = BytesMut::new();
    let mut corpus = Vec::new();
    for frame in all {
        let mut one = BytesMut::new();
        Codec.encode(frame, &mut one).expect("a good frame can be written");
        together.extend_from_slice(&one);
        corpus.push(one.to_vec());
    }
    corpus.push(together.to_vec());
    corpus
}

/// Frames that are read are written to something that is read the same.
fn spdy_frames(input: &[u8]) {
    let mut input = BytesMut::from(input);
    while let Ok(Some(frame)) = Codec.decode(&mut input) {
        // What is of an unknown type is to be skipped, and is not kept.
        if let Frame::Unknown(_) = frame {
            continue;
        }
        let mut bytes = BytesMut::new();
        Codec.encode(frame.clone(), &mut bytes).expect("what was read can be written");
        let again = Codec.decode(&mut bytes).expect("what was written can be read");
        assert_eq!(again, Some(frame));
        assert!(bytes.is_empty(), "a frame has its length");
    }
}

fn blocks() -> Vec<Vec<u8>> {
    vec![compressed()]
}

fn spdy_headers(input: &[u8]) {
    let Ok(headers) = Decompressor::new().decompress(input) else { return };
    let mut compressor = Compressor::new().expect("a compressor");
    let mut decompressor = Decompressor::new();
    // Compression has a state: the second block is written and read unlike the first.
    for _ in 0..2 {
        let block = compressor.compress(&headers).expect("what was read can be written");
        let again = decompressor.decompress(&block).expect("what was written can be read");
        assert_eq!(again, headers);
    }
}

fn messages() -> Vec<Vec<u8>> {
    vec![b"\x01hello".to_vec(), b"\xff\x00".to_vec(), b"\x03{\"status\":\"Success\"}".to_vec()]
}

fn websocket_channels(input: &[u8]) {
    for protocol in [Subprotocol::ChannelV5, Subprotocol::ChannelV4] {
        let message = Bytes::copy_from_slice(input);
        if let Ok(Some(frame)) = websocket::Frame::decode(message, protocol) {
            let again = websocket::Frame::decode(frame.encode(), protocol);
            assert!(matches!(again, Ok(Some(again)) if again == frame), "{frame:?}");
        }
    }
}
