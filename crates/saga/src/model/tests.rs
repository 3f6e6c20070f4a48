//! What the models show, and that each of their rules, once broken, is noticed.

use std::fmt::Debug;

use participant::barrier::StepNo;

use super::broken::Broken;
use super::check::{Fault, Purge, answer};
use super::claims::{self, Claims};
use super::explore::{Model, Verdict, explore};
use super::race::{self, Race};
use super::saga::Saga;
use super::watermark::{self, Watermark};
use super::{CheckError, Limits, Rejectable, Violation, check};
use crate::shape::{MalformedShape, Shape};

/// A saga that meets every fault but an operator who resolves it, whose pivot cannot be refused.
fn sound(shape: Shape, executors: usize) -> Saga {
    let rejectable = shape.compensatable.iter().flatten().copied().collect();
    let faults = Fault::ALL.into_iter().filter(|fault| *fault != Fault::OperatorResolves);
    let (faults, purge) = (faults.collect(), Purge::Never);
    Saga { shape, executors, rejectable, purge, faults, broken: None }
}

/// A saga whose pivot may be refused, as a cancellation's gate is.
fn gated(shape: Shape, executors: usize) -> Saga {
    let mut saga = sound(shape, executors);
    saga.rejectable.insert(saga.shape.pivot);
    saga
}

/// A saga that an operator may resolve as soon as that is allowed.
fn resolvable(saga: Saga) -> Saga {
    Saga { faults: Fault::ALL.into(), ..saga }
}

/// A checkout of so many steps, the last of them the pivot.
fn checkout(steps: i16, executors: usize) -> Saga {
    let before = Shape::chain((1..steps).map(StepNo));
    sound(Shape { compensatable: before, pivot: StepNo(steps), retriable: Vec::new() }, executors)
}

/// Stages before the pivot, the last step being the pivot.
fn staged<const N: usize>(stages: [&[i16]; N], executors: usize) -> Saga {
    let stage = |steps: &[i16]| steps.iter().copied().map(StepNo).collect();
    let steps = stages.iter().copied().flatten().count();
    let pivot = StepNo(i16::try_from(steps + 1).unwrap());
    sound(
        Shape { compensatable: stages.map(stage).to_vec(), pivot, retriable: Vec::new() },
        executors,
    )
}

fn holds<M: Model>(name: &str, model: &M) {
    match explore(model, usize::MAX) {
        Verdict::Holds { states, moves } => {
            assert!(states > 500 && moves > states, "{name}: explored only {states} states");
        }
        Verdict::Broken { violation, trace } => {
            panic!("{name}: {violation:?} after\n  {}", trace.join("\n  "))
        }
        Verdict::NotExhausted => unreachable!("there is no limit"),
    }
}

#[test]
fn a_checkout_of_three_steps_survives_two_executors() {
    holds("three by two", &Saga { purge: Purge::Together, ..resolvable(checkout(3, 2)) });
}

#[test]
fn a_checkout_survives_participants_that_purge_one_after_the_other() {
    holds("purged apart", &Saga { purge: Purge::Each, ..checkout(2, 2) });
    holds("purged apart, three by one", &Saga { purge: Purge::Each, ..checkout(3, 1) });
}

#[test]
fn a_checkout_of_four_steps_survives_two_executors() {
    holds("four by two", &Saga { purge: Purge::Together, ..resolvable(checkout(4, 2)) });
}

#[test]
fn a_checkout_of_three_steps_survives_three_executors() {
    holds("three by three", &Saga { purge: Purge::Together, ..checkout(3, 3) });
}

#[test]
fn a_cancellation_survives_three_executors() {
    let after = Shape::chain([StepNo(2), StepNo(3)]);
    let shape = Shape { compensatable: vec![], pivot: StepNo(1), retriable: after };
    holds("gate first", &Saga { purge: Purge::Together, ..gated(shape, 3) });
}

