//! What replicas tell each other by Redis, and that nothing rests on it.

use crate::harness::{Shop, issue, reason, refusal};
use api::Reason;
use api::coupon::v1::IssueCouponRequest;
use coupon::TurnedAway;
use embedded::{Redis, RedisOptions};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// A campaign of one coupon, which user 1 has, and which was sold out to user 2.
async fn sold_out(shop: &Shop) -> i64 {
    let coupon = shop.campaign(1).await;
    shop.issue(1, coupon).await.unwrap();
    assert_eq!(reason(&shop.issue(2, coupon).await.unwrap_err()), Reason::CouponSoldOut);
    assert_eq!(shop.service.turned_away(), TurnedAway { database: 1, ..TurnedAway::default() });
    coupon
}

async fn redis() -> Redis {
    Redis::start(RedisOptions::temporary()).await.unwrap()
}

/// Late comers ask replicas that know nothing, one each, until Redis tells one of them.
async fn until_redis_tells(shop: &Shop, coupon: i64) {
    for _ in 0..1_000 {
        let replica = shop.replica();
        assert_eq!(reason(&replica.issue(3, coupon).await.unwrap_err()), Reason::CouponSoldOut);
        let TurnedAway { redis, database, .. } = replica.service.turned_away();
        assert_eq!(redis + database, 1);
        if redis == 1 {
            return;
        }
        // The notice is posted behind the answer's back.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("no replica was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_told_by_redis_what_another_saw_sold_out() {
    let shop = Shop::start().await;
    let coupon = sold_out(&shop).await;
    until_redis_tells(&shop, coupon).await;

    let replica = shop.replica();
    let told = refusal(&replica.issue(4, coupon).await.unwrap_err());
    assert_eq!(told, refusal(&shop.issue(4, coupon).await.unwrap_err()));
    assert_eq!(replica.service.turned_away(), TurnedAway { redis: 1, ..TurnedAway::default() });
    replica.issue(5, coupon).await.unwrap_err();
    let TurnedAway { memory, redis, database } = replica.service.turned_away();
    assert_eq!((memory + redis, database), (2, 0));
    let held = refusal(&shop.replica().issue(1, coupon).await.unwrap_err());
    assert_eq!(held.reason, Reason::CouponAlreadyIssued, "who has one is told so all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_not_sold_out_while_one_is_left() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(2).await;
    shop.issue(1, coupon).await.unwrap();
    for replica in [shop.replica(), shop.replica()] {
        assert_eq!(
            reason(&replica.issue(1, coupon).await.unwrap_err()),
            Reason::CouponAlreadyIssued
        );
        assert_eq!(replica.service.turned_away(), TurnedAway::default());
    }
    assert_eq!(shop.replica().issue(2, coupon).await.unwrap().sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_forgot_the_rows_know_and_it_is_told_again() {
    let redis = redis().await;
    let shop = Shop::on_redis(&redis.url()).await;
    let coupon = sold_out(&shop).await;
    until_redis_tells(&shop, coupon).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    until_redis_tells(&shop, coupon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_or_is_gone_fails_no_issue() {
    let redis = redis().await;
    let shop = Shop::on_redis(&redis.url()).await;
    let coupon = sold_out(&shop).await;
    let pid = i32::try_from(redis.pid().unwrap()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let hung = shop.replica();
    let other = shop.campaign(1).await;
    assert_eq!(hung.issue(1, other).await.unwrap().sequence, 1);
    assert_eq!(reason(&hung.issue(3, coupon).await.unwrap_err()), Reason::CouponSoldOut);
    assert_eq!(hung.service.turned_away(), TurnedAway { database: 1, ..TurnedAway::default() });

    redis.kill().await.unwrap();
    let gone = shop.replica();
    assert_eq!(reason(&gone.ask(issue(3, coupon)).await.unwrap_err()), Reason::CouponSoldOut);
    assert_eq!(gone.service.turned_away(), TurnedAway { database: 1, ..TurnedAway::default() });
    redis.restart().await.unwrap();
    until_redis_tells(&shop, coupon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_early_stays_refused_and_keeps_its_request_id() {
    let shop = Shop::start().await;
    let coupon = sold_out(&shop).await;
    until_redis_tells(&shop, coupon).await;
    let open = shop.campaign(5).await;
    // By the memory of a process, and by Redis.
    for replica in [&shop, &shop.replica()] {
        let before = replica.service.turned_away();
        let request = issue(7, coupon);
        let first = refusal(&replica.ask(request.clone()).await.unwrap_err());
        assert_eq!(first.reason, Reason::CouponSoldOut);
        let TurnedAway { memory, redis, database } = replica.service.turned_away();
        assert_eq!((memory + redis, database), (before.memory + before.redis + 1, before.database));

        let elsewhere = shop.replica();
        for other in [replica, &elsewhere] {
            assert_eq!(refusal(&other.ask(request.clone()).await.unwrap_err()), first);
            let reused = IssueCouponRequest { coupon_id: open, ..request.clone() };
            assert_eq!(reason(&other.ask(reused).await.unwrap_err()), Reason::RequestIdReused);
        }
    }
    assert_eq!(shop.get(open).await.issued_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_wrong_keeps_nobody_from_a_coupon() {
    let redis = redis().await;
    let shop = Shop::on_redis(&redis.url()).await;
    let coupon = sold_out(&shop).await;
    until_redis_tells(&shop, coupon).await;
    let raise = format!("UPDATE coupon SET quota = 2 WHERE id = {coupon}");
    shop.run(&raise).await;
    assert_eq!(shop.replica().issue(8, coupon).await.unwrap().sequence, 2);
}
