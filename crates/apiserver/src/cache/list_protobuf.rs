//! A list in protobuf, put together from the shared messages of its objects.

use bytes::Bytes;
use machinery::codec::protobuf::{self, ListFrame};
use machinery::{Value, schema};

use super::items::Run;
use super::list::{List, PIECE};

impl List {
    /// The list in protobuf; `None` when its kind has no such form. All of it is written before
    /// the first byte can go out, since the length of everything comes first; others get their
    /// turn meanwhile.
    pub async fn protobuf_of(
        &self,
        (group, version): (&str, &str),
        list_kind: &str,
        metadata: &Value,
    ) -> Option<ProtobufListBody> {
        let ty = schema::builtin().kind(group, version, list_kind)?;
        let frame = ListFrame::new(ty, metadata).ok()?;
        let mut pieces = Vec::with_capacity(self.items.as_runs().len() + 2);
        pieces.push(Bytes::new());
        for run in self.items.as_runs() {
            put(&mut pieces, run, &frame)?;
            tokio::task::yield_now().await;
        }
        let len = pieces.iter().map(Bytes::len).sum();
        let api_version = machinery::gvk::GroupVersion::new(group, version).to_string();
        pieces[0] = frame.head(&api_version, list_kind, len).into();
        pieces.push(Bytes::from_static(frame.tail()));
        let left = (pieces[0].len() + len + frame.tail().len()) as u64;
        Some(ProtobufListBody { pieces: pieces.into_iter(), left })
    }
}

/// Adds the objects of a run, in pieces.
fn put(pieces: &mut Vec<Bytes>, run: &Run, frame: &ListFrame) -> Option<()> {
    if run.is_whole() && run.chunk.is_shared() {
        pieces.push(run.chunk.protobuf(frame)?);
        return Some(());
    }
    let mut out = Vec::new();
    for object in run.objects() {
        let message = object.protobuf()?;
        frame.put_item(&mut out, protobuf::open(&message).ok()?.raw);
        if out.len() >= PIECE {
            pieces.push(std::mem::take(&mut out).into());
        }
    }
    pieces.push(out.into());
    Some(())
}

/// A list's bytes in pieces.
#[derive(Debug)]
pub struct ProtobufListBody {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
}

impl ProtobufListBody {
    /// Bytes that are still to come.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all was handed out.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl Iterator for ProtobufListBody {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.find(|piece| !piece.is_empty())?;
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece)
    }
}
