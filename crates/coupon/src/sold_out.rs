//! Who comes too late is told so without asking the rows.
//!
//! A campaign's quota never grows and no coupon is taken back, so what was once seen sold out stays so. The memory is
//! only of what a committed transaction saw: that one grant may yet be rolled back, no campaign is sold out by it.

use crate::domain::CouponId;
use ::participant::Outcome;
use api::{Reason, Refusal};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Campaigns remembered at most: what comes later is asked of the rows.
const CAMPAIGNS: usize = 10_000;

/// The campaigns that were seen sold out.
#[derive(Default)]
pub(crate) struct SoldOut {
    refusals: RwLock<HashMap<CouponId, Refusal>>,
}

impl SoldOut {
    /// The refusal that the rows would give to whoever has nothing on record.
    pub(crate) fn refusal(&self, coupon: CouponId) -> Option<Refusal> {
        self.refusals.read().unwrap_or_else(PoisonError::into_inner).get(&coupon).cloned()
    }

    /// Learns from what a committed transaction answered.
    pub(crate) fn learn(&self, coupon: CouponId, outcome: &Outcome) {
        let Outcome::Rejected { refusal, .. } = outcome else { return };
        let Ok(refusal) = Refusal::decode(refusal) else { return };
        if refusal.reason != Reason::CouponSoldOut {
            return;
        }
        let mut refusals = self.refusals.write().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() < CAMPAIGNS {
            refusals.insert(coupon, refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sold_out_is_remembered_and_only_for_its_campaign() {
        let sold_out = SoldOut::default();
        let rejected = |reason| Outcome::Rejected {
            refusal: Refusal::new(reason).with("quota", 5).encode(),
            replayed: false,
        };
        sold_out.learn(CouponId(1), &rejected(Reason::CouponNotIssuable));
        sold_out.learn(CouponId(2), &Outcome::Done { reply: Vec::new(), replayed: false });
        sold_out.learn(CouponId(3), &rejected(Reason::CouponSoldOut));
        assert_eq!([1, 2].map(|id| sold_out.refusal(CouponId(id))), [None, None]);
        let told = sold_out.refusal(CouponId(3)).unwrap();
        assert_eq!((told.reason, told.metadata["quota"].as_str()), (Reason::CouponSoldOut, "5"));
    }
}
