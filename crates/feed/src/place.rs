//! Where a stream stands in one source: a position per shard, and how much of the next message was sent.
//!
//! A place also tells which message each position was of. After the database was put back to an earlier state, another
//! message may have got the number; a client that went on from there would miss what came in between.

use crate::bytes::{self, Reader};
use events::feed::Extent;
use events::{PerShard, Positions, Shard};

/// In place of the shard of a message that was begun, where none was.
const NONE: u8 = u8::MAX;

/// A place in a source's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The last message of each shard of which everything was sent; 0 stands before the first.
    positions: Positions,
    /// Of the messages at the positions; `None` where none was sent.
    marks: PerShard<Option<i64>>,
    begun: Option<Begun>,
}

/// A message of which some events were sent, and not all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begun {
    shard: Shard,
    mark: i64,
    /// Events that were sent, 1 or more.
    events: usize,
}

/// How far a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) shard: Shard,
    /// The message's position.
    pub(crate) position: i64,
    /// The message's mark, 1 to 2^32.
    pub(crate) mark: i64,
    /// Events of it that were sent.
    pub(crate) events: usize,
    /// Events that it holds.
    pub(crate) of: usize,
}

impl Place {
    /// Before the oldest event there is.
    pub(crate) fn oldest(extents: &PerShard<Extent>) -> Self {
        let before = |shard: Shard| {
            let Extent { first, last } = extents[shard];
            first.map_or(last, |first| first.saturating_sub(1))
        };
        let positions = PerShard::from_fn(before);
        Self { positions, marks: PerShard::default(), begun: None }
    }

    /// The last message of a shard of which everything was sent.
    pub(crate) fn position(&self, shard: Shard) -> i64 {
        self.positions[shard]
    }

    /// The mark of the message at the position, if it is known.
    pub(crate) fn mark(&self, shard: Shard) -> Option<i64> {
        self.marks[shard]
    }

    /// Events of the shard's next message that were sent, where that has this mark. Another message in its stead is new.
    pub(crate) fn sent(&self, shard: Shard, mark: i64) -> usize {
        let begun = self.begun.filter(|begun| (begun.shard, begun.mark) == (shard, mark));
        begun.map_or(0, |begun| begun.events)
    }

    /// Moves on in the shard's next message.
    pub(crate) fn advance(&mut self, sent: Sent) {
        let Sent { shard, position, mark, events, of } = sent;
        if events < of {
            self.begun = Some(Begun { shard, mark, events });
            return;
        }
        self.positions[shard] = position;
        self.marks[shard] = Some(mark);
        self.begun = self.begun.filter(|begun| begun.shard != shard);
    }

    /// The shards in which there is more than was sent, up to these last positions.
    pub(crate) fn behind(&self, last: &Positions) -> Vec<(Shard, i64)> {
        // A message that was begun is ended before another is.
        let begun = self.begun.map(|begun| begun.shard);
        let behind = |(shard, last): (Shard, &i64)| {
            let position = self.positions[shard];
            (position < *last).then_some((shard, position))
        };
        let all = last.iter().filter_map(behind);
        all.filter(|(shard, _)| begun.is_none_or(|begun| begun == *shard)).collect()
    }

    /// Appends the place: the set of shards that have a position, the set of those of them that have a mark, then both of
    /// each such shard, then what was begun.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend(set(|shard| self.positions[shard] > 0));
        out.extend(set(|shard| self.marks[shard].is_some()));
        for (shard, position) in self.positions.iter().filter(|(_, position)| **position > 0) {
            bytes::put(out, position.unsigned_abs());
            out.extend(self.marks[shard].map(mark_bytes).into_iter().flatten());
        }
        let Some(Begun { shard, mark, events }) = self.begun else {
            out.push(NONE);
            return;
        };
        out.push(shard.number());
        out.extend(mark_bytes(mark));
        bytes::put(out, count(events));
    }

    /// The place that was put, or one that is put in other bytes: see [`Reader::number`].
    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let [positioned, marked] = [from.take()?, from.take()?].map(u16::from_le_bytes);
        let mut place =
            Self { positions: Positions::default(), marks: PerShard::default(), begun: None };
        for shard in Shard::all().filter(|shard| has(positioned, *shard)) {
            place.positions[shard] = i64::try_from(from.number()?).ok()?;
            if has(marked, shard) {
                place.marks[shard] = Some(mark(from.take()?));
            }
        }
        let [begun] = from.take()?;
        if begun == NONE {
            return Some(place);
        }
        let (shard, mark) = (Shard::new(begun)?, mark(from.take()?));
        let events = usize::try_from(from.number()?).ok().filter(|events| *events > 0)?;
        place.begun = Some(Begun { shard, mark, events });
        Some(place)
    }
}

