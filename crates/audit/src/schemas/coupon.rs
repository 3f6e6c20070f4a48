//! Coupons: quotas, states, requests and events.

use crate::events::{self, Events, Told};
use crate::findings::Findings;
use crate::ids;
use crate::invariant::{COUPON_EVENTS, COUPON_IDS, COUPON_QUOTA, COUPON_REQUESTS, COUPON_STATES};
use crate::requests::{Made, Requests};
use crate::snapshot::Snapshot;
use anyhow::Result;
use api::coupon::v1::{
    CouponCreated, CouponForfeited, CouponIssued, CouponRedeemUndone, CouponRedeemed,
    CouponRestored, CreateCouponResponse, IssueCouponResponse,
};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool};
use prost::Message;

/// Nobody uses it.
pub(crate) const ACTIVE: i64 = 1;
/// An order uses it.
pub(crate) const USED: i64 = 2;
/// Lost with its order.
pub(crate) const FORFEITED: i64 = 3;

const REQUESTS: Requests = Requests {
    invariant: COUPON_REQUESTS,
    owner: "coupon",
    made: "SELECT 1 AS method, id, 0 AS part, quota AS amount FROM coupon \
        UNION ALL SELECT 2, coupon_id, id, sequence FROM issued_coupon",
    told: |method, reply| match method {
        1 => {
            let coupon = CreateCouponResponse::decode(reply).ok()?.coupon?;
            Some(Made { method, id: coupon.coupon_id, part: 0, amount: coupon.quota.into() })
        }
        2 => {
            let issued = IssueCouponResponse::decode(reply).ok()?.issued_coupon?;
            let (id, part) = (issued.coupon_id, issued.issued_coupon_id);
            Some(Made { method, id, part, amount: issued.sequence.into() })
        }
        _ => None,
    },
    through: None,
};

const EVENTS: Events = Events {
    invariant: COUPON_EVENTS,
    changes: "SELECT 'coupon' AS kind, id, 1 AS version, 1 AS through, 0 AS is_event, \
        'commerce.coupon.v1.CouponCreated' AS event_type, created_at AS at, quota AS a, 0 AS b, 0 AS c, 0 AS d, \
        0 AS e, X'' AS payload FROM coupon \
        UNION ALL SELECT 'issued_coupon', id, 1, version, 0, '', issued_at, \
        coupon_id, user_id, sequence, state, COALESCE(order_id, 0), X'' FROM issued_coupon",
    tells,
};

fn tells(change: &events::Row, told: &Told<'_>) -> bool {
    let payload = told.payload;
    if told.event_type == "commerce.coupon.v1.CouponCreated" {
        return CouponCreated::decode(payload)
            .is_ok_and(|said| (said.coupon_id, i64::from(said.quota)) == (change.id, change.a));
    }
    let (state, order) = (change.d, change.e);
    let owner = (change.id, change.a, change.b);
    let is_last = told.version == change.through;
    let is_first = told.version == 1;
    // Until the last change an order is known from the event alone.
    let fits = |after: i64, named: i64| {
        let last = state == after && (after == ACTIVE || named == order);
        !is_first && (!is_last || last)
    };
    match told.event_type {
        "commerce.coupon.v1.CouponIssued" => CouponIssued::decode(payload).is_ok_and(|said| {
            let state = !is_last || state == ACTIVE;
            is_first
                && (said.issued_coupon_id, said.coupon_id, said.user_id) == owner
                && i64::from(said.sequence) == change.c
                && state
        }),
        "commerce.coupon.v1.CouponRedeemed" => CouponRedeemed::decode(payload).is_ok_and(|said| {
            (said.issued_coupon_id, said.coupon_id, said.user_id) == owner
                && said.discount_won >= 0
                && fits(USED, said.order_id)
        }),
        "commerce.coupon.v1.CouponRedeemUndone" => {
            CouponRedeemUndone::decode(payload).is_ok_and(|said| {
                (said.issued_coupon_id, said.coupon_id, said.user_id) == owner
                    && fits(ACTIVE, said.order_id)
            })
        }
        "commerce.coupon.v1.CouponRestored" => CouponRestored::decode(payload).is_ok_and(|said| {
            (said.issued_coupon_id, said.coupon_id, said.user_id) == owner
                && fits(ACTIVE, said.order_id)
        }),
        "commerce.coupon.v1.CouponForfeited" => {
            CouponForfeited::decode(payload).is_ok_and(|said| {
                (said.issued_coupon_id, said.coupon_id, said.user_id) == owner
                    && is_last
                    && fits(FORFEITED, said.order_id)
            })
        }
        _ => false,
    }
}

#[derive(QueryableByName)]
struct Campaign {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Bool)]
    holds: bool,
}

/// A campaign against its issued coupons: n different numbers from 1 to n are 1, 2, … n.
const QUOTA: &str = "SELECT c.id, c.issued BETWEEN 0 AND c.quota \
    AND c.issued = COALESCE(i.issued, 0) AND c.issued = COALESCE(i.numbers, 0) \
    AND COALESCE(i.first, 1) = 1 AND COALESCE(i.last, 0) = c.issued AS holds \
    FROM coupon c LEFT JOIN (SELECT coupon_id, COUNT(*) AS issued, \
    COUNT(DISTINCT sequence) AS numbers, MIN(sequence) AS first, MAX(sequence) AS last \
    FROM issued_coupon GROUP BY coupon_id) i ON i.coupon_id = c.id \
    UNION ALL SELECT coupon_id, 0 FROM issued_coupon \
    WHERE coupon_id NOT IN (SELECT id FROM coupon) GROUP BY coupon_id";

/// An issued coupon by itself and against its campaign. Days are those of Asia/Seoul, which knows no summer time.
const STATES: &str = "SELECT i.id, COALESCE(CASE i.state WHEN 1 THEN i.order_id IS NULL \
    WHEN 2 THEN i.order_id IS NOT NULL \
    WHEN 3 THEN i.order_id IS NOT NULL AND c.cancel_policy = 2 ELSE 0 END \
    AND i.valid_from = DATE(i.issued_at + INTERVAL 9 HOUR) \
    AND i.valid_until = i.valid_from + INTERVAL c.validity_days DAY \
    AND i.version >= i.state AND i.user_id > 0, 0) AS holds \
    FROM issued_coupon i LEFT JOIN coupon c ON c.id = i.coupon_id";

/// Checks what the schema says of itself.
pub(crate) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> Result<()> {
    snapshot
        .each(QUOTA, |row: Campaign| {
            findings.check(&COUPON_QUOTA, row.holds, format!("coupon {}", row.id));
        })
        .await?;
    snapshot
        .each(STATES, |row: Campaign| {
            findings.check(&COUPON_STATES, row.holds, format!("issued coupon {}", row.id));
        })
        .await?;
    REQUESTS.check(snapshot, findings).await?;
    EVENTS.check(snapshot, findings).await?;
    let kinds = [
        ("coupon", "SELECT MAX(id) FROM coupon"),
        ("issued_coupon", "SELECT MAX(id) FROM issued_coupon"),
    ];
    ids::check(&COUPON_IDS, &kinds, snapshot, findings).await
}
