//! An explicit-state model of the saga, driven by the real decision function and the real barrier.
//!
//! It explores every order in which things can happen within bounds: messages delivered late and repeatedly,
//! replies lost, executors crashing anywhere and others taking over at any time, STARTs lost, aborts by deadline
//! and operator, floors raised and barrier rows purged, an operator resolving. In every state the invariants of [`Violation`] hold;
//! from every state the end can be reached without further faults; and one new executor alone always reaches it.
//!
//! Two smaller models go statement by statement: [`watermark`] through START, the raising of the floor, a step and the purge
//! beside each other, [`claims`] through replicas that take over the same saga.
//!
//! A model that finds nothing proves little. So each rule is broken once (the `Broken` of every model),
//! and the explorer must find what then goes wrong.

mod broken;
mod claims;
mod explore;
mod invariants;
mod moves;
mod participants;
mod race;
mod saga;
mod watermark;

use std::fmt::Debug;

use participant::barrier::StepNo;

use crate::shape::Shape;
use broken::Broken;
use claims::Claims;
use explore::{Model, Verdict, explore};
use race::Race;
use saga::{Purge, Saga};
use watermark::Watermark;

/// What may never happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Violation {
    /// A step's effect stands twice.
    EffectTwice,
    /// A step was undone more often than done: money is minted.
    UndoneTwice,
    /// A step took effect after the saga's END: nobody will undo it.
    EffectAfterEnd,
    /// The register is in effect without all the steps before it.
    RegisterWithoutSteps,
    /// The register is done beside a step that is undone or refused.
    RegisterDoneBesideUndoneStep,
    /// Steps of two stages of one saga are recorded as refused.
    TwoRejections,
    /// Success was told, but not every step is in effect.
    ToldSucceededInVain,
    /// Failure was told, but the register is in effect.
    ToldFailedInVain,
    /// Two different answers were given.
    TwoAnswers,
    /// A failure was told or recorded whose reason nobody knows any more.
    ReasonLost,
    /// END says succeeded, but not every step is in effect.
    EndedSucceededInVain,
    /// END says failed, but effects remain.
    EndedFailedInVain,
    /// END is not what was told.
    EndedOtherwiseThanTold,
    /// END's reason is neither the recorded rejection nor the reason in the register.
    EndedForWrongReason,
    /// Two executors would END the saga differently.
    TwoEnds,
    /// A step was sent, or success found, without the replies that it is built from.
    SentWithoutReplies,
    /// A step was to be undone that has no compensation.
    UndoesForwardStep,
    /// A refund of an order that was never confirmed.
    RefundWithoutOrder,
    /// An order is alive although its cancellation succeeded.
    CancelledOrderAlive,
    /// The watermark stands above a saga that is not over.
    UnfinishedBelowWatermark,
    /// Two replicas took over one saga from the same owner.
    ClaimedTwice,
    /// A saga was taken over from an owner that had shown that it lives.
    ClaimedFromTheLiving,
    /// No end can be reached any more without faults.
    Stuck,
    /// A lone executor without faults does not always reach the end.
    LoneExecutorStuck,
}

/// A checkout of so many steps, the last of them the register.
fn checkout(steps: i16, executors: usize) -> Saga {
    let before = Shape::chain((1..steps).map(StepNo));
    let shape = Shape { before, register: StepNo(steps), after: Vec::new() };
    Saga { shape, executors, gate: false, purge: Purge::Never, resolve: false, broken: None }
}

/// Stages before the register, the last step being the register.
fn staged<const N: usize>(stages: [&[i16]; N], executors: usize) -> Saga {
    let stage = |steps: &[i16]| steps.iter().copied().map(StepNo).collect();
    let steps = stages.iter().copied().flatten().count();
    let register = StepNo(i16::try_from(steps + 1).unwrap());
    let shape = Shape { before: stages.map(stage).to_vec(), register, after: Vec::new() };
    Saga { shape, ..checkout(1, executors) }
}

fn holds<M: Model>(name: &str, model: &M) {
    match explore(model) {
        Verdict::Holds { states, moves } => {
            assert!(states > 500 && moves > states, "{name}: explored only {states} states");
        }
        Verdict::Broken { violation, trace } => {
            panic!("{name}: {violation:?} after\n  {}", trace.join("\n  "))
        }
    }
}

