//! Who used a coupon, by the steps on record, against where it stands.

use crate::files::{coupon, order};
use crate::findings::Findings;
use crate::invariant::COUPON_STEPS;
use crate::schemas::coupon::{ACTIVE, FORFEITED, USED};
use crate::snapshot::Snapshot;
use anyhow::Result;
use api::coupon::v1::IssuedCouponState;
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use futures_util::TryStreamExt;
use std::collections::BTreeMap;

/// Uses that stand, and what became of those whose orders were cancelled. Two numbers a use.
#[derive(Default)]
pub(crate) struct Uses {
    /// Orders by issued coupon.
    used: BTreeMap<i64, Vec<i64>>,
    /// Orders that no longer use the coupon, and whether it was lost with them.
    ended: BTreeMap<(i64, i64), bool>,
    /// Whether uses may be missing, their rows being purged.
    pub(crate) some_purged: bool,
}

#[derive(QueryableByName)]
struct Issued {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    state: i64,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
}

impl Uses {
    /// Takes note of one saga. Orders are read after coupons, so a cancel that has ended a use has its order there.
    pub(crate) fn note(&mut self, coupon: Option<&coupon::File>, order: Option<&order::File>) {
        let Some(coupon) = coupon else { return };
        if let Some(used) = coupon.redeem.done() {
            self.used.entry(used.issued_coupon_id).or_default().push(used.order_id);
        }
        let cancelled = order.and_then(|order| order.cancelled.as_ref());
        if let (Some(restored), Some(order)) = (coupon.restore.done(), cancelled) {
            let lost = restored.state() == IssuedCouponState::Forfeited;
            let issued = order.issued_coupon_id.unwrap_or_default();
            self.ended.insert((issued, order.order_id), lost);
        }
    }

    /// Compares with the coupons of the snapshot from which the steps were read.
    pub(crate) async fn check(
        mut self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        const ISSUED: &str =
            "SELECT id, state, COALESCE(order_id, 0) AS order_id FROM issued_coupon ORDER BY id";
        let mut rows = snapshot.rows::<Issued>(ISSUED).await?;
        while let Some(row) = rows.try_next().await? {
            let used = self.used.remove(&row.id).unwrap_or_default();
            let holds = self.allow(&row, &used);
            findings.check(&COUPON_STEPS, holds, format!("issued coupon {}", row.id));
        }
        for id in self.used.keys() {
            findings.offend(&COUPON_STEPS, format!("issued coupon {id}"));
        }
        Ok(())
    }

    fn allow(&self, row: &Issued, used: &[i64]) -> bool {
        let ended = |order: &i64| self.ended.contains_key(&(row.id, *order));
        let mut standing = used.iter().filter(|order| !ended(order));
        let (stands, another) = (standing.next(), standing.next());
        let lost = self.ended.get(&(row.id, row.order_id)) == Some(&true);
        let fits = match row.state {
            ACTIVE => stands.is_none(),
            USED => stands == Some(&row.order_id) || (stands.is_none() && self.some_purged),
            FORFEITED => stands.is_none() && (lost || self.some_purged),
            _ => false,
        };
        fits && another.is_none()
    }
}
