//! The current revision for many askers at once: whoever asks while a read is under way waits for
//! the next one, which begins after they asked and serves all of them.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::types::Error;

type Answer = oneshot::Sender<Result<u64, Error>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Askers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reading: bool,
    waiting: Vec<Answer>,
}

impl Askers {
    /// Joins the askers. True when the caller has to see to it that [`Askers::serve`] runs.
    pub(super) fn join(&self) -> (oneshot::Receiver<Result<u64, Error>>, bool) {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push(answer);
        let first = !std::mem::replace(&mut state.reading, true);
        (answered, first)
    }

    /// Reads until nobody waits.
    pub(super) async fn serve<F: Future<Output = Result<u64, Error>>>(&self, read: impl Fn() -> F) {
        loop {
            let askers = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    state.reading = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let result = read().await;
            for asker in askers {
                asker.send(result.clone()).ok(); // the asker may be gone
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn who_comes_during_a_read_gets_the_next_one() {
        let askers = Askers::default();
        let reads = AtomicU64::new(0);
        let (first, serve) = askers.join();
        assert!(serve);
        let late = Mutex::new(None);
        askers
            .serve(|| {
                let number = reads.fetch_add(1, Ordering::Relaxed);
                if number == 0 {
                    let (a, serve) = askers.join();
                    let (b, _) = askers.join();
                    assert!(!serve, "somebody serves already");
                    *late.lock().unwrap() = Some((a, b));
                }
                async move { Ok(number) }
            })
            .await;
        assert_eq!(first.await.unwrap().unwrap(), 0);
        let (a, b) = late.into_inner().unwrap().unwrap();
        assert_eq!((a.await.unwrap().unwrap(), b.await.unwrap().unwrap()), (1, 1));
        assert_eq!(reads.into_inner(), 2);
        assert!(askers.join().1, "the next asker serves again");
    }
}
