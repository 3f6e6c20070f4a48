use super::*;

const ORDER: OrderId = OrderId(9);

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn terms() -> Terms {
    Terms {
        name: "opening day".to_owned(),
        discount: Discount::Percent { percent: 10, cap: None },
        quota: 2,
        validity_days: 7,
        issuable: Issuable::default(),
        cancel_policy: CancelPolicy::Restore,
    }
}

fn campaign(terms: Terms) -> Coupon {
    Coupon::create(CouponId(1), terms, at("2025-07-01T00:00:00Z"))
}

fn issued(when: &str) -> Issued {
    campaign(terms()).issue(IssuedId(5), UserId(7), at(when)).unwrap()
}

#[test]
fn a_percentage_is_floored_and_capped() {
    let percent = |percent, cap| Discount::Percent { percent, cap };
    assert_eq!(percent(10, None).of(20_000), 2_000);
    assert_eq!(percent(33, None).of(1_001), 330);
    assert_eq!(percent(1, None).of(99), 0);
    assert_eq!(percent(100, None).of(1), 1);
    assert_eq!(percent(50, Some(5_000)).of(10_002), 5_000);
    assert_eq!(percent(50, Some(5_000)).of(9_999), 4_999);
    assert_eq!(percent(100, None).of(i64::MAX), i64::MAX);
    assert_eq!(percent(99, None).of(1_000_000_000_000_000), 990_000_000_000_000);
}

#[test]
fn a_fixed_sum_never_exceeds_the_total() {
    let fixed = Discount::Fixed { amount: 5_000 };
    assert_eq!(fixed.of(5_001), 5_000);
    assert_eq!(fixed.of(4_999), 4_999);
    assert_eq!(fixed.of(0), 0);
}

#[test]
fn a_coupon_of_7_days_issued_on_2025_07_24_is_valid_through_2025_07_31() {
    // 2025-07-24 in Seoul is 2025-07-23T15:00Z to 2025-07-24T15:00Z.
    for when in ["2025-07-23T15:00:00Z", "2025-07-24T14:59:59.999999Z"] {
        let coupon = issued(when);
        let day = |day| NaiveDate::from_ymd_opt(2025, 7, day).unwrap();
        assert_eq!(coupon.validity, Validity { from: day(24), until: day(31) });
        let used_at = |placed: &str| coupon.clone().redeem(ORDER, at(placed), at(placed), 1);
        let refused = |why| Err(Refused::NotUsable(IssuedId(5), why));
        assert_eq!(used_at("2025-07-23T15:00:00Z"), Ok(()));
        assert_eq!(used_at("2025-07-31T14:59:59.999999Z"), Ok(()));
        assert_eq!(used_at("2025-07-31T15:00:00Z"), refused(Unusable::Expired));
    }
}

#[test]
fn a_coupon_is_used_by_a_clock_that_is_behind_the_one_it_was_issued_by() {
    let first_second = issued("2025-07-23T15:00:00Z");
    for behind in ["2025-07-23T14:59:59Z", "2025-07-15T15:00:00Z"] {
        assert_eq!(first_second.clone().redeem(ORDER, at(behind), at(behind), 1), Ok(()));
    }
}

#[test]
fn a_coupon_is_expired_only_if_both_the_order_and_its_use_come_after_its_last_day() {
    let (valid, late) = (at("2025-07-30T00:00:00Z"), at("2025-08-07T00:00:00Z"));
    let used = |placed, now| issued("2025-07-23T15:00:00Z").redeem(ORDER, placed, now, 1);
    assert_eq!(used(valid, late), Ok(()), "a saga that was taken over late");
    assert_eq!(used(late, valid), Ok(()), "an order dated by a clock that is ahead");
    assert_eq!(used(late, late), Err(Refused::NotUsable(IssuedId(5), Unusable::Expired)));
}

#[test]
fn no_days_of_validity_are_the_day_of_issue() {
    let validity = Validity::after_issue(at("2025-07-24T20:00:00Z"), 0);
    assert_eq!((validity.from, validity.until), (validity.from, validity.from));
    assert_eq!(validity.from.to_string(), "2025-07-25");
}

#[test]
fn exactly_the_quota_is_issued_in_sequence() {
    let mut campaign = campaign(terms());
    let now = at("2025-07-24T00:00:00Z");
    let sequences = [1, 2].map(|n| campaign.issue(IssuedId(n), UserId(n), now).unwrap().sequence);
    assert_eq!(sequences, [1, 2]);
    let sold_out = Refused::SoldOut { coupon: CouponId(1), quota: 2 };
    assert_eq!(campaign.issue(IssuedId(3), UserId(3), now), Err(sold_out));
    assert_eq!(campaign.issued, 2);
}

