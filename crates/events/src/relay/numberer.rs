//! Numbering what was committed.

use super::{Error, Found, Fresh, MAX_PAUSE, MIN_PAUSE, Open, Relay, Seen, Shared, give_up};
use crate::bus::Message;
use crate::numbering::{self, Ledger, Owned, Unnumbered};
use crate::outage::Outage;
use crate::{PerShard, Positions, Shard};
use db::{Conn, Script, Session};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, warn};

/// How long a relay that has much before it waits until what it numbered is on the bus: it need not be read again then.
const HAND_OVER: Duration = Duration::from_millis(250);
/// Numbers that a shard may give in a second, at most, so that numbers that begin with the second are new.
const PER_SECOND: i64 = 1 << 20;
/// Numbers stay below this: Redis counts in floating point.
const MOST: i64 = 1 << 52;

/// What a relay remembers while it numbers.
#[derive(Default)]
struct Course {
    /// When the present session began.
    since: Option<Instant>,
    /// The highest numbers seen in any session.
    highest: Positions,
    /// Whether the bus was heard in this session, before anything was numbered.
    is_witnessed: bool,
    /// What the database said last of what is published, and when.
    said: Option<(Instant, Positions)>,
    /// Where numbers were given in this session: those that follow are new, too.
    has_numbered: PerShard<bool>,
}

/// A cycle.
enum Cycle {
    Done(Found),
    /// The bus has to be heard first.
    Unwitnessed,
}