/// A set of shards: a bit each.
fn set(holds: impl Fn(Shard) -> bool) -> [u8; 2] {
    let bit = |shard: Shard| 1_u16 << shard.number();
    Shard::all().filter(|shard| holds(*shard)).fold(0, |set, shard| set | bit(shard)).to_le_bytes()
}

fn has(set: u16, shard: Shard) -> bool {
    (set >> shard.number()) & 1 == 1
}

/// A mark as it is: it is random, so that a number of any size would mostly take a byte more.
fn mark_bytes(mark: i64) -> [u8; 4] {
    let [.., a, b, c, d] = mark.saturating_sub(1).to_be_bytes();
    [a, b, c, d]
}

fn mark(bytes: [u8; 4]) -> i64 {
    i64::from(u32::from_be_bytes(bytes)).saturating_add(1)
}

fn count(events: usize) -> u64 {
    u64::try_from(events).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u8) -> Shard {
        Shard::new(number).unwrap()
    }

    fn last(positions: &[(u8, i64)]) -> Positions {
        let mut last = Positions::default();
        for (number, position) in positions {
            last[shard(*number)] = *position;
        }
        last
    }

    fn beginning() -> Place {
        Place::oldest(&PerShard::default())
    }

    fn sent(number: u8, (position, mark): (i64, i64), events: usize, of: usize) -> Sent {
        Sent { shard: shard(number), position, mark, events, of }
    }

    #[test]
    fn the_oldest_place_is_before_what_is_retained_and_after_what_is_not() {
        let mut extents = PerShard::default();
        extents[shard(1)] = Extent { first: Some(5), last: 9 };
        extents[shard(2)] = Extent { first: None, last: 9 };
        let place = Place::oldest(&extents);
        assert_eq!([0, 1, 2].map(|number| place.position(shard(number))), [0, 4, 9]);
        assert_eq!(place.behind(&last(&[(1, 9), (2, 9)])), [(shard(1), 4)]);
    }

    #[test]
    fn a_message_counts_when_all_of_its_events_were_sent_and_no_other_is_begun_before() {
        let mut place = beginning();
        place.advance(sent(3, (7, 1), 1, 1));
        let last = last(&[(1, 2), (3, 9)]);
        assert_eq!(place.behind(&last), [(shard(1), 0), (shard(3), 7)]);
        place.advance(sent(3, (8, 9), 1, 2));
        assert_eq!((place.position(shard(3)), place.sent(shard(3), 9)), (7, 1));
        assert_eq!(place.behind(&last), [(shard(3), 7)]);
        place.advance(sent(3, (8, 9), 2, 2));
        assert_eq!((place.position(shard(3)), place.sent(shard(3), 9)), (8, 0));
        assert_eq!((place.mark(shard(3)), place.mark(shard(1))), (Some(9), None));
        assert_eq!(place.behind(&last), [(shard(1), 0), (shard(3), 8)]);
    }

    #[test]
    fn a_message_that_took_the_place_of_one_that_was_begun_is_new() {
        let mut place = beginning();
        place.advance(sent(3, (8, 9), 1, 5));
        assert_eq!(place.sent(shard(3), 9), 1);
        assert_eq!((place.sent(shard(3), 10), place.sent(shard(4), 9)), (0, 0));
        place.advance(sent(3, (8, 10), 1, 1));
        assert_eq!((place.position(shard(3)), place.mark(shard(3))), (8, Some(10)));
        assert_eq!(place.sent(shard(3), 9), 0);
    }
}
