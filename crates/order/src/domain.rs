//! The rules of orders: what an order is made of, and how it is cancelled.

use chrono::{DateTime, Utc};
use std::collections::HashSet;
use uuid::Uuid;

/// An amount of money: 0 won or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Won(i64);

/// Units of one product at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub product_id: i64,
    /// Units, 1 or more.
    pub quantity: i32,
    /// The price of a unit when the order was placed.
    pub unit_price: Won,
}

/// What an order costs: paid = total − discount, and none of them is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    total: Won,
    discount: Won,
    paid: Won,
}

/// The coupon that an order used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedCoupon {
    /// The campaign.
    pub coupon_id: i64,
    /// The user's own coupon.
    pub issued_coupon_id: i64,
}

/// Where an order stands. It moves down this list and never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Placed and paid.
    Confirmed,
    /// A cancel has begun and will be finished.
    Cancelling {
        /// The cancel that was first.
        saga: Uuid,
    },
    /// Everything went back.
    Cancelled {
        /// The cancel that did it.
        saga: Uuid,
        /// When it was asked for.
        at: DateTime<Utc>,
    },
}

/// A placed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Chosen when the checkout began.
    pub id: i64,
    /// Who ordered.
    pub user_id: i64,
    /// The checkout.
    pub saga: Uuid,
    /// One line a product, in the order in which the client first named it.
    pub lines: Vec<Line>,
    /// What it costs.
    pub cost: Cost,
    /// The coupon, if one was used.
    pub coupon: Option<UsedCoupon>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// Where it stands.
    pub state: State,
    /// 1 for a new order, and one more with every change.
    pub version: i64,
}

/// What an order is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The order's id.
    pub id: i64,
    /// Who orders.
    pub user_id: i64,
    /// The checkout.
    pub saga: Uuid,
    /// One line a product.
    pub lines: Vec<Line>,
    /// What the lines cost.
    pub cost: Cost,
    /// The coupon, if one was used.
    pub coupon: Option<UsedCoupon>,
    /// When the checkout began.
    pub placed_at: DateTime<Utc>,
}

/// Why an order cannot be made of these parts: a defect of who asks, for all parts have been decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inconsistent {
    /// Two lines name the same product.
    Lines {
        /// The product.
        product_id: i64,
    },
    /// A line of no units, or of fewer.
    Quantity {
        /// The product.
        product_id: i64,
    },
    /// The total is not the sum of the lines.
    Total,
    /// The discount exceeds the total.
    Discount,
    /// What is paid is not the total less the discount.
    Paid,
}

/// Why a cancel is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such order of this user.
    NotFound {
        /// The order.
        order_id: i64,
    },
    /// Another cancel was first.
    NotCancellable {
        /// The order.
        order_id: i64,
        /// Where it stands, which names the cancel that was first.
        state: State,
    },
}

impl Won {
    /// An amount; `None` below 0.
    pub fn new(amount: i64) -> Option<Self> {
        (amount >= 0).then_some(Self(amount))
    }

    /// The number of won.
    pub fn get(self) -> i64 {
        self.0
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::new)
    }

    fn times(self, quantity: i32) -> Option<Self> {
        self.0.checked_mul(i64::from(quantity)).and_then(Self::new)
    }
}

impl Line {
    fn price(&self) -> Option<Won> {
        self.unit_price.times(self.quantity)
    }
}

impl Cost {
    /// What was worked out for an order.
    ///
    /// # Errors
    /// [`Inconsistent::Discount`], [`Inconsistent::Paid`].
    pub fn new(total: Won, discount: Won, paid: Won) -> Result<Self, Inconsistent> {
        let rest = total.minus(discount).ok_or(Inconsistent::Discount)?;
        if rest != paid {
            return Err(Inconsistent::Paid);
        }
        Ok(Self { total, discount, paid })
    }

    /// The price of all lines.
    pub fn total(&self) -> Won {
        self.total
    }

    /// What the coupon took off.
    pub fn discount(&self) -> Won {
        self.discount
    }

    /// What was paid.
    pub fn paid(&self) -> Won {
        self.paid
    }
}

impl State {
    /// The cancel that was first, if there is one.
    pub fn cancel(self) -> Option<Uuid> {
        match self {
            Self::Confirmed => None,
            Self::Cancelling { saga } | Self::Cancelled { saga, .. } => Some(saga),
        }
    }
}

impl Order {
    /// Places an order, of which everything has been decided before.
    ///
    /// # Errors
    /// [`Inconsistent`], where its parts contradict each other.
    pub fn place(placement: Placement) -> Result<Self, Inconsistent> {
        let Placement { id, user_id, saga, lines, cost, coupon, placed_at } = placement;
        let mut products = HashSet::new();
        if let Some(line) = lines.iter().find(|line| !products.insert(line.product_id)) {
            return Err(Inconsistent::Lines { product_id: line.product_id });
        }
        if let Some(line) = lines.iter().find(|line| line.quantity < 1) {
            return Err(Inconsistent::Quantity { product_id: line.product_id });
        }
        let sum = lines.iter().try_fold(Won::default(), |sum, line| sum.plus(line.price()?));
        if sum != Some(cost.total) {
            return Err(Inconsistent::Total);
        }
        let (state, version) = (State::Confirmed, 1);
        Ok(Self { id, user_id, saga, lines, cost, coupon, placed_at, state, version })
    }