#[test]
fn a_register_in_the_middle_survives_two_executors() {
    let steps = |numbers: [i16; 2]| Shape::chain(numbers.map(StepNo));
    let shape = Shape { compensatable: steps([1, 2]), pivot: StepNo(3), retriable: steps([4, 5]) };
    holds("middle", &Saga { purge: Purge::Together, ..resolvable(gated(shape, 2)) });
}

#[test]
fn a_stage_of_two_steps_survives_two_executors() {
    let one = staged([&[1, 2]], 2);
    holds("a stage of two", &Saga { purge: Purge::Together, ..resolvable(one) });
}

#[test]
fn stages_before_and_after_one_another_survive_two_executors() {
    holds("one and two", &resolvable(staged([&[1], &[2, 3]], 2)));
    holds("two and one", &resolvable(staged([&[1, 2], &[3]], 2)));
}

#[test]
#[ignore = "takes a minute"]
fn a_stage_of_three_steps_survives_two_executors() {
    holds("a stage of three", &staged([&[1, 2, 3]], 2));
}

#[test]
fn a_stage_after_the_register_survives_three_executors() {
    let after = vec![vec![StepNo(2), StepNo(3)], vec![StepNo(4)]];
    let shape = Shape { compensatable: vec![], pivot: StepNo(1), retriable: after };
    holds("stage after", &Saga { purge: Purge::Together, ..gated(shape, 3) });
}

#[test]
fn two_cancellations_survive_an_unfinished_checkout() {
    holds("race", &Race { purge: true, broken: None });
}

/// Explores a model with a broken rule; says so if what it finds is not what the rule is there for.
fn unnoticed<M: Model>(broken: impl Debug, expected: Violation, model: &M) -> Option<String> {
    match explore(model, usize::MAX) {
        Verdict::Broken { violation, .. } if violation == expected => None,
        verdict => Some(format!("{broken:?}: expected {expected:?}, {verdict:#?}")),
    }
}

