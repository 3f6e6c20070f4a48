//! Ids from blocks taken from a table, so that no clock and no node number can make a duplicate.

use crate::{Conn, Db, Error, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::ops::Range;
use tokio::sync::Mutex;

diesel::table! {
    id_block (name) {
        name -> VarChar,
        next_id -> BigInt,
    }
}

/// Ids stay exact in clients whose only number is a double: below 2^53.
const LIMIT: i64 = 1 << 53;

/// Hands out ids of one kind. A block that was taken and not used up is lost: ids have gaps, never repeats.
pub struct IdBlocks {
    db: Db,
    name: &'static str,
    size: i64,
    block: Mutex<Range<i64>>,
}

impl IdBlocks {
    /// Ids named `name` in the schema's `id_block` table, taken `size` at a time.
    pub fn new(db: Db, name: &'static str, size: i64) -> Self {
        Self { db, name, size, block: Mutex::new(0..0) }
    }

    /// The next id: positive, below 2^53.
    ///
    /// # Errors
    /// Those of the database when a new block is due.
    pub async fn next(&self) -> Result<i64> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let (name, size) = (self.name, self.size);
        *block =
            self.db.tx(async move |conn: &mut Conn| take_block(conn, name, size).await).await?;
        block.next().ok_or_else(|| Error::Corrupt(format!("id block {name} is empty")))
    }
}

async fn take_block(conn: &mut Conn, name: &str, size: i64) -> Result<Range<i64>> {
    let first = id_block::table
        .find(name)
        .select(id_block::next_id)
        .for_update()
        .first::<i64>(conn)
        .await
        .optional()?
        .ok_or_else(|| Error::Corrupt(format!("no id block named {name}: run the migrations")))?;
    let next = first
        .checked_add(size)
        .filter(|next| *next < LIMIT)
        .ok_or_else(|| Error::Corrupt(format!("ids named {name} are used up")))?;
    diesel::update(id_block::table.find(name))
        .set(id_block::next_id.eq(next))
        .execute(conn)
        .await?;
    Ok(first..next)
}
