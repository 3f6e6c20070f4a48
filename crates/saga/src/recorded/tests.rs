use super::*;
use Found::{Nothing, Unreachable};
use RowState::{Compensated, Done, Rejected, Tombstone};

const STEPS: [StepNo; 4] = [StepNo(1), StepNo(2), StepNo(3), StepNo(4)];

/// Two steps, the pivot, one step after it.
fn stands(rows: [Found; 4]) -> Recorded {
    let [first, second, pivot, after] = STEPS;
    let (before, after) = (Shape::chain([first, second]), Shape::chain([after]));
    let shape = Shape { compensatable: before, pivot, retriable: after };
    recorded(&shape, |_, _| true, &STEPS.into_iter().zip(rows).collect())
}

fn row(state: RowState) -> Found {
    Found::Row(state, format!("{state:?}").into_bytes())
}

fn refused_at(step: StepNo) -> Outcome {
    Outcome::Failed(Failure::Rejected { step, reply: b"Rejected".to_vec() })
}

fn outcome(recorded: Recorded) -> Outcome {
    match recorded {
        Recorded::Ended(outcome, _) => outcome,
        open => panic!("{open:?}"),
    }
}

#[test]
fn a_saga_whose_register_and_later_steps_are_done_has_succeeded_whatever_else_can_be_read() {
    for first in [row(Done), Unreachable, Nothing] {
        let rows = [first, row(Done), row(Done), row(Done)];
        let Recorded::Ended(Outcome::Succeeded, known) = stands(rows) else { panic!("it has") };
        assert_eq!(known.reply(StepNo(4)), Some(b"Done".as_slice()));
    }
}

#[test]
fn past_the_register_a_missing_row_is_open_and_one_that_cannot_be_read_is_not_known() {
    assert_eq!(stands([row(Done), row(Done), row(Done), Nothing]), Recorded::Open);
    assert_eq!(stands([row(Done), row(Done), row(Done), Unreachable]), Recorded::Unknown);
}

#[test]
fn a_step_that_does_not_apply_counts_as_done() {
    let after = Shape::chain([StepNo(2)]);
    let shape = Shape { compensatable: Vec::new(), pivot: StepNo(1), retriable: after };
    let rows = [(StepNo(1), row(Done)), (StepNo(2), Nothing)].into();
    let applies = |_, known: &Known| known.reply(StepNo(1)) != Some(b"Done");
    assert_eq!(outcome(recorded(&shape, applies, &rows)), Outcome::Succeeded);
    assert_eq!(recorded(&shape, |_, _| true, &rows), Recorded::Open);
}

#[test]
fn a_refusal_is_told_once_the_steps_before_it_are_undone() {
    let late = |first| stands([first, row(Rejected), Nothing, Nothing]);
    assert_eq!(outcome(late(row(Compensated))), refused_at(StepNo(2)));
    assert_eq!(late(row(Done)), Recorded::Open);
    assert_eq!(late(Unreachable), Recorded::Unknown);
    let first = stands([row(Rejected), Unreachable, Unreachable, Unreachable]);
    assert_eq!(outcome(first), refused_at(StepNo(1)));
    let pivot = stands([row(Compensated), row(Tombstone), row(Rejected), Nothing]);
    assert_eq!(outcome(pivot), refused_at(StepNo(3)));
}

#[test]
fn a_refusal_in_a_stage_is_told_once_the_whole_stage_has_settled_and_the_lowest_one_counts() {
    let [first, second, pivot, _] = STEPS;
    let shape = Shape { compensatable: vec![vec![first, second]], pivot, retriable: Vec::new() };
    let stands = |rows: [Found; 2]| {
        let rows = [first, second].into_iter().zip(rows).chain([(pivot, Nothing)]);
        recorded(&shape, |_, _| true, &rows.collect())
    };
    for other in [Done, Compensated, Tombstone, Rejected] {
        let told = stands([row(other), row(Rejected)]);
        match other {
            Done => assert_eq!(told, Recorded::Open),
            Rejected => assert_eq!(outcome(told), refused_at(first)),
            Compensated | Tombstone => assert_eq!(outcome(told), refused_at(second)),
        }
    }
    assert_eq!(stands([Nothing, row(Rejected)]), Recorded::Open);
    assert_eq!(stands([Unreachable, row(Rejected)]), Recorded::Unknown);
}

#[test]
fn an_abort_is_told_by_its_end_alone() {
    let rows = [row(Compensated), row(Tombstone), row(Tombstone), Nothing];
    assert_eq!(stands(rows), Recorded::Open);
}

#[test]
fn an_end_is_ruled_out_by_a_step_that_stands_where_the_register_can_be_read() {
    assert_eq!(stands([row(Done), Unreachable, Nothing, Nothing]), Recorded::Open);
    assert_eq!(stands([row(Done), Nothing, Unreachable, Nothing]), Recorded::Unknown);
    assert_eq!(stands([row(Compensated), Unreachable, Nothing, Nothing]), Recorded::Unknown);
    assert_eq!(stands([Nothing, Nothing, Nothing, Nothing]), Recorded::Open);
}
