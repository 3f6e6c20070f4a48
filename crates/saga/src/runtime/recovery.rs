//! Driving the sagas that nobody drives: those of dead replicas, and strays of our own.

use super::engine::Inner;
use crate::journal::{Pulse, Running, RunningState};
use chrono::{TimeDelta, Utc};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info, info_span, warn};

/// Every how many beats strays and dead heartbeats are looked for.
const SWEEP_EVERY: u32 = 5;

/// A standing sweep, until the engine stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut pulse = Pulse::default();
    let permits = Arc::new(Semaphore::new(inner.options.max_recovering.max(1)));
    let mut beat = tokio::time::interval(inner.options.heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        tokio::select! {
            _ = beat.tick() => {}
            () = inner.stopping.cancelled() => return,
        }
        if let Err(error) = sweep(&inner, &mut pulse, &permits, round).await {
            warn!(%error, "recovery could not reach the journal");
        }
    }
}

async fn sweep(
    inner: &Arc<Inner>,
    pulse: &mut Pulse,
    permits: &Arc<Semaphore>,
    round: u32,
) -> db::Result<()> {
    let alive = inner.journal.beat(pulse).await?;
    // Claim no more than can be driven soon: what is left stays free for other replicas.
    while permits.available_permits() > 0 {
        let claimed = inner.journal.claim(alive.clone()).await?;
        let more = claimed.more;
        if !claimed.sagas.is_empty() {
            info!(sagas = claimed.sagas.len(), "took over sagas of a replica that is gone");
        }
        drive(inner, claimed.sagas, permits);
        if !more {
            break;
        }
        tokio::task::yield_now().await;
    }
    if round % SWEEP_EVERY == SWEEP_EVERY - 1 {
        let started_before = Utc::now() - TimeDelta::seconds(60);
        let strays = inner.journal.strays(started_before).await?;
        let lost = strays.into_iter().filter(|running| !inner.live.contains(running.start.saga));
        drive(inner, lost.collect(), permits);
        inner.journal.bury(alive).await?;
    }
    Ok(())
}

fn drive(inner: &Arc<Inner>, sagas: Vec<Running>, permits: &Arc<Semaphore>) {
    for running in sagas.into_iter().filter(|running| running.state != RunningState::Parked) {
        let span = info_span!(
            "saga",
            saga = %running.start.saga,
            trace_id = %running.start.trace.trace_id,
            recovered = true
        );
        let (inner, permits) = (Arc::clone(inner), Arc::clone(permits));
        let tasks = inner.tasks.clone();
        tasks.spawn(
            async move {
                let Ok(_permit) = permits.acquire().await else { return };
                inner.adopt(running, false).await;
            }
            .instrument(span),
        );
    }
}
