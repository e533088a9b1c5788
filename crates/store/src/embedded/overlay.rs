//! A file that can be written to without being changed: what is written stays in memory. redb
//! repairs a file that was not closed when it opens it; whoever only looks must not.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// Bytes that are copied when one of them is written.
const BLOCK: u64 = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Overlay<B> {
    under: B,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// What is behind this was cut off once, so it is zeros now, whatever is under it.
    shown: u64,
    written: BTreeMap<u64, Box<[u8]>>,
}

impl<B: StorageBackend> Overlay<B> {
    pub(super) fn new(under: B) -> io::Result<Self> {
        let len = under.len()?;
        let state = State { len, shown: len, written: BTreeMap::new() };
        Ok(Self { under, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Fills `out` with a part of block `block` that begins at `from` in it.
    fn read(
        &self,
        under: &impl StorageBackend,
        block: u64,
        from: usize,
        out: &mut [u8],
    ) -> io::Result<()> {
        if let Some(bytes) = self.written.get(&block) {
            out.copy_from_slice(&bytes[from..from + out.len()]);
            return Ok(());
        }
        let start = block * BLOCK + from as u64;
        let there = self.shown.saturating_sub(start).min(out.len() as u64);
        let (there, beyond) = out.split_at_mut(usize::try_from(there).unwrap_or(usize::MAX));
        beyond.fill(0);
        if there.is_empty() { Ok(()) } else { under.read(start, there) }
    }
}

/// The parts of a stretch by block: the block, where the part begins in it, and its length.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let end = offset + len as u64;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (block, from) = (at / BLOCK, at % BLOCK);
            let part = (BLOCK - from).min(end - at);
            at += part;
            (block, from as usize, part as usize)
        })
    })
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        for (block, from, part) in parts(offset, rest.len()) {
            let (now, later) = rest.split_at_mut(part);
            state.read(&self.under, block, from, now)?;
            rest = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut state = self.state();
        if len < state.len {
            drop(state.written.split_off(&len.div_ceil(BLOCK)));
            if let Some(last) = state.written.get_mut(&(len / BLOCK)) {
                last[(len % BLOCK) as usize..].fill(0);
            }
            state.shown = state.shown.min(len);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.state();
        let mut rest = data;
        for (block, from, part) in parts(offset, data.len()) {
            let (now, later) = rest.split_at(part);
            if !state.written.contains_key(&block) {
                let mut bytes = vec![0; BLOCK as usize].into_boxed_slice();
                state.read(&self.under, block, 0, &mut bytes)?;
                state.written.insert(block, bytes);
            }
            let bytes = state.written.get_mut(&block).expect("it was put there above");
            bytes[from..from + part].copy_from_slice(now);
            rest = later;
        }
        state.len = state.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_under_it_stays() {
        let under = InMemoryBackend::new();
        under.set_len(10_000).unwrap();
        under.write(0, &[1; 10_000]).unwrap();
        let overlay = Overlay::new(under).unwrap();
        let read = |offset: u64, len: usize| {
            let mut out = vec![9; len];
            overlay.read(offset, &mut out).unwrap();
            out
        };
        overlay.write(4090, &[2; 12]).unwrap();
        assert_eq!(read(4088, 16), [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1]);
        overlay.set_len(4094).unwrap();
        assert!(overlay.read(4090, &mut [0; 8]).is_err());
        overlay.set_len(20_000).unwrap();
        assert_eq!(read(4090, 8), [2, 2, 2, 2, 0, 0, 0, 0], "what was cut off is gone");
        assert_eq!(read(9990, 20), [0; 20]);
        overlay.write(19_999, &[3]).unwrap();
        assert_eq!((read(19_999, 1), overlay.len().unwrap()), (vec![3], 20_000));
        let mut out = [0; 12];
        overlay.under.read(4090, &mut out).unwrap();
        assert_eq!(out, [1; 12]);
    }
}