#[test]
fn numbers_end_with_the_greatest_that_there_is() {
    let mut campaign = campaign(Terms { quota: i32::MAX, ..terms() });
    let now = at("2025-07-24T00:00:00Z");
    campaign.issued = i32::MAX - 1;
    assert_eq!(campaign.issue(IssuedId(1), UserId(1), now).unwrap().sequence, i32::MAX);
    let sold_out = Refused::SoldOut { coupon: CouponId(1), quota: i32::MAX };
    assert_eq!(campaign.issue(IssuedId(2), UserId(2), now), Err(sold_out));
    assert_eq!(campaign.issued, i32::MAX);
}

#[test]
fn coupons_are_issued_from_inclusive_until_exclusive() {
    let (from, until) = (at("2025-07-24T00:00:00Z"), at("2025-07-25T00:00:00Z"));
    let issuable = Issuable { from: Some(from), until: Some(until) };
    let issue = |when| campaign(Terms { issuable, ..terms() }).issue(IssuedId(1), UserId(1), when);
    let refused = Refused::NotIssuable { coupon: CouponId(1), issuable };
    let microsecond = TimeDelta::microseconds(1);
    assert_eq!(issue(from - microsecond), Err(refused.clone()));
    assert!(issue(from).is_ok());
    assert!(issue(until - microsecond).is_ok());
    assert_eq!(issue(until), Err(refused));
}

#[test]
fn sold_out_stays_sold_out_when_the_time_is_over() {
    let until = Some(at("2025-07-25T00:00:00Z"));
    let mut over = campaign(Terms { issuable: Issuable { from: None, until }, ..terms() });
    over.issued = 2;
    let refused = over.issue(IssuedId(3), UserId(3), at("2025-07-26T00:00:00Z"));
    assert_eq!(refused, Err(Refused::SoldOut { coupon: CouponId(1), quota: 2 }));
}

#[test]
fn a_coupon_is_used_once_until_its_use_is_undone() {
    let when = at("2025-07-24T00:00:00Z");
    let mut coupon = issued("2025-07-24T00:00:00Z");
    coupon.redeem(ORDER, when, when, 1).unwrap();
    assert_eq!((coupon.state, coupon.version), (State::Used(ORDER), 2));
    let used = Refused::NotUsable(IssuedId(5), Unusable::Used);
    assert_eq!(coupon.redeem(OrderId(10), when, when, 1), Err(used));
    assert_eq!(coupon.undo_redeem(OrderId(10)), None, "another order's use is not undone");
    assert_eq!(coupon.undo_redeem(ORDER), Some(()));
    assert_eq!((coupon.state, coupon.version), (State::Active, 3));
    assert_eq!(coupon.undo_redeem(ORDER), None);
}

#[test]
fn a_coupon_that_takes_nothing_off_is_not_used_up() {
    let when = at("2025-07-24T00:00:00Z");
    let mut coupon = issued("2025-07-24T00:00:00Z");
    let percent = Discount::Percent { percent: 1, cap: None };
    let refused = Refused::NotUsable(IssuedId(5), Unusable::DiscountIsZero);
    assert_eq!(coupon.redeem(ORDER, when, when, percent.of(99)), Err(refused));
    assert_eq!((coupon.state, coupon.version), (State::Active, 1));
    assert_eq!(coupon.redeem(ORDER, when, when, percent.of(100)), Ok(()));
    let used = Refused::NotUsable(IssuedId(5), Unusable::Used);
    assert_eq!(coupon.redeem(ORDER, when, when, percent.of(99)), Err(used));
}

#[test]
fn a_cancelled_order_gives_the_coupon_back_or_takes_it_with_it() {
    let when = at("2025-07-24T00:00:00Z");
    let used = || {
        let mut coupon = issued("2025-07-24T00:00:00Z");
        coupon.redeem(ORDER, when, when, 1).unwrap();
        coupon
    };
    let mut restored = used();
    let validity = restored.validity;
    assert_eq!(restored.order_cancelled(ORDER, CancelPolicy::Restore), Some(()));
    assert_eq!((restored.state, restored.validity), (State::Active, validity));
    assert_eq!(restored.redeem(OrderId(10), when, when, 1), Ok(()));

    let mut forfeited = used();
    assert_eq!(forfeited.order_cancelled(OrderId(10), CancelPolicy::Forfeit), None);
    assert_eq!(forfeited.order_cancelled(ORDER, CancelPolicy::Forfeit), Some(()));
    assert_eq!(forfeited.state.order(), Some(ORDER));
    let lost = Refused::NotUsable(IssuedId(5), Unusable::Forfeited);
    assert_eq!(forfeited.redeem(OrderId(10), when, when, 1), Err(lost));
}
