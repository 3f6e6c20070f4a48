//! One source of one client's stream: what the client lacks, page by page, then what comes.

use crate::answers::{Answers, Gone};
use crate::outbox::Outbox;
use crate::place::Sent;
use crate::tail::Seen;
use api::{Reason, Refusal};
use events::Shard;
use events::bus::Message;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::error;

/// Messages of one shard that are read at once: a page of all shards is a few MiB at most.
const PAGE: u16 = 16;

/// A source on its way to a client. It has a task of its own and reads on its own connections, so that it keeps no other
/// source waiting; it holds one page at most.
pub(crate) struct Branch {
    outbox: Outbox,
    seen: watch::Receiver<Seen>,
    /// Silences of the database when the stream began.
    silences: u64,
    answers: Arc<Answers>,
}

/// Why a stream ends before its client does.
#[derive(Debug)]
pub(crate) enum End {
    Gone,
    Refused(Refusal),
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Reason> for End {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl Branch {
    pub(crate) fn new(outbox: Outbox, answers: Arc<Answers>) -> Self {
        let seen = outbox.tail.follow();
        let silences = seen.borrow().silences;
        Self { outbox, seen, silences, answers }
    }

    /// Sends until something ends the stream.
    pub(crate) async fn run(mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), End> {
        let Seen { last, silences } = *self.seen.borrow_and_update();
        if silences != self.silences {
            return Err(Reason::Unavailable.into());
        }
        let behind = self.answers.behind(self.outbox.source, &last);
        if behind.is_empty() {
            self.answers.tell().await?;
            return tokio::select! {
                gone = self.answers.gone() => Err(gone.into()),
                changed = self.seen.changed() => changed.map_err(|_| Reason::Unavailable.into()),
            };
        }
        let mut pages = self.outbox.read(behind.clone(), PAGE).await?;
        for (shard, position) in behind {
            let page = pages.remove(&shard).unwrap_or_default();
            // Numbered and not there, or not next: deleted meanwhile.
            if page.first().is_none_or(|first| !follows(first, position)) {
                let oldest = page.first().map(|first| first.position);
                return Err(self.outbox.purged(shard, position, oldest).into());
            }
            for message in page {
                self.send(shard, message).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, shard: Shard, message: Message) -> Result<(), Gone> {
        let source = self.outbox.source;
        let (position, mark) = (message.position, message.mark());
        let events = message.open(shard).unwrap_or_else(|letter| {
            error!(%shard, position, reason = letter.reason, "a row of the outbox makes no sense");
            Vec::new()
        });
        let of = events.len();
        let sent = |events| Sent { shard, position, mark, events, of };
        let before = self.answers.sent(source, shard, mark);
        if before >= of {
            self.answers.advance(source, sent(of));
            return Ok(());
        }
        for (number, event) in (1..).zip(events).skip(before) {
            self.answers.give(source, sent(number), event.envelope).await?;
        }
        Ok(())
    }
}

/// Whether nothing is missing between the position and the row.
fn follows(row: &Message, position: i64) -> bool {
    row.position <= position.saturating_add(1) || (position > 0 && row.may_follow(position))
}
