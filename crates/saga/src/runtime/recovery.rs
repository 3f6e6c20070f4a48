//! Driving the sagas that nobody drives: those of dead replicas, and strays of our own.

use super::control::Wanted;
use super::engine::Inner;
use crate::journal::{CLAIMED_AT_ONCE, Pulse, Running, RunningState};
use chrono::TimeDelta;
use participant::SagaId;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, error, info, info_span, warn};

/// Every how many beats strays and dead heartbeats are looked for.
const SWEEP_EVERY: u32 = 5;
/// The pause before recovery starts again that broke down.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What recovery remembers from one round to the next.
struct Recovery {
    pulse: Pulse,
    rooms: Arc<Semaphore>,
    /// Sagas that are this replica's and that nobody drives yet.
    pending: Vec<Running>,
}

/// A standing sweep, until the engine stops. One that panics starts again.
pub(super) async fn supervise(inner: Arc<Inner>) {
    while !inner.supervised("recovery", run(&inner)).await {
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = inner.stopping.cancelled() => return,
        }
    }
}

async fn run(inner: &Arc<Inner>) {
    let rooms = Arc::new(Semaphore::new(inner.options.max_live.max(1)));
    let mut recovery = Recovery { pulse: Pulse::default(), rooms, pending: Vec::new() };
    let mut beat = tokio::time::interval(inner.options.heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        tokio::select! {
            _ = beat.tick() => {}
            () = inner.stopping.cancelled() => return,
        }
        if let Err(error) = recovery.sweep(inner, round).await {
            warn!(%error, "recovery could not reach the journal");
        }
    }
}

impl Recovery {
    async fn sweep(&mut self, inner: &Arc<Inner>, round: u32) -> db::Result<()> {
        // The deadlines of what is taken over are judged by the database's clock, too.
        if inner.journal.clock().offset().is_none() {
            inner.journal.clock().measure().await?;
        }
        let beat = inner.journal.beat(&mut self.pulse).await?;
        // What an earlier round claimed and could not begin.
        self.drive(inner).await?;
        let plans = inner.plan_ids();
        // Those that this program cannot run stay free for the replicas that can.
        let mut left = Vec::new();
        let mut above = SagaId([0; 16]);
        // Claim no more than there is room for: what is left stays free for other replicas.
        while !beat.paused && self.rooms.available_permits() > 0 {
            let most = self.rooms.available_permits().min(CLAIMED_AT_ONCE);
            let found = inner.journal.ownerless(&beat, &plans, above, most).await?;
            let Some(last) = found.last() else { break };
            above = last.start.saga;
            let is_last = found.len() < most;
            let (runnable, others): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|it| inner.can_run(&it.start));
            left.extend(others.iter().map(|it| it.start.saga));
            let claimed = inner.journal.claim(&beat, &runnable).await?;
            if !claimed.is_empty() {
                info!(sagas = claimed.len(), "took over sagas of a replica that is gone");
            }
            self.pending.extend(claimed);
            self.drive(inner).await?;
            if is_last {
                break;
            }
        }
        if round % SWEEP_EVERY == SWEEP_EVERY - 1 {
            let started_before = db::now_micros() - TimeDelta::seconds(60);
            let strays = inner.journal.strays(started_before).await?;
            self.pending
                .extend(strays.into_iter().filter(|it| !inner.live.contains(it.start.saga)));
            self.drive(inner).await?;
            left.extend(inner.journal.unclaimable(&beat.alive, &plans).await?);
            if !left.is_empty() {
                let (sagas, first) = (left.len(), left.first());
                error!(sagas, ?first, "sagas that this program cannot run have no living owner");
            }
            inner.journal.bury(&beat.dead).await?;
        }
        Ok(())
    }

    /// Begins to drive what is pending. What an operator wanted of a saga before its owner died is wanted still.
    async fn drive(&mut self, inner: &Arc<Inner>) -> db::Result<()> {
        self.pending.retain(|running| running.state != RunningState::Parked);
        let sagas = self.pending.iter().map(|running| running.start.saga).collect();
        let aborts = inner.journal.wanted_aborts(sagas).await?;
        for running in self.pending.drain(..) {
            // Where there is none, which only strays meet, a later sweep finds the saga again.
            let Ok(room) = Arc::clone(&self.rooms).try_acquire_owned() else { break };
            let wanted = wanted(&aborts, running.start.saga);
            let span = info_span!(
                "saga",
                saga = %running.start.saga,
                trace_id = %running.start.trace.trace_id,
                recovered = true
            );
            let adopter = Arc::clone(inner);
            let adopt = async move {
                adopter.adopt(running, wanted).await;
                drop(room);
            };
            inner.spawn("executor", adopt.instrument(span));
        }
        Ok(())
    }
}

fn wanted(aborts: &HashSet<SagaId>, saga: SagaId) -> Wanted {
    if aborts.contains(&saga) { Wanted::Abort } else { Wanted::Driven }
}
