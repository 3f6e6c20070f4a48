//! What the control topic says: which generation there is, and how far the outbox is.

use crate::{PerShard, Shard};
use std::fmt;

/// The key of the record that names the generation; all others name a shard.
pub(super) const GENERATION: &str = "generation";

/// One life of the events topic: `ID OFFSET0 … OFFSET15`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) generation: String,
    /// Where each partition ended when it began.
    pub(super) starts: PerShard<i64>,
}

/// How far the outbox was in a generation, and where the stream stands if no record tells: `ID HEAD TOP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) generation: String,
    pub(super) head: i64,
    pub(super) top: i64,
}

impl Life {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let generation = words.next()?.to_owned();
        let starts: Vec<i64> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
        if starts.len() != Shard::all().len() {
            return None;
        }
        let mut starts = starts.into_iter();
        Some(Self { generation, starts: PerShard::from_fn(|_| starts.next().unwrap_or_default()) })
    }

    /// Partitions that end before it began are others than those in which it did.
    pub(super) fn fits(&self, ends: &PerShard<i64>) -> bool {
        self.starts.iter().all(|(shard, start)| *start <= ends[shard])
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.generation)?;
        self.starts.iter().try_for_each(|(_, start)| write!(f, " {start}"))
    }
}

impl Announced {
    /// The key of a shard's record.
    pub(super) fn key(shard: Shard) -> String {
        shard.to_string()
    }

    pub(super) fn parse(key: &str, value: &str) -> Option<(Shard, Self)> {
        let shard = key.parse().ok().and_then(Shard::new)?;
        let mut words = value.split(' ');
        let (generation, head, top) = (words.next()?, words.next()?, words.next()?);
        let (head, top) = (head.parse().ok()?, top.parse().ok()?);
        Some((shard, Self { generation: generation.to_owned(), head, top }))
    }

    /// A relay that is late takes nothing back.
    pub(super) fn at_least(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.generation == self.generation => {
                let (head, top) = (self.head.max(before.head), self.top.max(before.top));
                Self { head, top, ..self }
            }
            _ => self,
        }
    }
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.generation, self.head, self.top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else() {
        let starts = PerShard::from_fn(|shard| i64::from(shard.number()) * 10);
        let life = Life { generation: "g".to_owned(), starts };
        assert_eq!(Life::parse(&life.to_string()), Some(life));
        let shard = Shard::of("order", 1);
        let announced = Announced { generation: "g".to_owned(), head: 9, top: 4 };
        let read = Announced::parse(&Announced::key(shard), &announced.to_string());
        assert_eq!(read, Some((shard, announced)));
        for other in ["", "g", "g 1 2 3", "g a b"] {
            assert_eq!(Life::parse(other), None, "{other}");
        }
        assert_eq!(Announced::parse("16", "g 1 1"), None);
    }

    #[test]
    fn a_life_does_not_fit_partitions_that_are_shorter_than_it_began() {
        let life = Life { generation: "g".to_owned(), starts: PerShard::from_fn(|_| 5) };
        assert!(life.fits(&PerShard::from_fn(|_| 5)));
        assert!(!life.fits(&PerShard::from_fn(|shard| i64::from(shard.number()))));
    }
}
