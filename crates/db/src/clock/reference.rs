//! The clock by which this process dates what it writes.
//!
//! Its own wall clock, as long as that agrees with the database's. When they part, the process's monotonic clock is the
//! witness: time goes on from where both last agreed, whichever of them jumped. So a clock that was set wrong neither
//! makes rows old before their time nor dates orders into another week.

use super::reading::{Reading, plus};
use super::{OFF, is_off};
use chrono::{DateTime, SubsecRound, Utc};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};
use uuid::{NoContext, Timestamp, Uuid};

/// For so long the monotonic clock is believed rather than either wall clock. It may go wrong by some seconds a day.
const WITNESS: Duration = Duration::from_hours(24);

/// Where time goes on from.
#[derive(Debug, Clone, Copy)]
struct Reference {
    at: DateTime<Utc>,
    since: Instant,
    /// Whether both wall clocks said so then; else only the database's did.
    agreed: bool,
}

static REFERENCE: RwLock<Option<Reference>> = RwLock::new(None);

impl Reference {
    fn now(self, at: Instant) -> DateTime<Utc> {
        plus(self.at, at.saturating_duration_since(self.since))
    }
}

/// Now, cut to the microseconds that a row keeps, so that what is stored equals what was decided.
///
/// The process's wall clock, unless it is off by 5 s or more; see the module.
pub fn now_micros() -> DateTime<Utc> {
    let own = Utc::now();
    let reference = *REFERENCE.read().unwrap_or_else(PoisonError::into_inner);
    let shown = reference.map(|reference| reference.now(Instant::now()));
    shown.filter(|shown| is_off(own - *shown, OFF)).unwrap_or(own).trunc_subsecs(6)
}

/// A new id that begins with the milliseconds of [`now_micros`] (`UUIDv7`).
pub fn new_id() -> Uuid {
    let now = now_micros();
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos()))
}

/// Takes in a reading, while this process's clock shows `own`. `others_alike`: the other replicas' clocks differ from the
/// database's as much as this one.
pub(super) fn take_in(reading: &Reading, own: DateTime<Utc>, at: Instant, others_alike: bool) {
    let mut reference = REFERENCE.write().unwrap_or_else(PoisonError::into_inner);
    *reference = next(*reference, reading, own, at, others_alike);
}

/// Whether it is the database's clock that jumped, by the witness of the monotonic one.
pub(super) fn is_the_databases(own: DateTime<Utc>, at: Instant) -> bool {
    let reference = *REFERENCE.read().unwrap_or_else(PoisonError::into_inner);
    reference.is_some_and(|reference| reference.agreed && !is_off(own - reference.now(at), OFF))
}

fn next(
    reference: Option<Reference>,
    reading: &Reading,
    own: DateTime<Utc>,
    at: Instant,
    others_alike: bool,
) -> Option<Reference> {
    let agreed = !is_off(reading.offset(own, at), OFF);
    let fresh = Reference { at: reading.database, since: reading.sent, agreed };
    if agreed {
        return Some(fresh);
    }
    let witnessed =
        reference.filter(|old| old.agreed && at.saturating_duration_since(old.since) < WITNESS);
    match witnessed {
        Some(old) => Some(old),
        None if others_alike => None,
        None => Some(fresh),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    struct World {
        start: Instant,
        zero: DateTime<Utc>,
        reference: Option<Reference>,
    }

    impl World {
        fn new() -> Self {
            let zero = "2026-11-28T12:00:00Z".parse().unwrap();
            Self { start: Instant::now(), zero, reference: None }
        }

        /// After so many seconds both clocks are looked at, each off by some; tells by how much the reference is.
        fn look(&mut self, after: u64, own: i64, database: i64, alike: bool) -> Option<i64> {
            let at = self.start + Duration::from_secs(after);
            let right = plus(self.zero, Duration::from_secs(after));
            let shows = |off| right + TimeDelta::seconds(off);
            let reading = Reading { database: shows(database), sent: at, got: at };
            self.reference = next(self.reference, &reading, shows(own), at, alike);
            self.reference.map(|it| (it.now(at) - right).num_seconds())
        }
    }

    #[test]
    fn whichever_clock_jumps_time_goes_on_as_it_did() {
        const DAYS: i64 = 8 * 86_400;
        for (own, database) in [(DAYS, 0), (-DAYS, 0), (0, DAYS), (0, -DAYS)] {
            let mut world = World::new();
            assert_eq!(world.look(0, 0, 0, false), Some(0));
            assert_eq!(world.look(60, own, database, false), Some(0), "{own} {database}");
            assert_eq!(world.look(120, 0, 0, false), Some(0));
        }
    }

    #[test]
    fn without_a_witness_the_database_is_believed_unless_the_other_replicas_say_otherwise() {
        assert_eq!(World::new().look(0, 3_600, 0, false), Some(0));
        assert_eq!(World::new().look(0, 0, 3_600, true), None, "the process's own clock, then");
        let mut world = World::new();
        world.look(0, 0, 0, false);
        assert_eq!(world.look(2 * 86_400, 0, 3_600, false), Some(3_600), "the witness is too old");
    }

    #[test]
    fn clocks_that_jump_together_are_followed() {
        let mut world = World::new();
        world.look(0, 0, 0, false);
        assert_eq!(world.look(60, 3_600, 3_600, false), Some(3_600));
    }
}