#[test]
fn a_checkout_of_three_steps_survives_two_executors() {
    holds("three by two", &Saga { purge: Purge::Together, resolve: true, ..checkout(3, 2) });
}

#[test]
fn a_checkout_survives_participants_that_purge_one_after_the_other() {
    holds("purged apart", &Saga { purge: Purge::Each, ..checkout(2, 2) });
    holds("purged apart, three by one", &Saga { purge: Purge::Each, ..checkout(3, 1) });
}

#[test]
fn a_checkout_of_four_steps_survives_two_executors() {
    holds("four by two", &Saga { purge: Purge::Together, resolve: true, ..checkout(4, 2) });
}

#[test]
fn a_checkout_of_three_steps_survives_three_executors() {
    holds("three by three", &Saga { purge: Purge::Together, ..checkout(3, 3) });
}

#[test]
fn a_cancellation_survives_three_executors() {
    let after = Shape::chain([StepNo(2), StepNo(3)]);
    let shape = Shape { before: vec![], register: StepNo(1), after };
    holds("gate first", &Saga { shape, gate: true, purge: Purge::Together, ..checkout(1, 3) });
}

#[test]
fn a_register_in_the_middle_survives_two_executors() {
    let steps = |numbers: [i16; 2]| Shape::chain(numbers.map(StepNo));
    let shape = Shape { before: steps([1, 2]), register: StepNo(3), after: steps([4, 5]) };
    holds(
        "middle",
        &Saga { shape, gate: true, purge: Purge::Together, resolve: true, ..checkout(1, 2) },
    );
}

#[test]
fn a_stage_of_two_steps_survives_two_executors() {
    let one = staged([&[1, 2]], 2);
    holds("a stage of two", &Saga { purge: Purge::Together, resolve: true, ..one });
}

#[test]
fn stages_before_and_after_one_another_survive_two_executors() {
    holds("one and two", &Saga { resolve: true, ..staged([&[1], &[2, 3]], 2) });
    holds("two and one", &Saga { resolve: true, ..staged([&[1, 2], &[3]], 2) });
}

#[test]
#[ignore = "takes a minute"]
fn a_stage_of_three_steps_survives_two_executors() {
    holds("a stage of three", &staged([&[1, 2, 3]], 2));
}

#[test]
fn a_stage_after_the_register_survives_three_executors() {
    let after = vec![vec![StepNo(2), StepNo(3)], vec![StepNo(4)]];
    let shape = Shape { before: vec![], register: StepNo(1), after };
    holds("stage after", &Saga { shape, gate: true, purge: Purge::Together, ..checkout(1, 3) });
}

#[test]
fn two_cancellations_survive_an_unfinished_checkout() {
    holds("race", &Race { purge: true, broken: None });
}

/// Explores a model with a broken rule; says so if what it finds is not what the rule is there for.
fn unnoticed<M: Model>(broken: impl Debug, expected: Violation, model: &M) -> Option<String> {
    match explore(model) {
        Verdict::Broken { violation, .. } if violation == expected => None,
        verdict => Some(format!("{broken:?}: expected {expected:?}, {verdict:#?}")),
    }
}

#[test]
fn every_broken_rule_of_a_saga_is_noticed() {
    let unnoticed = Broken::ALL.into_iter().filter_map(|(broken, expected)| {
        let (purge, resolve) = broken.needs();
        let sound = if broken.is_of_stages() { staged([&[1, 2]], 2) } else { checkout(3, 2) };
        let model = Saga { purge, resolve, broken: Some(broken), ..sound };
        unnoticed(broken, expected, &model)
    });
    assert_eq!(unnoticed.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn every_broken_rule_of_a_race_is_noticed() {
    let unnoticed = race::Broken::ALL.into_iter().filter_map(|(broken, expected)| {
        let purge = broken == race::Broken::CheckoutPurgedWithoutFloor;
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
    let verdict = explore(&Claims { broken: None });
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:#?}");
    let unnoticed = claims::Broken::ALL.into_iter().filter_map(|(broken, expected)| {
        unnoticed(broken, expected, &Claims { broken: Some(broken) })
    });
    assert_eq!(unnoticed.collect::<Vec<_>>().join("\n"), "");
}
