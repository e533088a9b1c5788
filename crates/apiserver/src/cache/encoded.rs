//! The forms of an object other than JSON: made once for all who ask, and given up when nobody
//! asked for a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::budget::Room;
use super::object::Object;

/// A binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Protobuf,
    Cbor,
}

/// What is kept of one object.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    forms: Mutex<Option<Box<Forms>>>,
    /// Whether somebody asked since the last look.
    asked: AtomicBool,
}

/// By [`Binary`].
type Forms = [Option<(Bytes, Room)>; 2];

/// Objects that keep something.
static WARM: Mutex<Vec<Weak<Object>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called every few seconds: gives up what nobody asked for since the last time.
pub(super) fn cool() {
    let mut warm = lock(&WARM);
    warm.retain(|object| {
        object.upgrade().is_some_and(|object| {
            let encoded = object.encoded();
            let stays = encoded.asked.swap(false, Ordering::Relaxed);
            if !stays {
                *lock(&encoded.forms) = None;
            }
            stays
        })
    });
    let left = warm.len();
    warm.shrink_to(2 * left);
}

impl Encoded {
    /// The bytes, if they are kept.
    pub(super) fn get(&self, form: Binary) -> Option<Bytes> {
        let forms = lock(&self.forms);
        let (bytes, _) = forms.as_ref()?[form as usize].as_ref()?;
        self.asked.store(true, Ordering::Relaxed);
        Some(bytes.clone())
    }

    /// Keeps an object's bytes, if there is room.
    pub(super) fn keep(&self, object: &Arc<Object>, form: Binary, bytes: &Bytes) {
        let Some(room) = Room::take(bytes.len()) else { return };
        self.asked.store(true, Ordering::Relaxed);
        let mut forms = lock(&self.forms);
        let is_first = forms.is_none();
        forms.get_or_insert_default()[form as usize] = Some((bytes.clone(), room));
        drop(forms);
        if is_first {
            lock(&WARM).push(Arc::downgrade(object));
        }
    }
}