#[test]
fn every_broken_rule_of_a_saga_is_noticed() {
    let unnoticed = Broken::ALL.into_iter().filter_map(|(broken, expected)| {
        let (purge, faults) = broken.needs();
        let sound = if broken.is_of_stages() { staged([&[1, 2]], 2) } else { checkout(3, 2) };
        let model = Saga { purge, faults, broken: Some(broken), ..sound };
        unnoticed(broken, expected, &model)
    });
    assert_eq!(unnoticed.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn every_broken_rule_of_a_race_is_noticed() {
    let unnoticed = race::Broken::ALL.into_iter().filter_map(|(broken, expected)| {
        let purge = broken == race::Broken::CheckoutPurgedWithoutWatermark;
        unnoticed(broken, expected, &Race { purge, broken: Some(broken) })
    });
    assert_eq!(unnoticed.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn the_watermark_holds_statement_by_statement() {
    holds("watermark", &Watermark { broken: None });
}

#[test]
fn every_broken_rule_of_the_watermark_is_noticed() {
    let unnoticed = watermark::Broken::ALL.into_iter().filter_map(|(broken, expected)| {
        unnoticed(broken, expected, &Watermark { broken: Some(broken) })
    });
    assert_eq!(unnoticed.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn a_saga_is_claimed_by_one_and_from_the_dead_alone() {
    let verdict = explore(&Claims { broken: None }, usize::MAX);
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:#?}");
    let unnoticed = claims::Broken::ALL.into_iter().filter_map(|(broken, expected)| {
        unnoticed(broken, expected, &Claims { broken: Some(broken) })
    });
    assert_eq!(unnoticed.collect::<Vec<_>>().join("\n"), "");
}

fn steps(numbers: &[i16]) -> Vec<StepNo> {
    numbers.iter().copied().map(StepNo).collect()
}

#[test]
fn a_shape_is_checked_within_limits() {
    let shape =
        Shape { compensatable: vec![steps(&[1, 2])], pivot: StepNo(3), retriable: Vec::new() };
    let limits = Limits { executors: 1, ..Limits::default() };
    let all = check(&shape, &limits).unwrap();
    assert_eq!(check(&shape, &Limits { states: all.states, ..limits.clone() }), Ok(all));
    let few = check(&shape, &Limits { states: all.states - 1, ..limits.clone() });
    assert_eq!(few, Err(CheckError::NotExhausted { states: all.states - 1 }));

    for fault in Fault::ALL {
        let fewer = check(&shape, &limits.clone().without(fault)).unwrap();
        assert!(fewer.states < all.states, "{fault:?}: {fewer:?} of {all:?}");
    }
    let fewer = check(&shape, &Limits { purge: Purge::Never, ..limits.clone() }).unwrap();
    assert!(fewer.states < all.states, "{fewer:?} of {all:?}");
    let only = |step| Rejectable::Only([StepNo(step)].into());
    let fewer = check(&shape, &Limits { rejectable: only(3), ..limits.clone() }).unwrap();
    assert!(fewer.states < all.states, "{fewer:?} of {all:?}");

    let refused = check(&shape, &Limits { rejectable: only(4), ..limits.clone() });
    assert_eq!(refused, Err(CheckError::CannotReject(StepNo(4))));
    let refused = check(&shape, &Limits { executors: 0, ..limits.clone() });
    assert_eq!(refused, Err(CheckError::NoExecutor));
    let refused = check(&Shape { pivot: StepNo(2), ..shape }, &limits);
    assert_eq!(refused, Err(MalformedShape::PivotElsewhere(StepNo(2)).into()));
}

#[test]
fn a_violation_is_told_with_its_shortest_trace() {
    let told = |saga| format!("{:?}", answer(&saga, usize::MAX).unwrap_err());

    let broken = Some(Broken::CompensationOfNothingLeavesNoTombstone);
    let expected = "EffectAfterEnd: a step took effect after END, after
   1. a client asks, and executor 1 sends START
   2. START is durable
   3. executor 1 learns that START is durable, and begins
   4. the deadline passes, and executor 1 aborts
   5. executor 1 voids step 2 (the pivot): it is closed, reason DEADLINE [writes TOMBSTONE]
   6. executor 1 compensates step 1: it has no effect now
   7. executor 1 records END unless it is there: failed, reason DEADLINE
   8. a copy of the action of step 1 arrives [writes DONE]";
    assert_eq!(told(Saga { broken, ..checkout(2, 1) }), expected);

    // An executor keeps its number, wherever the states of the model hold it.
    let broken = Some(Broken::FailureToldBeforeVoid);
    let expected = "TwoAnswers: the client was given two different answers, after
   1. a client asks, and executor 1 sends START
   2. START is durable
   3. executor 1 learns that START is durable, and begins
   4. the deadline passes, and executor 1 aborts
   5. executor 1 crashes
   6. executor 2 takes over the saga
   7. an operator asks for it, and executor 2 aborts";
    let faults = [Fault::Deadline, Fault::OperatorAborts];
    let crashing = faults.into_iter().chain([Fault::Crash]).collect();
    assert_eq!(told(Saga { broken, faults: crashing, ..checkout(2, 1) }), expected);
    let expected = "TwoAnswers: the client was given two different answers, after
   1. a client asks, and executor 1 sends START
   2. START is durable
   3. executor 2 takes over the saga
   4. executor 1 learns that START is durable, and begins
   5. the deadline passes, and executor 2 aborts
   6. an operator asks for it, and executor 1 aborts";
    assert_eq!(told(Saga { broken, faults: faults.into(), ..checkout(2, 2) }), expected);
}

#[test]
fn a_limit_does_not_hide_a_violation_that_was_reached() {
    let saga = Saga { broken: Some(Broken::FailureToldBeforeVoid), ..checkout(3, 2) };
    let violation = |limit| match answer(&saga, limit) {
        Err(CheckError::Violated { violation, .. }) => Some(violation),
        _ => None,
    };
    let all = violation(usize::MAX);
    assert_eq!(all, Some(Violation::TwoAnswers));
    assert_eq!((0..20).map(|power| violation(1 << power)).find(Option::is_some), Some(all));
}
