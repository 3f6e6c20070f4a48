//! Coupons in the words of the contract: messages, refusals, events.

use crate::domain::{
    CancelPolicy, Coupon, CouponId, Discount, Issuable, Issued, OrderId, Refused, State, Terms,
    Unusable, UserId,
};
use crate::store::{Owner, StateCode};
use ::participant::Moment;
use api::coupon::v1::create_coupon_request::Discount as Wanted;
use api::coupon::v1::{
    self, CouponCreated, CouponForfeited, CouponIssued, CouponRedeemUndone, CouponRedeemed,
    CouponRestored, CreateCouponRequest, FixedDiscount, IssuedCoupon, IssuedCouponState,
    PercentDiscount, RedeemCouponReply,
};
use api::{Reason, Refusal};
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use events::Event;
use prost::{Message, Name};
use prost_types::Timestamp;

impl From<&Coupon> for v1::Coupon {
    fn from(coupon: &Coupon) -> Self {
        let terms = &coupon.terms;
        let discount = match terms.discount {
            Discount::Percent { percent, cap } => {
                v1::coupon::Discount::Percent(PercentDiscount { percent, max_amount_won: cap })
            }
            Discount::Fixed { amount } => {
                v1::coupon::Discount::Fixed(FixedDiscount { amount_won: amount })
            }
        };
        let cancel_policy = match terms.cancel_policy {
            CancelPolicy::Restore => v1::CancelPolicy::Restore,
            CancelPolicy::Forfeit => v1::CancelPolicy::Forfeit,
        };
        Self {
            coupon_id: coupon.id.0,
            name: terms.name.clone(),
            discount: Some(discount),
            quota: terms.quota,
            issued_count: coupon.issued,
            // 3,650 at most.
            validity_days: i32::try_from(terms.validity_days).unwrap_or(i32::MAX),
            issuable_from: terms.issuable.from.map(timestamp),
            issuable_until: terms.issuable.until.map(timestamp),
            cancel_policy: cancel_policy.into(),
            created_at: Some(timestamp(coupon.created_at)),
        }
    }
}

impl From<&Issued> for IssuedCoupon {
    fn from(issued: &Issued) -> Self {
        Self {
            issued_coupon_id: issued.id.0,
            coupon_id: issued.coupon.0,
            user_id: issued.user.0,
            sequence: issued.sequence,
            state: state(issued.state).into(),
            order_id: issued.state.order().map(|order| order.0),
            issued_at: Some(timestamp(issued.issued_at)),
            valid_from_date: issued.validity.from.to_string(),
            valid_until_date: issued.validity.until.to_string(),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoSuchUser(user) => Self::new(Reason::WalletNotFound).with("user_id", user.0),
            Refused::NotFound(coupon) => {
                Self::new(Reason::CouponNotFound).with("coupon_id", coupon.0)
            }
            Refused::IssuedNotFound(id) => {
                Self::new(Reason::IssuedCouponNotFound).with("issued_coupon_id", id.0)
            }
            Refused::NotIssuedTo(coupon, user) => Self::new(Reason::IssuedCouponNotFound)
                .with("coupon_id", coupon.0)
                .with("user_id", user.0),
            Refused::AlreadyIssued(id) => {
                Self::new(Reason::CouponAlreadyIssued).with("issued_coupon_id", id.0)
            }
            Refused::SoldOut { coupon, quota } => {
                Self::new(Reason::CouponSoldOut).with("coupon_id", coupon.0).with("quota", quota)
            }
            Refused::NotIssuable { coupon, issuable } => not_issuable(coupon, issuable),
            Refused::NotUsable(id, why) => Self::new(Reason::CouponNotUsable)
                .with("issued_coupon_id", id.0)
                .with("state", unusable(why)),
        }
    }
}

