//! Publishing what was numbered.

use super::{Error, Found, Fresh, MAX_PAUSE, MIN_PAUSE, Open, Relay, Seen, Shared, give_up};
use crate::bus::{Append, Message, StreamState};
use crate::numbering::{self, Ledger};
use crate::outage::Outage;
use crate::{PerShard, Shard};
use std::collections::BTreeMap;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

/// A shard of which the bus lacks something: the position that it has, and how many messages it may get.
type Wanted = (Shard, i64, i64);

impl Relay {
    pub(super) async fn publish(&self, shared: &Shared) {
        let (mut pause, mut outage) = (MIN_PAUSE, Outage::of("publishing events"));
        loop {
            let rest = match self.publish_once(shared).await {
                Ok(found) => {
                    outage.over();
                    pause = MIN_PAUSE;
                    match found {
                        Found::AllItCouldCarry => continue,
                        Found::Something => self.options.active,
                        Found::Nothing => self.options.idle,
                    }
                }
                Err(error) => {
                    outage.failed(&error);
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                    continue;
                }
            };
            // Elapsed or woken, the next cycle looks for itself.
            let _ = timeout(rest, shared.numbered.notified()).await;
        }
    }

    async fn publish_once(&self, shared: &Shared) -> Result<Found, Error> {
        let asked = Instant::now();
        let state = self.bus.state().await?;
        shared.seen.send_replace(Some(Seen::new(asked, &state)));
        if shared.take_is_ahead()
            && let Err(error) = self.bus.reset(&state.generation).await
        {
            shared.is_ahead.store(true, std::sync::atomic::Ordering::SeqCst);
            return Err(error.into());
        }
        let Some(ledgers) = *shared.ledgers.borrow() else { return Ok(Found::Nothing) };
        let appends = self.appends(shared, &ledgers, &state.shards).await?;
        if appends.is_empty() {
            return Ok(Found::Nothing);
        }
        let most = appends.iter().map(|append| append.messages.len()).max().unwrap_or_default();
        let refilled: usize = appends
            .iter()
            .filter(|append| append.after < ledgers[append.shard].published)
            .map(|append| append.messages.len())
            .sum();
        if refilled > 0 {
            info!(messages = refilled, "refilling the bus, which lost events, from the outbox");
        }
        self.bus.publish(&state.generation, appends).await?;
        shared.published.notify_one();
        Ok(if self.is_full(most) { Found::AllItCouldCarry } else { Found::Something })
    }

    async fn appends(
        &self,
        shared: &Shared,
        ledgers: &PerShard<Ledger>,
        streams: &PerShard<StreamState>,
    ) -> Result<Vec<Append>, Error> {
        let due = ledgers.iter().filter(|(shard, ledger)| {
            let StreamState { top, head, .. } = streams[*shard];
            // Where the bus has more, another relay has numbered since, or this one has not seen to it yet.
            top <= ledger.last
                && ((top < ledger.last && self.room(&streams[*shard]) > 0)
                    || head.is_none_or(|head| head < ledger.last))
        });
        let due: Vec<Shard> = due.map(|(shard, _)| shard).collect();
        let lacks = |shard: &Shard| {
            let (stream, last) = (&streams[*shard], ledgers[*shard].last);
            let room = self.room(stream);
            (stream.top < last && room > 0).then_some((*shard, stream.top, room))
        };
        let wanted: Vec<Wanted> = due.iter().filter_map(lacks).collect();
        // Mostly a stream lacks what got its numbers just now, and nothing else: no need to read that again.
        let (mut messages, in_table) = at_hand(shared, &wanted);
        if !in_table.is_empty() {
            messages.extend(self.read(shared, &in_table).await?);
        }
        let append = |shard: Shard| {
            let (after, head) = (streams[shard].top, ledgers[shard].last);
            let asked = wanted.iter().any(|(wanted, ..)| *wanted == shard);
            let messages = messages.remove(&shard).unwrap_or_default();
            let through = match messages.last() {
                Some(last) => last.position,
                // Purged: the outbox has nothing left that leads to its head.
                None if asked => head,
                None => after,
            };
            Append { shard, after, through, head, messages }
        };
        Ok(due.into_iter().map(append).collect())
    }

    async fn read(
        &self,
        shared: &Shared,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<Shard, Vec<Message>>, Error> {
        let mut slot = shared.session.lock().await;
        let Open { session, .. } = Open::of(&mut slot, &self.db).await?;
        let read = match numbering::numbered(session.conn(), wanted).await {
            Ok(messages) => session.rollback().await.map(|()| messages),
            Err(error) => Err(error),
        };
        if let Err(error) = &read {
            give_up(&mut slot, error).await;
        }
        Ok(read?)
    }

    fn room(&self, stream: &StreamState) -> i64 {
        if !self.bus.holds_back() {
            return i64::from(self.options.batch);
        }
        let ahead = stream.acknowledged.map_or(0, |done| stream.top.saturating_sub(done));
        self.options.window.saturating_sub(ahead).clamp(0, i64::from(self.options.batch))
    }
}

/// What was numbered last and follows what the bus has; and what has to be read.
fn at_hand(shared: &Shared, wanted: &[Wanted]) -> (BTreeMap<Shard, Vec<Message>>, Vec<Wanted>) {
    let (mut messages, mut in_table) = (BTreeMap::new(), Vec::new());
    let mut all = shared.fresh();
    for (shard, top, room) in wanted.iter().copied() {
        match all.remove(&shard) {
            Some(Fresh { after, messages: mut fresh }) if after == top => {
                fresh.truncate(usize::try_from(room).unwrap_or_default());
                messages.insert(shard, fresh);
            }
            _ => in_table.push((shard, top, room)),
        }
    }
    (messages, in_table)
}
