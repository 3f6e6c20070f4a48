use super::*;
use crate::place::Place;
use events::PerShard;
use std::sync::Arc;

const WALLET: EventSource = EventSource::Wallet;
const ORDER: EventSource = EventSource::Order;
const PLACED: &str = "commerce.order.v1.OrderConfirmed";

fn answers(types: &[&str], room: usize) -> (Answers, mpsc::Receiver<Answer>) {
    let place = Place::oldest(&PerShard::default());
    let cursor = Cursor::new([WALLET, ORDER].map(|source| (source, place)));
    let types = types.iter().map(ToString::to_string).collect();
    let (out, responses) = mpsc::channel(room);
    (Answers::new(types, cursor, out), responses)
}

fn shard() -> Shard {
    Shard::new(5).unwrap()
}

fn event(kind: &str, source: EventSource) -> EventEnvelope {
    let payload = Some(events::message::payload(kind, Vec::new()));
    EventEnvelope {
        aggregate_id: i64::from(i32::from(source)),
        payload,
        ..EventEnvelope::default()
    }
}

/// The only event of the message at a position.
fn whole(position: i64) -> Sent {
    Sent { shard: shard(), position, mark: 1, events: 1, of: 1 }
}

/// The positions of both sources that an answer leads to.
fn reached(answer: &StreamEventsResponse) -> [i64; 2] {
    let cursor = Cursor::read(&[WALLET, ORDER], &answer.cursor).unwrap().unwrap();
    [WALLET, ORDER].map(|source| cursor.place(source).unwrap().position(shard()))
}

#[tokio::test]
async fn sources_take_turns_and_every_answer_tells_what_was_sent_of_each() {
    const EACH: i64 = 50;
    let (answers, mut responses) = answers(&[], 1);
    let answers = Arc::new(answers);
    for source in [WALLET, ORDER] {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            for position in 1..=EACH {
                answers.give(source, whole(position), event(PLACED, source)).await.unwrap();
            }
        });
    }
    drop(answers);
    let mut sent = [0, 0];
    while let Some(answer) = responses.recv().await {
        let answer = answer.unwrap();
        let source = answer.event.as_ref().unwrap().aggregate_id;
        sent[usize::from(source == i64::from(i32::from(ORDER)))] += 1;
        assert_eq!(reached(&answer), sent);
        assert!((sent[0] - sent[1]).abs() <= 2, "{sent:?}");
    }
    assert_eq!(sent, [EACH, EACH]);
}

#[tokio::test]
async fn events_of_other_types_are_passed_over_and_the_client_is_told_how_far() {
    let (answers, mut responses) = answers(&[PLACED], 8);
    let passed = i64::try_from(PASSED).unwrap();
    for position in 1..=passed + 1 {
        answers.give(WALLET, whole(position), event("commerce.x.Other", WALLET)).await.unwrap();
    }
    let told = responses.try_recv().unwrap().unwrap();
    assert_eq!((told.event.as_ref(), reached(&told)), (None, [passed, 0]));
    assert!(responses.try_recv().is_err());
    answers.tell().await.unwrap();
    let told = responses.try_recv().unwrap().unwrap();
    assert_eq!((told.event.as_ref(), reached(&told)), (None, [passed + 1, 0]));
    // Nothing was passed over since.
    answers.tell().await.unwrap();
    assert!(responses.try_recv().is_err());
    // An event tells it, too.
    answers.give(WALLET, whole(passed + 2), event("commerce.x.Other", WALLET)).await.unwrap();
    answers.give(ORDER, whole(1), event(PLACED, ORDER)).await.unwrap();
    let told = responses.try_recv().unwrap().unwrap();
    assert_eq!((told.event.is_some(), reached(&told)), (true, [passed + 2, 1]));
    answers.tell().await.unwrap();
    assert!(responses.try_recv().is_err());
}

#[tokio::test]
async fn what_an_outbox_says_of_itself_comes_to_those_who_ask_for_it() {
    for (types, comes) in [(&[][..], false), (&[PLACED], false), (&[PLACED, REWOUND], true)] {
        let (answers, mut responses) = answers(types, 8);
        answers.give(ORDER, whole(1), event(REWOUND, ORDER)).await.unwrap();
        assert_eq!(responses.try_recv().is_ok(), comes, "{types:?}");
        answers.give(ORDER, whole(2), event(PLACED, ORDER)).await.unwrap();
        assert!(responses.try_recv().unwrap().unwrap().event.is_some());
    }
}

#[tokio::test]
async fn a_client_that_is_gone_is_noticed() {
    let (answers, responses) = answers(&[], 1);
    drop(responses);
    assert_eq!(answers.gone().await, Gone);
    assert_eq!(answers.give(ORDER, whole(1), event(PLACED, ORDER)).await, Err(Gone));
}
