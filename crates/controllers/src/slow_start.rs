//! Many similar requests without a thundering herd of failures.

use futures::future::join_all;

/// Calls `act` `count` times, in batches of 1, 2, 4, ...; stops after a batch with a failure.
/// Gives the number of successes and the first error.
pub(crate) async fn batches<F, R, E>(count: usize, act: F) -> (usize, Option<E>)
where
    F: Fn(usize) -> R,
    R: Future<Output = Result<(), E>>,
{
    let mut done = 0;
    let mut size = 1;
    while done < count {
        let batch = size.min(count - done);
        let results = join_all((done..done + batch).map(&act)).await;
        let failed: Vec<E> = results.into_iter().filter_map(Result::err).collect();
        done += batch - failed.len();
        if let Some(error) = failed.into_iter().next() {
            return (done, Some(error));
        }
        size *= 2;
    }
    (done, None)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn a_failing_batch_is_the_last() {
        let calls = RefCell::new(Vec::new());
        let (done, error) = batches(10, |n| {
            calls.borrow_mut().push(n);
            async move { if n == 4 { Err("no") } else { Ok(()) } }
        })
        .await;
        assert_eq!((done, error), (6, Some("no")));
        assert_eq!(*calls.borrow(), [0, 1, 2, 3, 4, 5, 6]);
    }
}
