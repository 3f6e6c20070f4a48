//! Order ids, taken from the journal's blocks before START.

use db::{Db, IdBlocks, Result};

/// Ids taken at once; a crash loses what is left of a block.
const BLOCK: i64 = 1_000;

pub(crate) struct OrderIds(IdBlocks);

impl OrderIds {
    pub(crate) fn new(db: Db) -> Self {
        Self(IdBlocks::new(db, "order", BLOCK))
    }

    /// An id that no order has had.
    pub(crate) async fn next(&self) -> Result<i64> {
        self.0.next().await
    }
}
