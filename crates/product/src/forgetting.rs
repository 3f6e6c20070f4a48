//! Writes after which the cache forgets what they may have changed.

use crate::cache::Cache;
use crate::domain::ProductId;
use api::{Reason, Refusal};
use platform::context;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tracing::{Instrument, Span};

/// Products that the cache forgets when this is dropped: also where a write fails, and nobody knows its outcome.
pub(crate) struct Forgetting {
    pub(crate) cache: Cache,
    pub(crate) products: Vec<ProductId>,
}

impl Drop for Forgetting {
    fn drop(&mut self) {
        for product in self.products.drain(..) {
            self.cache.forget(product);
        }
    }
}

/// Runs a write as part of this call, but in a task of its own: the caller may go away, and the write is committed all the
/// same.
///
/// # Errors
/// Those of the write; `INTERNAL` where it broke down.
pub(crate) async fn to_its_end<T: Send + 'static>(
    tasks: &TaskTracker,
    write: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let run = context::scope(context::current(), write).instrument(Span::current());
    tasks.spawn(run).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a write did not come to its end");
        Err(Refusal::new(Reason::Internal).into())
    })
}
