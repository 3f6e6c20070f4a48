use super::*;
use crate::Decided;

struct Nothing;

impl Work for Nothing {
    type Op = ();
    type Reply = &'static str;
    type Key = u8;

    async fn run(
        &self,
        _: &mut db::Conn,
        ops: &[&()],
        _: db::LockWait,
    ) -> db::Result<Decided<&'static str>> {
        Ok(Decided { replies: vec!["first"; ops.len()], writes: db::Script::default() })
    }

    fn repeated(_: &&'static str) -> &'static str {
        "again"
    }
}

fn push(queue: &Queue<Nothing>, key: Option<u8>) -> Result<Answer<Nothing>, Error> {
    queue.push((), key, Priority::Normal, Instant::now() + Duration::from_secs(1))
}

async fn take(queue: &Queue<Nothing>) -> Vec<Entry<Nothing>> {
    match queue.take(Duration::ZERO).await {
        Taken::Batch(batch) => batch,
        Taken::Idle | Taken::Closed => Vec::new(),
    }
}

#[tokio::test]
async fn a_lane_that_was_slow_once_admits_one_call_to_find_out_whether_it_still_is() {
    let queue = Queue::<Nothing>::new("slow", Options::default());
    queue.settled(Duration::from_secs(5), 0);
    push(&queue, None).unwrap();
    assert!(matches!(push(&queue, None), Err(Error::Overloaded { .. })));
    assert_eq!(take(&queue).await.len(), 1);
    push(&queue, None).unwrap();
}

#[tokio::test]
async fn whoever_is_shed_is_told_to_come_back_soon_however_slow_the_lane_is() {
    for (took, least, most) in [(0, 10, 10), (60_000, 5_000, 5_000), (40_000_000, 5_000, 5_000)] {
        let queue = Queue::<Nothing>::new("slow", Options { capacity: 1, ..Options::default() });
        queue.settled(Duration::from_millis(took), 0);
        push(&queue, None).unwrap();
        let Err(Error::Overloaded { retry_after, .. }) = push(&queue, None) else {
            panic!("the queue is full");
        };
        let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
        assert!(bounds.contains(&retry_after), "{retry_after:?}");
    }
}

#[tokio::test]
async fn a_repeat_joins_what_waits_and_what_is_being_run_and_nothing_that_was_answered() {
    let queue = Queue::<Nothing>::new("joined", Options::default());
    let (first, waits, other) =
        (push(&queue, Some(1)).unwrap(), push(&queue, Some(1)).unwrap(), push(&queue, Some(2)));
    let mut batch = take(&queue).await;
    assert_eq!(batch.len(), 2);
    let runs = push(&queue, Some(1)).unwrap();
    assert!(take(&queue).await.is_empty());
    queue.answer([(batch.remove(0), Ok("first"))]);
    assert_eq!(first.await.unwrap().unwrap(), "first");
    assert_eq!(waits.await.unwrap().unwrap(), "again");
    assert_eq!(runs.await.unwrap().unwrap(), "again");
    let _later = push(&queue, Some(1)).unwrap();
    assert_eq!(take(&queue).await.len(), 1);
    drop(batch);
    assert!(other.unwrap().await.is_err(), "nobody waits for an operation that is gone");
    assert!(push(&queue, Some(2)).is_ok());
    assert_eq!(take(&queue).await.len(), 1);
}

#[tokio::test]
async fn an_operation_runs_as_long_as_one_of_its_callers_waits() {
    let queue = Queue::<Nothing>::new("late", Options::default());
    let after = |seconds| Instant::now() + Duration::from_secs(seconds);
    let soon = queue.push((), Some(1), Priority::Normal, after(10)).unwrap();
    let late = queue.push((), Some(1), Priority::Normal, after(30)).unwrap();
    let mut batch = take(&queue).await;
    batch.retain(|entry| queue.is_wanted(entry, after(20)));
    assert!(matches!(soon.await.unwrap(), Err(Error::DeadlineExceeded(_))));
    batch[0].doubt();
    batch.retain(|entry| queue.is_wanted(entry, after(40)));
    assert!(batch.is_empty());
    assert!(matches!(late.await.unwrap(), Err(Error::Unknown(_))));
}
