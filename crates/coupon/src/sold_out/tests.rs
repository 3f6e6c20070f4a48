//! What is remembered, without any Redis.

use super::*;

fn alone() -> SoldOut {
    SoldOut::new(Notices::open("redis://127.0.0.1:1", "none").unwrap())
}

fn rejected(reason: Reason) -> Told {
    let rejection = Refusal::new(reason).with("quota", 5).encode();
    Told::Rejected { rejection, replayed: false }
}

#[tokio::test]
async fn only_sold_out_is_remembered_and_only_for_its_campaign() {
    let sold_out = alone();
    sold_out.learn(CouponId(1), &rejected(Reason::CouponNotIssuable));
    sold_out.learn(CouponId(2), &Told::Done { reply: Vec::new(), replayed: false });
    for open in [1, 2] {
        assert!(sold_out.heard_by(CouponId(open)).await.is_none());
    }
    sold_out.learn(CouponId(3), &rejected(Reason::CouponSoldOut));
    for confirmed in [Reason::CouponAlreadyIssued, Reason::CouponSoldOut] {
        sold_out.heard_by(CouponId(3)).await.unwrap().confirmed(&rejected(confirmed));
    }
    assert_eq!(sold_out.turned_away(), TurnedAway { memory: 1, redis: 0, database: 1 });
}

#[tokio::test]
async fn what_was_heard_first_is_news_and_nothing_undoes_it_while_it_lasts() {
    let sold_out = alone();
    let refusal = Refusal::new(Reason::CouponSoldOut);
    assert!(!sold_out.remember(CouponId(1), None, MEMORY));
    assert!(sold_out.remember(CouponId(1), Some(refusal.clone()), MEMORY));
    assert!(!sold_out.remember(CouponId(1), Some(refusal.clone()), MEMORY));
    assert!(!sold_out.remember(CouponId(1), None, MEMORY));
    assert_eq!(sold_out.remembered(CouponId(1)), Some(Some(refusal)));
}

#[tokio::test]
async fn the_memory_ends_and_is_bounded() {
    let sold_out = alone();
    let refusal = || Some(Refusal::new(Reason::CouponSoldOut));
    assert!(sold_out.remember(CouponId(1), refusal(), Duration::ZERO));
    assert_eq!(sold_out.remembered(CouponId(1)), None);
    let campaigns = i64::try_from(CAMPAIGNS).unwrap();
    for id in 2..2 * campaigns {
        sold_out.remember(CouponId(id), refusal(), Duration::from_hours(1));
    }
    assert_eq!(sold_out.memory.read().unwrap().len(), CAMPAIGNS);
}