fn not_issuable(coupon: CouponId, issuable: Issuable) -> Refusal {
    let refusal = Refusal::new(Reason::CouponNotIssuable).with("coupon_id", coupon.0);
    let bounds = [("issuable_from", issuable.from), ("issuable_until", issuable.until)];
    let bounds = bounds.into_iter().filter_map(|(key, at)| Some((key, at?)));
    bounds.fold(refusal, |refusal, (key, at)| {
        refusal.with(key, at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    })
}

fn unusable(why: Unusable) -> &'static str {
    match why {
        Unusable::Used => "USED",
        Unusable::Forfeited => "FORFEITED",
        Unusable::Expired => "EXPIRED",
        Unusable::DiscountIsZero => "DISCOUNT_IS_ZERO",
    }
}

/// The contract's word for where a coupon stands.
pub(crate) fn state(state: State) -> IssuedCouponState {
    match state {
        State::Active => IssuedCouponState::Active,
        State::Used(_) => IssuedCouponState::Used,
        State::Forfeited(_) => IssuedCouponState::Forfeited,
    }
}

/// The state that a filter names; `None` for any.
pub(crate) fn state_filter(state: IssuedCouponState) -> Option<StateCode> {
    match state {
        IssuedCouponState::Unspecified => None,
        IssuedCouponState::Active => Some(StateCode::Active),
        IssuedCouponState::Used => Some(StateCode::Used),
        IssuedCouponState::Forfeited => Some(StateCode::Forfeited),
    }
}

/// The terms of a new campaign.
///
/// # Errors
/// `INVALID_FIELD` for what is missing.
pub(crate) fn terms(request: &CreateCouponRequest) -> Result<Terms, Refusal> {
    let required = |field: &str| Refusal::invalid_field(field, "is required");
    let discount = match &request.discount {
        Some(Wanted::Percent(PercentDiscount { percent, max_amount_won })) => {
            Discount::Percent { percent: *percent, cap: *max_amount_won }
        }
        Some(Wanted::Fixed(FixedDiscount { amount_won })) => {
            Discount::Fixed { amount: *amount_won }
        }
        None => return Err(required("discount")),
    };
    let cancel_policy = match request.cancel_policy() {
        v1::CancelPolicy::Restore => CancelPolicy::Restore,
        v1::CancelPolicy::Forfeit => CancelPolicy::Forfeit,
        v1::CancelPolicy::Unspecified => return Err(required("cancel_policy")),
    };
    let negative = |_| Refusal::invalid_field("validity_days", "must be 0 or more");
    let validity_days = u32::try_from(request.validity_days).map_err(negative)?;
    let issuable = Issuable {
        from: request.issuable_from.as_ref().map(|at| instant("issuable_from", at)).transpose()?,
        until: request
            .issuable_until
            .as_ref()
            .map(|at| instant("issuable_until", at))
            .transpose()?,
    };
    let (name, quota) = (request.name.clone(), request.quota);
    Ok(Terms { name, discount, quota, validity_days, issuable, cancel_policy })
}

/// An instant of a request, cut to microseconds.
///
/// # Errors
/// `INVALID_FIELD` for what is no instant.
pub(crate) fn instant(field: &str, at: &Timestamp) -> Result<DateTime<Utc>, Refusal> {
    let nanos = u32::try_from(at.nanos).ok();
    nanos
        .and_then(|nanos| DateTime::from_timestamp(at.seconds, nanos))
        .map(|at| at.trunc_subsecs(6))
        .ok_or_else(|| Refusal::invalid_field(field, "must be an instant"))
}

/// A use of a coupon, as its barrier row records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) owner: Owner,
    pub(crate) order: OrderId,
}

/// The reply of a use, which is also all that undoing it needs.
pub(crate) fn redeemed(issued: &Issued, order: OrderId, discount: i64) -> RedeemCouponReply {
    RedeemCouponReply {
        discount_won: discount,
        issued_coupon_id: issued.id.0,
        coupon_id: issued.coupon.0,
        user_id: issued.user.0,
        order_id: order.0,
    }
}

/// A recorded use; `None` for what no version recorded.
pub(crate) fn recorded_use(recorded: &[u8]) -> Option<Use> {
    let reply = RedeemCouponReply::decode(recorded).ok()?;
    let owner = (CouponId(reply.coupon_id), UserId(reply.user_id));
    Some(Use { owner, order: OrderId(reply.order_id) })
}

