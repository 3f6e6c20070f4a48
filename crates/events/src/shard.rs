//! The shards that a schema's events are split into: order holds within a shard, and so within an aggregate.

/// How many shards every schema has. Rows carry their shard, so the number is fixed for the life of a schema.
pub const SHARDS: u8 = 16;

/// One of a schema's shards, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u8);

impl Shard {
    /// The shard with this number, if there is one.
    pub fn new(number: u8) -> Option<Self> {
        (number < SHARDS).then_some(Self(number))
    }

    /// The shard of an aggregate: FNV-1a over its kind and id, modulo [`SHARDS`].
    pub fn of(aggregate_kind: &str, aggregate_id: i64) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let hash = aggregate_kind
            .bytes()
            .chain(aggregate_id.to_le_bytes())
            .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        // FNV's low bits are its weakest: fold the high half in.
        let folded = (hash ^ (hash >> 32)) % u64::from(SHARDS);
        Self(u8::try_from(folded).unwrap_or_default())
    }

    /// All shards in ascending order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator + Clone {
        (0..SHARDS).map(Self)
    }

    /// Its number, 0 to 15.
    pub fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn column(self) -> i8 {
        i8::try_from(self.0).unwrap_or_default()
    }

    pub(crate) fn from_column(column: i8) -> db::Result<Self> {
        u8::try_from(column)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| db::Error::Corrupt(format!("outbox shard {column}")))
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One value a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerShard<T>([T; COUNT]);

const COUNT: usize = 16;

/// A position a shard; 0 stands before the first event.
pub type Positions = PerShard<i64>;

impl<T> PerShard<T> {
    /// Made from each shard.
    pub fn from_fn(mut value: impl FnMut(Shard) -> T) -> Self {
        let mut shards = Shard::all();
        Self(std::array::from_fn(|_| value(shards.next().unwrap_or(Shard(0)))))
    }

    /// The values with their shards, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Shard, &T)> {
        Shard::all().zip(&self.0)
    }
}

impl<T> std::ops::Index<Shard> for PerShard<T> {
    type Output = T;

    #[expect(clippy::indexing_slicing, reason = "a shard's number is below COUNT")]
    fn index(&self, shard: Shard) -> &T {
        &self.0[usize::from(shard.0)]
    }
}

impl<T> std::ops::IndexMut<Shard> for PerShard<T> {
    #[expect(clippy::indexing_slicing, reason = "a shard's number is below COUNT")]
    fn index_mut(&mut self, shard: Shard) -> &mut T {
        &mut self.0[usize::from(shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn an_aggregate_keeps_its_shard_across_releases() {
        let shards =
            [("order", 1), ("order", 2), ("wallet", 1), ("product", 9_007_199_254_740_991)]
                .map(|(kind, id)| Shard::of(kind, id).number());
        assert_eq!(shards, PINNED);
    }

    /// Rows in databases carry these: a change here breaks the order of aggregates that have unpublished events.
    const PINNED: [u8; 4] = [0, 8, 9, 9];

    #[test]
    fn consecutive_ids_spread_over_all_shards() {
        let mut counts = HashMap::new();
        for id in 1..=16_000 {
            *counts.entry(Shard::of("order", id)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), usize::from(SHARDS));
        assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