    /// Begins a cancel. The first one stays: only its saga may finish it.
    ///
    /// # Errors
    /// [`Refused::NotFound`] for another user's order; [`Refused::NotCancellable`] naming the cancel that was first.
    pub fn begin_cancel(&mut self, user_id: i64, saga: Uuid) -> Result<(), Refused> {
        if self.user_id != user_id {
            return Err(Refused::NotFound { order_id: self.id });
        }
        if self.state != State::Confirmed {
            return Err(Refused::NotCancellable { order_id: self.id, state: self.state });
        }
        self.go_to(State::Cancelling { saga });
        Ok(())
    }

    /// Finishes the cancel that this saga began; `false` where it did not begin one.
    #[must_use]
    pub fn finish_cancel(&mut self, saga: Uuid, at: DateTime<Utc>) -> bool {
        if self.state != (State::Cancelling { saga }) {
            return false;
        }
        self.go_to(State::Cancelled { saga, at });
        true
    }

    fn go_to(&mut self, state: State) {
        self.state = state;
        self.version += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: i64 = 7;
    const CHECKOUT: Uuid = Uuid::from_u128(1);
    const CANCEL: Uuid = Uuid::from_u128(2);
    const OTHER: Uuid = Uuid::from_u128(3);
    const AT: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn won(amount: i64) -> Won {
        Won::new(amount).unwrap()
    }

    fn line(product_id: i64, quantity: i32, unit_price: i64) -> Line {
        Line { product_id, quantity, unit_price: won(unit_price) }
    }

    fn place(lines: Vec<Line>, total: i64, discount: i64) -> Result<Order, Inconsistent> {
        let cost = Cost::new(won(total), won(discount), won(total - discount))?;
        let (id, user_id, saga, coupon, placed_at) = (1, USER, CHECKOUT, None, AT);
        Order::place(Placement { id, user_id, saga, lines, cost, coupon, placed_at })
    }

    fn order() -> Order {
        place(vec![line(1, 10, 1_000), line(2, 5, 2_000)], 20_000, 2_000).unwrap()
    }

    #[test]
    fn an_order_costs_its_lines_less_the_discount() {
        let cost = order().cost;
        assert_eq!(cost.total(), won(20_000));
        assert_eq!(cost.discount(), won(2_000));
        assert_eq!(cost.paid(), won(18_000));
    }

    #[test]
    fn numbers_that_contradict_each_other_make_no_order() {
        assert_eq!(place(vec![line(1, 2, 100)], 201, 0), Err(Inconsistent::Total));
        assert_eq!(place(vec![line(1, 2, i64::MAX)], 1, 0), Err(Inconsistent::Total));
        assert_eq!(Cost::new(won(1), won(2), won(0)), Err(Inconsistent::Discount));
        assert_eq!(Cost::new(won(2), won(1), won(2)), Err(Inconsistent::Paid));
        let twice = place(vec![line(1, 1, 100), line(1, 1, 100)], 200, 0);
        assert_eq!(twice, Err(Inconsistent::Lines { product_id: 1 }));
        let minted = place(vec![line(1, 3, 100), line(2, -1, 100)], 200, 0);
        assert_eq!(minted, Err(Inconsistent::Quantity { product_id: 2 }));
    }

    #[test]
    fn the_most_units_cost_more_than_32_bits_hold() {
        let total = 2_147_483_647 * 1_000_000_000;
        let order = place(vec![line(1, i32::MAX, 1_000_000_000)], total, 0).unwrap();
        assert_eq!(order.cost.paid(), won(total));
    }

    #[test]
    fn the_first_cancel_stays_and_only_it_can_finish() {
        let mut order = order();
        assert!(!order.finish_cancel(CANCEL, AT));
        assert_eq!(order.begin_cancel(USER, CANCEL), Ok(()));
        assert!(!order.finish_cancel(OTHER, AT));
        let begun =
            Refused::NotCancellable { order_id: 1, state: State::Cancelling { saga: CANCEL } };
        assert_eq!(order.begin_cancel(USER, OTHER), Err(begun));
        assert!(order.finish_cancel(CANCEL, AT));
        assert_eq!((order.state.cancel(), order.version), (Some(CANCEL), 3));
        assert!(!order.finish_cancel(CANCEL, AT));
        assert!(matches!(order.begin_cancel(USER, OTHER), Err(Refused::NotCancellable { .. })));
    }

    #[test]
    fn another_users_order_does_not_exist() {
        let mut order = order();
        assert_eq!(order.begin_cancel(USER + 1, CANCEL), Err(Refused::NotFound { order_id: 1 }));
        assert_eq!(order.state, State::Confirmed);
    }
}
