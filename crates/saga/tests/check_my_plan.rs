//! Checks plans of another domain than the shop's, as whoever writes one would.

#![expect(clippy::print_stdout, reason = "`--nocapture` shows how much was explored")]

use participant::barrier::StepNo;
use saga::model::{CheckError, Explored, Fault, Limits, Purge, Rejectable, check};
use saga::shape::{MalformedShape, Shape, Stage};

fn steps(numbers: &[i16]) -> Stage {
    numbers.iter().copied().map(StepNo).collect()
}

/// A trip: reserve a flight and a hotel at once, charge the card, then issue the ticket and the voucher at once.
fn trip() -> Shape {
    Shape {
        compensatable: vec![steps(&[10, 20])],
        pivot: StepNo(30),
        retriable: vec![steps(&[40, 50])],
    }
}

#[test]
fn a_trip_is_sound() {
    let explored = check(&trip(), &Limits::default()).unwrap();
    println!("a trip by two executors: {explored}");
    assert!(explored.states > 10_000, "{explored}");
}

#[test]
fn a_flight_is_sound_with_participants_that_purge_each_at_their_own_time() {
    let flight =
        Shape { compensatable: vec![steps(&[10])], retriable: vec![steps(&[40])], ..trip() };
    let limits = Limits { executors: 1, purge: Purge::Each, ..Limits::default() };
    let explored = check(&flight, &limits).unwrap();
    println!("a flight by one executor, purged one by one: {explored}");
}

#[test]
fn a_pivot_that_comes_first_is_sound() {
    // Closing an account: freeze it (which may be refused), then pay out and archive, then notify.
    let after = vec![steps(&[2, 3]), steps(&[4])];
    let shape = Shape { compensatable: Vec::new(), pivot: StepNo(1), retriable: after };
    let explored = check(&shape, &Limits::default()).unwrap();
    println!("a pivot that comes first: {explored}");
}

#[test]
fn every_shape_of_up_to_four_steps_is_sound() {
    let limits = Limits { executors: 1, ..Limits::default() };
    let mut total = Explored { states: 0, moves: 0 };
    let mut shapes = 0;
    for count in 1..=4_i16 {
        for pivot in 1..=count {
            for before in splits(&(1..pivot).collect::<Vec<_>>()) {
                for after in splits(&(pivot + 1..=count).collect::<Vec<_>>()) {
                    let shape = Shape {
                        compensatable: before.clone(),
                        pivot: StepNo(pivot),
                        retriable: after,
                    };
                    let explored = check(&shape, &limits).unwrap();
                    total.states += explored.states;
                    total.moves += explored.moves;
                    shapes += 1;
                }
            }
        }
    }
    println!("{shapes} shapes: {total}");
    assert_eq!(shapes, 20);
}

/// All ways to put steps into stages, in this order.
fn splits(numbers: &[i16]) -> Vec<Vec<Stage>> {
    let Some((_, rest)) = numbers.split_first() else { return vec![Vec::new()] };
    let firsts = 1..=rest.len() + 1;
    firsts
        .flat_map(|first| {
            let (stage, rest) = numbers.split_at(first);
            splits(rest).into_iter().map(move |rest| [vec![steps(stage)], rest].concat())
        })
        .collect()
}

#[test]
fn malformed_shapes_are_refused_by_name() {
    let refused = |shape: Shape| match check(&shape, &Limits::default()) {
        Err(CheckError::Malformed(malformed)) => malformed,
        other => panic!("{shape:?}: {other:?}"),
    };
    assert_eq!(
        refused(Shape { retriable: vec![steps(&[10])], ..trip() }),
        MalformedShape::DuplicateStep(StepNo(10)),
    );
    assert_eq!(
        refused(Shape { pivot: StepNo(20), ..trip() }),
        MalformedShape::PivotElsewhere(StepNo(20)),
    );
    assert_eq!(
        refused(Shape { compensatable: vec![steps(&[10, 20]), Vec::new()], ..trip() }),
        MalformedShape::EmptyStageBefore(1),
    );
    assert_eq!(
        refused(Shape { retriable: vec![Vec::new()], ..trip() }),
        MalformedShape::EmptyStageAfter(0),
    );
    assert_eq!(
        refused(Shape { pivot: StepNo(0), ..trip() }),
        MalformedShape::StepBelowOne(StepNo(0)),
    );

    let error = check(&Shape { pivot: StepNo(20), ..trip() }, &Limits::default()).unwrap_err();
    let told = "malformed shape: step 20 is the pivot and stands in another stage too: \
                keep it as the pivot alone";
    assert_eq!(error.to_string(), told);
}

#[test]
fn a_limit_that_is_too_small_says_so() {
    let error = check(&trip(), &Limits { states: 1_000, ..Limits::default() }).unwrap_err();
    assert_eq!(error, CheckError::NotExhausted { states: 1_000 });
    let told = "not exhausted: nothing found in 1000 states, but there are more: \
                raise Limits::states, or explore one executor or fewer faults";
    assert_eq!(error.to_string(), told);
}

#[test]
fn fewer_rejections_and_faults_are_fewer_states() {
    let limits = Limits { executors: 1, ..Limits::default() };
    let all = check(&trip(), &limits).unwrap();
    println!("a trip by one executor: {all}");
    let flight = Rejectable::Only([StepNo(10)].into());
    let fewer = check(&trip(), &Limits { rejectable: flight, ..limits.clone() }).unwrap();
    assert!(fewer.states < all.states, "{fewer}, of {all}");
    let fewer = check(&trip(), &limits.clone().without(Fault::LateCopy)).unwrap();
    assert!(fewer.states < all.states, "{fewer}, of {all}");

    let ticket = Rejectable::Only([StepNo(40)].into());
    let refused = check(&trip(), &Limits { rejectable: ticket, ..limits }).unwrap_err();
    assert_eq!(refused, CheckError::CannotReject(StepNo(40)));
}