impl Relay {
    pub(super) async fn number(&self, shared: &Shared) {
        let (mut course, mut pause) = (Course::default(), MIN_PAUSE);
        let mut outage = Outage::of("numbering events");
        loop {
            let started = Instant::now();
            match self.number_once(shared, &mut course).await {
                Ok(cycle) => {
                    outage.over();
                    pause = MIN_PAUSE;
                    self.rest(shared, &cycle, started).await;
                }
                Err(error) => {
                    outage.failed(&error);
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    async fn rest(&self, shared: &Shared, cycle: &Cycle, started: Instant) {
        let rest = match cycle {
            Cycle::Unwitnessed => {
                shared.numbered.notify_one();
                let mut seen = shared.seen.subscribe();
                seen.mark_unchanged();
                // Told or not, the next cycle looks for itself.
                let _ = timeout(self.options.active, seen.changed()).await;
                return;
            }
            Cycle::Done(Found::AllItCouldCarry) => {
                let _ = timeout(HAND_OVER, shared.published.notified()).await;
                return;
            }
            Cycle::Done(Found::Something) => self.options.active,
            Cycle::Done(Found::Nothing) => self.options.idle,
        };
        // Elapsed or rung, the next cycle looks for itself.
        let _ = timeout(rest, self.bell.0.notified()).await;
        sleep_until(started + self.options.gather).await;
    }

    async fn number_once(&self, shared: &Shared, course: &mut Course) -> Result<Cycle, Error> {
        let mut slot = shared.session.lock().await;
        let open = Open::of(&mut slot, &self.db).await?;
        course.enter(open.since);
        let result = self.number_on(&mut open.session, shared, course).await;
        if let Err(error) = &result {
            give_up(&mut slot, error).await;
        }
        Ok(result?)
    }

    async fn number_on(
        &self,
        session: &mut Session,
        shared: &Shared,
        course: &mut Course,
    ) -> db::Result<Cycle> {
        let mut ledgers = numbering::survey(session.conn()).await?;
        let seen = *shared.seen.borrow();
        let mut floors = course.floors(seen.as_ref());
        let before = course
            .said
            .replace((Instant::now(), PerShard::from_fn(|shard| ledgers[shard].published)));
        let published = |shard: Shard, said: i64, last: i64| {
            let Some(seen) = &seen else { return said };
            let top = seen.tops[shard].min(last);
            // Another relay may have written what it saw later. Only a bus that was asked since then has lost something.
            let is_lost = before.is_some_and(|(at, said)| seen.asked > at && said[shard] > top);
            if top > said || is_lost { top } else { said }
        };
        let is_due = |shard: Shard, ledger: &Ledger| {
            ledger.waiting
                || ledger.last < floors[shard]
                || published(shard, ledger.published, ledger.last) != ledger.published
        };
        let due: Vec<Shard> = ledgers
            .iter()
            .filter(|(shard, ledger)| is_due(*shard, ledger))
            .map(|(shard, _)| shard)
            .collect();
        let is_waiting = ledgers.iter().any(|(_, ledger)| ledger.waiting);
        if !course.is_witnessed {
            course.hear(seen.as_ref(), &ledgers);
        }
        if is_waiting && !course.is_witnessed && !course.has_waited(self.options.witness) {
            session.rollback().await?;
            shared.ledgers.send_replace(Some(ledgers));
            return Ok(Cycle::Unwitnessed);
        }
        if due.is_empty() {
            session.rollback().await?;
            shared.ledgers.send_replace(Some(ledgers));
            return Ok(Cycle::Done(Found::Nothing));
        }
        let mut owned = numbering::lock(session.conn(), &due).await?;
        for (shard, ledger) in &mut owned {
            let is_blind = !course.is_witnessed && !course.has_numbered[*shard];
            if is_blind && ledgers[*shard].waiting && ledger.last > 0 {
                floors[*shard] = floors[*shard].max(far_above(ledger.last));
            }
            ledger.published = published(*shard, ledger.published, ledger.last);
        }
        let waiting: Vec<Shard> =
            owned.keys().copied().filter(|shard| ledgers[*shard].waiting).collect();
        let batch = self.options.batch.into();
        let rows = take(session.conn(), &mut owned, &floors, &waiting, batch).await?;
        session.commit(Script::default()).await?;
        let most = rows.values().map(Vec::len).max().unwrap_or_default();
        note(shared, course, &owned, &mut ledgers, rows);
        shared.ledgers.send_replace(Some(ledgers));
        shared.numbered.notify_one();
        Ok(Cycle::Done(match most {
            _ if owned.is_empty() => Found::Nothing,
            most if self.is_full(most) => Found::AllItCouldCarry,
            _ => Found::Something,
        }))
    }
}

/// Takes note of what was committed.
fn note(
    shared: &Shared,
    course: &mut Course,
    owned: &BTreeMap<Shard, Owned>,
    ledgers: &mut PerShard<Ledger>,
    mut rows: BTreeMap<Shard, Vec<Unnumbered>>,
) {
    let mut fresh = shared.fresh();
    for (shard, ledger) in owned {
        let rows = rows.remove(shard).unwrap_or_default();
        let gap = ledger.last - ledger.was - i64::try_from(rows.len()).unwrap_or_default();
        if gap > 0 {
            let (after, last) = (ledger.was, ledger.last);
            if course.is_witnessed {
                error!(%shard, after, last, "the database was put back; numbers go on above the lost ones");
                shared.is_ahead.store(true, Ordering::SeqCst);
            } else {
                warn!(%shard, after, last, "numbers go on far above the last, as the bus cannot be asked");
            }
            course.has_numbered[*shard] = true;
            fresh.remove(shard);
        } else if !rows.is_empty() {
            let positions = ledger.was.saturating_add(1)..;
            let messages = positions.zip(rows).map(|(position, row)| {
                let Unnumbered { envelope, .. } = row;
                Message { position, envelope }
            });
            let messages = messages.collect();
            fresh.insert(*shard, Fresh { after: ledger.was, messages });
            course.has_numbered[*shard] = true;
        }
        ledgers[*shard].last = ledger.last;
        ledgers[*shard].published = ledger.published;
        course.highest[*shard] = course.highest[*shard].max(ledger.last);
    }
    for (shard, ledger) in ledgers.iter() {
        course.highest[shard] = course.highest[shard].max(ledger.last);
    }
}

/// Numbers waiting rows of shards that are locked, or should be, above a floor each. Answers the rows, of which nothing
/// counts before it is committed.
///
/// # Errors
/// A conflict where another relay has numbered some of them.
pub(super) async fn take(
    conn: &mut Conn,
    owned: &mut BTreeMap<Shard, Owned>,
    floors: &Positions,
    waiting: &[Shard],
    batch: usize,
) -> db::Result<BTreeMap<Shard, Vec<Unnumbered>>> {
    let above = floors
        .iter()
        .filter(|(shard, floor)| owned.get(shard).is_some_and(|ledger| ledger.last < **floor));
    let above: BTreeMap<Shard, i64> = above.map(|(shard, floor)| (shard, *floor)).collect();
    if !above.is_empty() {
        numbering::rewind(conn, owned, &above).await?;
    }
    let rows = numbering::unnumbered(conn, waiting, batch).await?;
    numbering::number(conn, owned, &rows).await?;
    numbering::mark(conn, owned).await?;
    Ok(rows)
}

impl Course {
    /// A session that is new may be of another server, or of one that was put back to an earlier state.
    fn enter(&mut self, since: Instant) {
        if self.since != Some(since) {
            let highest = self.highest;
            *self = Self { since: Some(since), highest, ..Self::default() };
        }
    }

    /// Numbers up to these are taken.
    fn floors(&self, seen: Option<&Seen>) -> Positions {
        let known = |shard: Shard| seen.map_or(0, |seen| seen.known[shard]);
        PerShard::from_fn(|shard| known(shard).max(self.highest[shard]))
    }

    /// Whether the bus has told, since this session began, which numbers it knows.
    fn hear(&mut self, seen: Option<&Seen>, ledgers: &PerShard<Ledger>) {
        let is_new = ledgers.iter().all(|(_, ledger)| ledger.last == 0);
        self.is_witnessed = seen.is_some_and(|seen| {
            let in_time = self.since.is_some_and(|since| seen.asked >= since);
            in_time && (seen.is_witness || is_new)
        });
    }

    fn has_waited(&self, patience: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= patience)
    }
}

/// A number above all that can have been given after the last one that is on record: it counts from 1970, a million a
/// second. A clock that is wrong makes it larger than need be, or just above the last one.
fn far_above(last: i64) -> i64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let by_clock = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(PER_SECOND);
    let above = last.saturating_add(PER_SECOND);
    if by_clock < MOST { above.max(by_clock) } else { above }
}

#[cfg(test)]
mod tests;
