//! Tasks that must run as long as the process does.
//!
//! A panic in such a task would otherwise go unnoticed: its queue is served by nobody, and whoever waits for it waits in
//! vain. So it is logged, counted, and the task starts again.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Pause before the first new start, doubled up to [`MAX_PAUSE`] while panics go on.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A task that ran for so long begins with the shortest pause again.
const STEADY: Duration = Duration::from_mins(1);

/// Panics of this process's tasks, by the task's name.
static PANICS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Runs a task until it returns, and starts it again, with a growing pause of 0.1 to 5 s, whenever it panics.
///
/// `task` makes the future anew for each start, so whatever must survive a panic has to be shared with it. Returning ends
/// the supervision: a task that is cancelled returns by itself. After `cancel` a task that panics is not started again, and
/// a pause ends at once; the future itself is not dropped, so that it can end in good order.
pub async fn supervised<F, T>(name: &'static str, cancel: CancellationToken, mut task: F)
where
    F: FnMut() -> T,
    T: Future<Output = ()>,
{
    let mut pause = MIN_PAUSE;
    loop {
        let started = Instant::now();
        let Err(panic) = caught(&mut task).await else { return };
        let panics = count(name);
        if started.elapsed() >= STEADY {
            pause = MIN_PAUSE;
        }
        let pause_ms = pause.as_millis();
        error!(task = name, panic = message(&*panic), panics, pause_ms, "a task panicked");
        if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// How often each supervised task of this process has panicked; tasks that never did are absent.
pub fn panics() -> BTreeMap<&'static str, u64> {
    counted().clone()
}

/// What the future came to, or its panic. Whatever it shares with others is as the panic left it: locks are poisoned.
async fn caught<T: Future<Output = ()>>(
    task: &mut impl FnMut() -> T,
) -> Result<(), Box<dyn Any + Send>> {
    let mut future = pin!(catch_unwind(AssertUnwindSafe(task))?);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn count(name: &'static str) -> u64 {
    let mut panics = counted();
    let count = panics.entry(name).or_default();
    *count = count.saturating_add(1);
    *count
}

fn counted() -> MutexGuard<'static, BTreeMap<&'static str, u64>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn a_task_that_panics_is_counted_and_starts_again_until_it_returns() {
        let starts = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&starts);
        supervised("restless", CancellationToken::new(), move || {
            let start = shared.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                assert!(start == 2, "start {start}");
            }
        })
        .await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        assert_eq!(panics().get("restless"), Some(&2));
    }

    #[tokio::test]
    async fn a_task_that_panics_when_it_is_cancelled_does_not_start_again() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let task = || async { panic!("too late") };
        supervised("cancelled", cancel, task).await;
        assert_eq!(panics().get("cancelled"), Some(&1));
    }
}
