use super::*;

const HOUR: TimeDelta = TimeDelta::hours(1);

/// One replica that looks every now and then, while the right time and what the clocks show go on.
struct World {
    mark: Mark,
    right: DateTime<Utc>,
    /// The replica's first look, by the record, and its era; none after a start.
    from: Option<(DateTime<Utc>, DateTime<Utc>, i64)>,
    last: Option<DateTime<Utc>>,
}

impl World {
    fn new() -> Self {
        let right = "2026-11-28T12:00:00Z".parse().unwrap();
        Self { mark: Mark { at: right, era: 0, ahead: None }, right, from: None, last: None }
    }

    /// After a while, the clocks being off by so much.
    fn look(&mut self, after: TimeDelta, off: TimeDelta) -> Standing {
        self.right += after;
        let from = self.from.filter(|(_, _, era)| *era == self.mark.era);
        let expected = from.map(|(from, since, _)| from + (self.right - since));
        let watched = self.last.map(|last| self.right - last);
        let (mark, standing) = judge(self.mark, self.right + off, expected, watched);
        self.mark = mark;
        if from.is_none_or(|(_, _, era)| era != mark.era) {
            self.from = Some((mark.at, self.right, mark.era));
        }
        self.last = Some(self.right);
        standing
    }

    /// Looks every ten minutes for a while; tells how often the clock was believed.
    fn watch(&mut self, hours: i32, off: TimeDelta) -> usize {
        let looks = 0..hours * 6;
        looks.filter(|_| self.look(HOUR / 6, off) == Standing::Credible).count()
    }

    fn restart(&mut self) {
        (self.from, self.last) = (None, None);
    }
}

#[test]
fn a_quiet_shop_is_believed_for_ever() {
    let mut world = World::new();
    assert_eq!(world.watch(24 * 30, TimeDelta::zero()), 24 * 30 * 6);
}

#[test]
fn a_clock_that_jumps_is_not_believed_and_right_again_when_it_is_back() {
    let mut world = World::new();
    world.watch(1, TimeDelta::zero());
    let days = TimeDelta::days(8);
    let standing = world.look(HOUR, days);
    assert_eq!(standing, Standing::RunAway { by: days, believed_in: BELIEVED_AFTER });
    assert_eq!(world.watch(3, days), 0);
    assert_eq!(world.look(HOUR, TimeDelta::zero()), Standing::Credible, "monotonic time counts");
    assert!(matches!(world.look(HOUR, days), Standing::RunAway { .. }), "and again");
}

#[test]
fn a_clock_that_stays_ahead_is_believed_after_a_day() {
    let mut world = World::new();
    world.watch(1, TimeDelta::zero());
    assert_eq!(world.watch(24, TimeDelta::days(8)), 0);
    assert!(world.watch(1, TimeDelta::days(8)) >= 5);
}

#[test]
fn time_without_anybody_to_watch_does_not_count() {
    let mut world = World::new();
    world.look(HOUR / 6, TimeDelta::zero());
    world.restart();
    let gone = world.look(TimeDelta::days(7), TimeDelta::zero());
    assert_eq!(gone, Standing::RunAway { by: TimeDelta::days(7), believed_in: BELIEVED_AFTER });
    assert_eq!(world.watch(12, TimeDelta::zero()), 0);
    world.restart();
    assert_eq!(world.look(TimeDelta::days(2), TimeDelta::zero()), {
        let by = world.right - world.mark.at;
        Standing::RunAway { by, believed_in: BELIEVED_AFTER / 2 }
    });
    assert_eq!(world.watch(11, TimeDelta::zero()), 0);
    assert!(world.watch(2, TimeDelta::zero()) > 0);
}

#[test]
fn a_clock_that_runs_too_fast_is_noticed() {
    let mut world = World::new();
    let fast = |step: i32| HOUR / 6 * step;
    let believed = (0..60).filter(|step| world.look(HOUR / 6, fast(*step)) == Standing::Credible);
    assert_eq!(believed.count(), 7, "an hour ahead at most");
}

#[test]
fn two_replicas_that_watch_together_do_not_count_the_time_twice() {
    let mut world = World::new();
    world.look(HOUR, TimeDelta::zero());
    let mut other = World { from: world.from, last: world.last, ..World::new() };
    for _ in 0..60 {
        world.look(HOUR / 6, TimeDelta::days(8));
        (other.mark, other.right) = (world.mark, world.right);
        other.look(TimeDelta::seconds(1), TimeDelta::days(8));
        (world.mark, world.right) = (other.mark, other.right);
    }
    let watched = world.mark.ahead.unwrap().watched;
    assert!(watched < HOUR * 10 + HOUR / 10, "{watched}");
}

#[test]
fn a_mark_in_the_future_comes_down_with_the_clock() {
    let mut world = World::new();
    world.mark.at += TimeDelta::days(8);
    assert_eq!(world.look(HOUR, TimeDelta::zero()), Standing::Credible);
    assert!(matches!(world.look(HOUR, TimeDelta::days(7)), Standing::RunAway { .. }));
}
