use super::*;

#[tokio::test(start_paused = true)]
async fn a_key_waits_once() {
    let q = WorkQueue::new();
    q.add("a");
    q.add("b");
    q.add("a");
    assert_eq!(q.len(), 2);
    assert_eq!(q.get().await, Some("a"));
    assert_eq!(q.get().await, Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_worked_on_comes_back_only_after_done() {
    let q = WorkQueue::new();
    q.add("a");
    assert_eq!(q.get().await, Some("a"));
    q.add("a");
    assert_eq!(q.len(), 0);
    q.done(&"a");
    assert_eq!(q.get().await, Some("a"));
    q.done(&"a");
    assert_eq!(q.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_delay_counts_and_order_is_by_time() {
    let q = WorkQueue::new();
    let start = Instant::now();
    q.add_after("late", Duration::from_secs(20));
    q.add_after("a", Duration::from_secs(30));
    q.add_after("a", Duration::from_secs(10));
    q.add_after("a", Duration::from_secs(15));
    assert_eq!(q.get().await, Some("a"));
    assert_eq!(start.elapsed().as_secs(), 10);
    q.done(&"a");
    assert_eq!(q.get().await, Some("late"));
    assert_eq!(start.elapsed().as_secs(), 20);
    q.add_after("again", Duration::from_secs(1));
    assert_eq!(q.get().await, Some("again"), "the timer starts anew");
}

#[tokio::test(start_paused = true)]
async fn retries_double_until_forgotten() {
    let q = WorkQueue::new();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let start = Instant::now();
        q.add_rate_limited("a");
        q.get().await;
        q.done(&"a");
        waits.push(start.elapsed().as_millis());
    }
    assert_eq!(waits, [5, 10, 20, 40]);
    assert_eq!(q.num_requeues(&"a"), 4);
    q.forget(&"a");
    assert_eq!(q.num_requeues(&"a"), 0);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_ends_every_waiter() {
    let q = WorkQueue::<&str>::new();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let q = q.clone();
            tokio::spawn(async move { q.get().await })
        })
        .collect();
    tokio::task::yield_now().await;
    q.shut_down();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), None);
    }
    q.add("a");
    assert_eq!(q.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_waiter_gets_work() {
    let q = WorkQueue::new();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let q = q.clone();
            tokio::spawn(async move { q.get().await })
        })
        .collect();
    tokio::task::yield_now().await;
    q.add(1);
    q.add(2);
    let mut got = Vec::new();
    for waiter in waiters {
        got.push(waiter.await.unwrap().unwrap());
    }
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
}