/// The event of a new campaign.
pub(crate) fn created(coupon: &Coupon, moment: &Moment<'_>) -> Event {
    let payload = CouponCreated {
        coupon_id: coupon.id.0,
        name: coupon.terms.name.clone(),
        quota: coupon.terms.quota,
    };
    event(("coupon", coupon.id.0, 1), &payload, moment)
}

/// The event of a coupon that a user got.
pub(crate) fn issued(issued: &Issued, moment: &Moment<'_>) -> Event {
    let payload = CouponIssued {
        issued_coupon_id: issued.id.0,
        coupon_id: issued.coupon.0,
        user_id: issued.user.0,
        sequence: issued.sequence,
    };
    of_issued(issued, &payload, moment)
}

/// The event of a coupon that an order uses.
pub(crate) fn used(issued: &Issued, order: OrderId, discount: i64, moment: &Moment<'_>) -> Event {
    let payload = CouponRedeemed {
        issued_coupon_id: issued.id.0,
        coupon_id: issued.coupon.0,
        user_id: issued.user.0,
        order_id: order.0,
        discount_won: discount,
    };
    of_issued(issued, &payload, moment)
}

/// The event of a coupon whose use was undone.
pub(crate) fn undone(issued: &Issued, order: OrderId, moment: &Moment<'_>) -> Event {
    let payload = CouponRedeemUndone {
        issued_coupon_id: issued.id.0,
        coupon_id: issued.coupon.0,
        user_id: issued.user.0,
        order_id: order.0,
    };
    of_issued(issued, &payload, moment)
}

/// The event of a coupon whose order was cancelled.
pub(crate) fn order_cancelled(issued: &Issued, order: OrderId, moment: &Moment<'_>) -> Event {
    let Issued { id, coupon, user, .. } = issued;
    let (issued_coupon_id, coupon_id, user_id, order_id) = (id.0, coupon.0, user.0, order.0);
    if let State::Forfeited(_) = issued.state {
        let payload = CouponForfeited { issued_coupon_id, coupon_id, user_id, order_id };
        return of_issued(issued, &payload, moment);
    }
    let payload = CouponRestored { issued_coupon_id, coupon_id, user_id, order_id };
    of_issued(issued, &payload, moment)
}

fn of_issued<M: Message + Name>(issued: &Issued, payload: &M, moment: &Moment<'_>) -> Event {
    event(("issued_coupon", issued.id.0, issued.version), payload, moment)
}

fn event<M: Message + Name>(
    (aggregate_kind, aggregate_id, version): (&'static str, i64, i64),
    payload: &M,
    moment: &Moment<'_>,
) -> Event {
    Event {
        event_type: M::full_name(),
        aggregate_kind,
        aggregate_id,
        version,
        occurred_at: moment.at,
        trace_id: moment.trace.trace_id.clone(),
        traceparent: moment.trace.traceparent.clone(),
        payload: payload.encode_to_vec(),
    }
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{IssuedId, Validity};

    #[test]
    fn a_use_is_read_back_from_its_reply() {
        let at = "2025-07-24T00:00:00Z".parse().unwrap();
        let issued = Issued {
            id: IssuedId(1),
            coupon: CouponId(2),
            user: UserId(3),
            sequence: 1,
            state: State::Used(OrderId(4)),
            version: 2,
            issued_at: at,
            validity: Validity::after_issue(at, 7),
        };
        let recorded = redeemed(&issued, OrderId(4), 500).encode_to_vec();
        let owner = (CouponId(2), UserId(3));
        assert_eq!(recorded_use(&recorded), Some(Use { owner, order: OrderId(4) }));
        assert_eq!(recorded_use(b"\xff\xff"), None);
    }

    #[test]
    fn a_refusal_tells_the_bounds_that_there_are() {
        let from = "2025-07-24T00:00:00.000001Z".parse().ok();
        let issuable = Issuable { from, until: None };
        let refusal = Refusal::from(Refused::NotIssuable { coupon: CouponId(1), issuable });
        let told: Vec<_> = refusal.metadata.into_iter().collect();
        let told: Vec<_> = told.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(told, [("coupon_id", "1"), ("issuable_from", "2025-07-24T00:00:00.000001Z")]);
    }
}
