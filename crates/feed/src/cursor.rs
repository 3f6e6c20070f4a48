//! Where a stream stands: a position a shard, and how many events of the next message it has had.
//!
//! A token also tells which message each position was of. After the database was put back to an earlier state, another one
//! may have got the number; whoever went on from there would miss what came in between.

use api::Refusal;
use api::events::v1::EventSource;
use events::feed::Extent;
use events::{PerShard, Positions, Shard};
use platform::page::PageToken;

/// The positions, the marks of their messages, then the shard whose next message was begun (−1: none), and the events of it
/// that were had.
const NUMBERS: usize = 16 + 16 + 2;
const CALL: &str = "StreamEvents";

/// A place in a source's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    positions: Positions,
    /// Of the messages at the positions; 0 where none was had.
    marks: PerShard<i64>,
    begun: Option<(Shard, usize)>,
}

impl Cursor {
    /// Before the oldest event there is.
    pub(crate) fn oldest(extents: &PerShard<Extent>) -> Self {
        let before = |shard: Shard| {
            let Extent { first, last } = extents[shard];
            first.map_or(last, |first| first.saturating_sub(1))
        };
        Self { positions: PerShard::from_fn(before), marks: PerShard::default(), begun: None }
    }

    /// The place that a token names; `None` for the empty one.
    ///
    /// # Errors
    /// `INVALID_FIELD` for a token that was not given out for this source.
    pub(crate) fn read(source: EventSource, token: &str) -> Result<Option<Self>, Refusal> {
        let invalid = || {
            Refusal::invalid_field(
                "after",
                "must be the `after` of an earlier response for this source, or empty",
            )
        };
        let numbers = PageToken::decode::<[i64; NUMBERS]>(CALL, source.as_str_name(), token);
        let Some(numbers) = numbers.map_err(|_| invalid())? else { return Ok(None) };
        let [all @ .., shard, had] = numbers;
        let mut all = all.into_iter();
        let [positions, marks] =
            [(); 2].map(|()| PerShard::from_fn(|_| all.next().unwrap_or_default()));
        let shard = u8::try_from(shard).ok().and_then(Shard::new);
        let begun = shard.zip(usize::try_from(had).ok());
        Ok(Some(Self { positions, marks, begun }))
    }

    /// The token that leads here.
    pub(crate) fn token(&self, source: EventSource) -> String {
        let (shard, had) = match self.begun {
            Some((shard, had)) => {
                (i64::from(shard.number()), i64::try_from(had).unwrap_or_default())
            }
            None => (-1, 0),
        };
        let of = |numbers: &PerShard<i64>| numbers.iter().map(|(_, number)| *number).collect();
        let [positions, marks]: [Vec<i64>; 2] = [&self.positions, &self.marks].map(of);
        let mut numbers = positions.into_iter().chain(marks).chain([shard, had]);
        let numbers: [i64; NUMBERS] = std::array::from_fn(|_| numbers.next().unwrap_or_default());
        PageToken::encode(CALL, source.as_str_name(), &numbers)
    }

    /// The last message of a shard of which everything was had.
    pub(crate) fn position(&self, shard: Shard) -> i64 {
        self.positions[shard]
    }

    /// Events of the shard's next message that were had.
    pub(crate) fn had(&self, shard: Shard) -> usize {
        self.begun.filter(|(begun, _)| *begun == shard).map_or(0, |(_, had)| had)
    }

    /// The mark of the message at the position, if it is known.
    pub(crate) fn mark(&self, shard: Shard) -> Option<i64> {
        Some(self.marks[shard]).filter(|mark| *mark != 0)
    }

    /// So many events of the shard's next message, which has this position and mark, were had, of `all` that it holds.
    pub(crate) fn advance(&mut self, shard: Shard, at: (i64, i64), had: usize, all: usize) {
        if had < all {
            self.begun = Some((shard, had));
            return;
        }
        (self.positions[shard], self.marks[shard]) = at;
        self.begun = self.begun.filter(|(begun, _)| *begun != shard);
    }

    /// The shards in which there is more than was had, up to these last positions.
    pub(crate) fn behind(&self, last: &Positions) -> Vec<(Shard, i64)> {
        // A message that was begun is ended before another is.
        let begun = self.begun.map(|(shard, _)| shard);
        let behind = |(shard, last): (Shard, &i64)| {
            let position = self.positions[shard];
            (position < *last).then_some((shard, position))
        };
        let all = last.iter().filter_map(behind);
        all.filter(|(shard, _)| begun.is_none_or(|begun| begun == *shard)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: EventSource = EventSource::Order;

    fn shard(number: u8) -> Shard {
        Shard::new(number).unwrap()
    }

    fn at(numbers: &[(u8, i64)]) -> Positions {
        let mut positions = Positions::default();
        for (number, position) in numbers {
            positions[shard(*number)] = *position;
        }
        positions
    }

    #[test]
    fn a_token_leads_back_and_belongs_to_its_source() {
        let marks = at(&[(3, 1), (15, 1 << 32)]);
        let mut cursor = Cursor { positions: at(&[(3, 7), (15, 1 << 52)]), marks, begun: None };
        assert_eq!(Cursor::read(ORDER, &cursor.token(ORDER)), Ok(Some(cursor)));
        cursor.advance(shard(3), (8, 9), 2, 5);
        let token = cursor.token(ORDER);
        assert_eq!(Cursor::read(ORDER, &token), Ok(Some(cursor)));
        assert!(Cursor::read(EventSource::Wallet, &token).is_err());
        assert!(Cursor::read(ORDER, "nonsense").is_err());
        assert_eq!(Cursor::read(ORDER, ""), Ok(None));
    }

    #[test]
    fn a_message_counts_when_all_of_its_events_were_had_and_nothing_else_comes_before() {
        let mut cursor =
            Cursor { positions: at(&[(3, 7)]), marks: PerShard::default(), begun: None };
        let last = at(&[(1, 2), (3, 9)]);
        assert_eq!(cursor.behind(&last), [(shard(1), 0), (shard(3), 7)]);
        cursor.advance(shard(3), (8, 9), 1, 2);
        assert_eq!((cursor.position(shard(3)), cursor.had(shard(3))), (7, 1));
        assert_eq!(cursor.behind(&last), [(shard(3), 7)]);
        cursor.advance(shard(3), (8, 9), 2, 2);
        assert_eq!((cursor.position(shard(3)), cursor.had(shard(3))), (8, 0));
        assert_eq!((cursor.mark(shard(3)), cursor.mark(shard(1))), (Some(9), None));
        assert_eq!(cursor.behind(&last), [(shard(1), 0), (shard(3), 8)]);
    }
}
