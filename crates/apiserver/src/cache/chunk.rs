//! A run of neighbouring objects, and what is made of them all for many readers.
//!
//! Lists of big collections are asked for by many at once: when a cluster starts, and by those who
//! poll. Putting a list together object by object costs more than sending it, so a chunk that is
//! listed again within seconds keeps its part of the list until nobody asked for a while. What all
//! chunks keep together is bounded.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use machinery::codec::protobuf::{self, ListFrame};

use super::budget::Room;
use super::encoded::Binary;
use super::mark::Mark;
use super::object::Object;

/// Smaller parts are put together as quickly as shared, and bigger ones are sent in pieces.
const SHARED: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 20;

/// How the objects stand in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON without kind and apiVersion, each object behind a comma.
    Json,
    /// The same with kind and apiVersion, as custom objects have it.
    TypedJson,
    /// Fields of the list's message. All lists have their items under the same number.
    Protobuf,
}

/// Objects in key order. A changed clone starts with nothing kept.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    objects: Vec<Arc<Object>>,
    marks: OnceLock<Box<[Mark]>>,
    parts: [Part; 3],
    /// The objects in another version.
    shown: Mutex<State<Shown>>,
    /// It is one reader's alone.
    is_private: bool,
}

/// Part of a list.
#[derive(Debug, Default)]
struct Part {
    len: OnceLock<u64>,
    kept: Mutex<State<Bytes>>,
}

/// Something that is kept while it is asked for.
#[derive(Debug, Default)]
enum State<T> {
    #[default]
    Nothing,
    /// Nothing, but somebody asked lately.
    Asked,
    Kept {
        what: T,
        /// Whether somebody asked since the last look.
        asked: bool,
        _room: Room,
    },
}

/// The objects of a chunk as a presentation shows them.
#[derive(Debug)]
struct Shown {
    presentation: u64,
    chunk: Arc<Chunk>,
}

impl Form {
    /// JSON with or without kind and apiVersion.
    pub(super) fn json(with_type: bool) -> Self {
        if with_type { Self::TypedJson } else { Self::Json }
    }
}

impl<T> State<T> {
    /// What is kept; it stays for a while longer.
    fn ask(&mut self) -> Option<&T> {
        let Self::Kept { what, asked, .. } = self else { return None };
        *asked = true;
        Some(what)
    }

    /// Keeps something of so many bytes, if there is room.
    fn keep(&mut self, what: T, bytes: usize) {
        *self = match Room::take(bytes) {
            Some(room) => Self::Kept { what, asked: true, _room: room },
            None => Self::Asked,
        };
    }

    fn cool(&mut self) {
        match self {
            Self::Kept { asked, .. } if *asked => *asked = false,
            _ => *self = Self::Nothing,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chunk {
    /// Objects that were found for one reader: nobody else will ask for them together.
    pub(super) fn private(objects: Vec<Arc<Object>>) -> Self {
        Self { is_private: true, ..objects.into() }
    }

    pub(super) fn objects_mut(&mut self) -> &mut Vec<Arc<Object>> {
        *self = std::mem::take(&mut self.objects).into();
        &mut self.objects
    }

    /// The objects' marks.
    pub(super) fn marks(&self) -> &[Mark] {
        self.marks.get_or_init(|| self.objects.iter().map(|object| object.mark()).collect())
    }

    /// Bytes of the objects as JSON in a list.
    pub(super) fn json_len(&self, with_type: bool) -> u64 {
        let item_len = |object: &Arc<Object>| object.item(with_type).len() as u64 + 2;
        let sum = || self.objects.iter().map(item_len).sum();
        *self.parts[Form::json(with_type) as usize].len.get_or_init(sum)
    }

    /// Whether parts of lists are worth sharing.
    pub(super) fn is_shared(&self) -> bool {
        !self.is_private && SHARED.contains(&self.json_len(false))
    }

    /// The objects as JSON in a list, each behind a comma.
    pub(super) fn json(&self, with_type: bool) -> Bytes {
        let mut state = lock(&self.parts[Form::json(with_type) as usize].kept);
        if let Some(bytes) = state.ask() {
            return bytes.clone();
        }
        let mut json = Vec::with_capacity(usize::try_from(self.json_len(with_type)).unwrap_or(0));
        for object in &self.objects {
            json.extend_from_slice(b",{");
            json.extend_from_slice(object.item(with_type));
        }
        let bytes = Bytes::from(json);
        // Once in a long while is put together quickly enough.
        match *state {
            State::Nothing => *state = State::Asked,
            _ => state.keep(bytes.clone(), bytes.len()),
        }
        bytes
    }

    /// The objects as fields of a list's message; `None` when they have no such form.
    pub(super) fn protobuf(&self, frame: &ListFrame) -> Option<Bytes> {
        // Held meanwhile: who asks at the same time gets the same bytes.
        let mut state = lock(&self.parts[Form::Protobuf as usize].kept);
        if let Some(bytes) = state.ask() {
            return Some(bytes.clone());
        }
        let mut fields = Vec::new();
        for object in &self.objects {
            let message = object.binary_once(Binary::Protobuf);
            frame.put_item(&mut fields, protobuf::open(&message).ok()?.raw);
        }
        let bytes = Bytes::from(fields.into_boxed_slice());
        state.keep(bytes.clone(), bytes.len());
        Some(bytes)
    }

    /// The same objects as a presentation shows them, if that is known.
    pub(super) fn shown(&self, presentation: u64) -> Option<Arc<Self>> {
        let mut shown = lock(&self.shown);
        let known = shown.ask().filter(|known| known.presentation == presentation);
        known.map(|known| known.chunk.clone())
    }

    /// Takes in how a presentation shows the objects.
    pub(super) fn keep_shown(&self, presentation: u64, objects: Vec<Arc<Object>>) -> Arc<Self> {
        let chunk = Arc::new(Self { is_private: self.is_private, ..objects.into() });
        if !self.is_private {
            let bytes = usize::try_from(chunk.json_len(true)).unwrap_or(usize::MAX);
            lock(&self.shown).keep(Shown { presentation, chunk: chunk.clone() }, bytes);
        }
        chunk
    }

    /// Called every few seconds: gives up what nobody asked for since the last time.
    pub(super) fn cool(&self) {
        self.parts.iter().for_each(|part| lock(&part.kept).cool());
        let mut shown = lock(&self.shown);
        if let State::Kept { what, .. } = &*shown {
            what.chunk.cool();
        }
        shown.cool();
    }

    #[cfg(test)]
    pub(super) fn is_kept(&self, form: Form) -> bool {
        matches!(*lock(&self.parts[form as usize].kept), State::Kept { .. })
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        self.objects.clone().into()
    }
}

impl From<Vec<Arc<Object>>> for Chunk {
    fn from(objects: Vec<Arc<Object>>) -> Self {
        Self { objects, ..Self::default() }
    }
}

impl Deref for Chunk {
    type Target = [Arc<Object>];

    fn deref(&self) -> &[Arc<Object>] {
        &self.objects
    }
}
