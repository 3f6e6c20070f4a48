//! Driving the sagas that nobody drives: those of dead replicas, and strays of our own.

use super::engine::Inner;
use crate::journal::{Pulse, Running, RunningState};
use chrono::TimeDelta;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info, info_span, warn};

/// Every how many beats strays and dead heartbeats are looked for.
const SWEEP_EVERY: u32 = 5;

/// A standing sweep, until the engine stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut pulse = Pulse::default();
    let rooms = Arc::new(Semaphore::new(inner.options.max_live.max(1)));
    let mut beat = tokio::time::interval(inner.options.heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        tokio::select! {
            _ = beat.tick() => {}
            () = inner.stopping.cancelled() => return,
        }
        if let Err(error) = sweep(&inner, &mut pulse, &rooms, round).await {
            warn!(%error, "recovery could not reach the journal");
        }
    }
}

async fn sweep(
    inner: &Arc<Inner>,
    pulse: &mut Pulse,
    rooms: &Arc<Semaphore>,
    round: u32,
) -> db::Result<()> {
    // The deadlines of what is taken over are judged by the database's clock, too.
    if inner.journal.clock().offset().is_none() {
        inner.journal.clock().measure().await?;
    }
    let beat = inner.journal.beat(pulse).await?;
    // Claim no more than there is room for: what is left stays free for other replicas.
    while !beat.paused && rooms.available_permits() > 0 {
        let claimed = inner.journal.claim(&beat, rooms.available_permits()).await?;
        if !claimed.sagas.is_empty() {
            info!(sagas = claimed.sagas.len(), "took over sagas of a replica that is gone");
        }
        drive(inner, claimed.sagas, rooms);
        if !claimed.more {
            break;
        }
    }
    if round % SWEEP_EVERY == SWEEP_EVERY - 1 {
        let started_before = db::now_micros() - TimeDelta::seconds(60);
        let strays = inner.journal.strays(started_before).await?;
        let lost = strays.into_iter().filter(|running| !inner.live.contains(running.start.saga));
        drive(inner, lost.collect(), rooms);
        inner.journal.bury(&beat.dead).await?;
    }
    Ok(())
}

fn drive(inner: &Arc<Inner>, sagas: Vec<Running>, rooms: &Arc<Semaphore>) {
    for running in sagas.into_iter().filter(|running| running.state != RunningState::Parked) {
        // Where there is none, which only strays meet, the next sweep finds the saga again.
        let Ok(room) = Arc::clone(rooms).try_acquire_owned() else { return };
        let span = info_span!(
            "saga",
            saga = %running.start.saga,
            trace_id = %running.start.trace.trace_id,
            recovered = true
        );
        let inner = Arc::clone(inner);
        let tasks = inner.tasks.clone();
        tasks.spawn(
            async move {
                inner.adopt(running, false).await;
                drop(room);
            }
            .instrument(span),
        );
    }
}
