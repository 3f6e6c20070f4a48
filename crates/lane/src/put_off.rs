//! Operations that are tried again later, because each, alone, met a row that somebody else holds.
//!
//! They are tried one at a time, between the batches of the others. Where one succeeds, what held it up may have held up
//! more of them: two are tried together then, then four, until a try fails.

use crate::Work;
use crate::entry::Entry;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause; each doubles the one before.
const FIRST: Duration = Duration::from_millis(5);
/// The longest pause, unless tries take long or there are many.
const LONGEST: Duration = Duration::from_millis(500);
/// The pause is at least so many times what the try took: the rest of the time is that of the others.
const SHARE: u32 = 8;
/// The time that each operation leaves to each other one.
const EACH: Duration = Duration::from_millis(2);

/// All of them, by when they are due.
pub(crate) struct Waiting<W: Work> {
    by_due: BTreeMap<(Instant, u64), Entry<W>>,
    /// Tells those apart that are due at the same instant.
    number: u64,
    /// How many are tried together.
    group: usize,
}

impl<W: Work> Waiting<W> {
    pub(crate) fn new() -> Self {
        Self { by_due: BTreeMap::new(), number: 0, group: 1 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_due.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_due.is_empty()
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// Those that are to be tried now, together, `most` at most.
    pub(crate) fn take_due(&mut self, most: usize) -> Vec<Entry<W>> {
        let now = Instant::now();
        let mut taken = Vec::new();
        while taken.len() < self.group.min(most)
            && self.next_due().is_some_and(|due| due <= now)
            && let Some((_, next)) = self.by_due.pop_first()
        {
            taken.push(next);
        }
        taken
    }

    /// A try succeeded: what is left is due at once, twice as many at a time.
    pub(crate) fn hurry(&mut self) {
        self.group = self.group.saturating_mul(2);
        for (_, entry) in std::mem::take(&mut self.by_due) {
            self.insert(Instant::now(), entry);
        }
    }

    /// A try failed that was of several: each is tried alone.
    pub(crate) fn give_back(&mut self, tried: Vec<Entry<W>>) {
        self.group = 1;
        for entry in tried {
            self.insert(Instant::now(), entry);
        }
    }

    /// An operation failed alone, in a try that took so long: it is due after a pause that grows, and that leaves most of
    /// the time to others.
    pub(crate) fn later(&mut self, mut failed: Entry<W>, took: Duration) {
        self.group = 1;
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failed.put_off)).min(LONGEST);
        let others = EACH.saturating_mul(u32::try_from(self.len()).unwrap_or(u32::MAX));
        let pause = doubled.max(took.saturating_mul(SHARE)).max(others);
        failed.put_off = failed.put_off.saturating_add(1);
        self.insert(Instant::now() + pause, failed);
    }

    /// Takes out the operations that are not wanted any more.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(&Entry<W>) -> bool) {
        self.by_due.retain(|_, entry| is_wanted(entry));
    }

    fn insert(&mut self, due: Instant, entry: Entry<W>) {
        self.number += 1;
        self.by_due.insert((due, self.number), entry);
    }
}
