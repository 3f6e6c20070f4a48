//! The rules of coupons: what they take off, who gets one, when it can be used.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

#[cfg(test)]
mod tests;

/// Calendar days are Seoul's: UTC+9, without summer time.
const SEOUL: TimeDelta = TimeDelta::hours(9);

/// A campaign's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CouponId(pub i64);

/// The id of a coupon in a user's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuedId(pub i64);

/// A user's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub i64);

/// An order's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub i64);

/// What a coupon takes off an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discount {
    /// A share of the total, rounded down to a won.
    Percent {
        /// Percent of the total, 1 to 100.
        percent: i32,
        /// The most that is taken off, in won.
        cap: Option<i64>,
    },
    /// So many won.
    Fixed {
        /// Won, 1 or more.
        amount: i64,
    },
}

/// When a campaign issues coupons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Issuable {
    /// From then on, inclusive.
    pub from: Option<DateTime<Utc>>,
    /// Until then, exclusive.
    pub until: Option<DateTime<Utc>>,
}

/// What becomes of a used coupon whose order is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelPolicy {
    /// It can be used again, within the days that it had.
    Restore,
    /// It is lost.
    Forfeit,
}

/// What a campaign offers; never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The name, byte for byte as it was given.
    pub name: String,
    /// What its coupons take off.
    pub discount: Discount,
    /// How many are issued at most.
    pub quota: i32,
    /// Days of validity after the day of issue.
    pub validity_days: u32,
    /// When they are issued.
    pub issuable: Issuable,
    /// What a cancelled order does to them.
    pub cancel_policy: CancelPolicy,
}

/// A campaign: its terms, and how many of its coupons are in users' hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// Its key.
    pub id: CouponId,
    /// What it offers.
    pub terms: Terms,
    /// How many were issued: also the sequence number of the last.
    pub issued: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// The days on which a coupon can be used, both inclusive, in Seoul.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first.
    pub from: NaiveDate,
    /// The last.
    pub until: NaiveDate,
}

/// Where an issued coupon stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not used.
    Active,
    /// Used by this order.
    Used(OrderId),
    /// Lost with this order, which was cancelled.
    Forfeited(OrderId),
}

/// A coupon in a user's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its id.
    pub id: IssuedId,
    /// The campaign; with the user, its key.
    pub coupon: CouponId,
    /// The owner.
    pub user: UserId,
    /// 1 for the first of its campaign, up to the quota.
    pub sequence: i32,
    /// Where it stands.
    pub state: State,
    /// Counts its states, from 1.
    pub version: i64,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
    /// When it can be used.
    pub validity: Validity,
}

/// Why a coupon cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// An order has used it.
    Used,
    /// It was lost with a cancelled order.
    Forfeited,
    /// The order is placed after its last day.
    Expired,
    /// It would take nothing off this order, and be used up for that.
    DiscountIsZero,
}

/// Why the rules refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such user: every user has a wallet.
    NoSuchUser(UserId),
    /// There is no such campaign.
    NotFound(CouponId),
    /// There is no such coupon in anybody's hands.
    IssuedNotFound(IssuedId),
    /// The user was not issued a coupon of this campaign.
    NotIssuedTo(CouponId, UserId),
    /// The user has one already.
    AlreadyIssued(IssuedId),
    /// The whole quota is issued.
    SoldOut {
        /// The campaign.
        coupon: CouponId,
        /// How many it had.
        quota: i32,
    },
    /// Not the time in which the campaign issues coupons.
    NotIssuable {
        /// The campaign.
        coupon: CouponId,
        /// When it does.
        issuable: Issuable,
    },
    /// The coupon cannot be used for this order.
    NotUsable(IssuedId, Unusable),
}

impl Discount {
    /// Won taken off a total of 0 or more: 0 to the total.
    pub fn of(self, total: i64) -> i64 {
        let wanted = match self {
            Self::Percent { percent, cap } => {
                let share = i128::from(total) * i128::from(percent) / 100;
                let share = i64::try_from(share).unwrap_or(total);
                cap.map_or(share, |cap| share.min(cap))
            }
            Self::Fixed { amount } => amount,
        };
        wanted.clamp(0, total.max(0))
    }
}

impl Issuable {
    /// Whether coupons are issued at this instant.
    pub fn contains(self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

impl Coupon {
    /// A new campaign, of which nothing is issued.
    pub fn create(id: CouponId, terms: Terms, at: DateTime<Utc>) -> Self {
        Self { id, terms, issued: 0, created_at: at }
    }

    /// Whether none is left.
    pub fn is_sold_out(&self) -> bool {
        self.issued >= self.terms.quota
    }

    /// Issues the next coupon.
    ///
    /// # Errors
    /// [`Refused::SoldOut`]; [`Refused::NotIssuable`]. In this order: sold out is for ever, so whoever has been told it
    /// once is told it whenever he asks again.
    pub fn issue(
        &mut self,
        id: IssuedId,
        user: UserId,
        at: DateTime<Utc>,
    ) -> Result<Issued, Refused> {
        let Terms { quota, validity_days, issuable, .. } = self.terms;
        let sold_out = Refused::SoldOut { coupon: self.id, quota };
        let next = self.issued.checked_add(1).filter(|next| *next <= quota);
        let sequence = next.ok_or(sold_out)?;
        if !issuable.contains(at) {
            return Err(Refused::NotIssuable { coupon: self.id, issuable });
        }
        self.issued = sequence;
        Ok(Issued {
            id,
            coupon: self.id,
            user,
            sequence,
            state: State::Active,
            version: 1,
            issued_at: at,
            validity: Validity::after_issue(at, validity_days),
        })
    }
}

impl Validity {
    /// From the day of issue through so many days later.
    pub fn after_issue(at: DateTime<Utc>, days: u32) -> Self {
        let from = day_in_seoul(at);
        let until = from.checked_add_days(Days::new(days.into())).unwrap_or(NaiveDate::MAX);
        Self { from, until }
    }

    /// Its first day refuses nobody: who holds a coupon was issued it, so an earlier instant is that of a clock which is
    /// behind.
    fn refuses(self, at: DateTime<Utc>) -> Option<Unusable> {
        (day_in_seoul(at) > self.until).then_some(Unusable::Expired)
    }
}

impl State {
    /// The order that used the coupon.
    pub fn order(self) -> Option<OrderId> {
        match self {
            Self::Active => None,
            Self::Used(order) | Self::Forfeited(order) => Some(order),
        }
    }
}

impl Issued {
    /// Uses the coupon for an order placed at this instant, or now if that is earlier: an order that was dated by a clock
    /// which is ahead is not refused for it. It takes so many won off the order.
    ///
    /// # Errors
    /// [`Refused::NotUsable`]: the coupon stays as it is, also where it would take nothing off.
    pub fn redeem(
        &mut self,
        order: OrderId,
        placed_at: DateTime<Utc>,
        now: DateTime<Utc>,
        discount: i64,
    ) -> Result<(), Refused> {
        let refused = match self.state {
            State::Active => self.validity.refuses(placed_at.min(now)),
            State::Used(_) => Some(Unusable::Used),
            State::Forfeited(_) => Some(Unusable::Forfeited),
        };
        let for_nothing = (discount <= 0).then_some(Unusable::DiscountIsZero);
        if let Some(why) = refused.or(for_nothing) {
            return Err(Refused::NotUsable(self.id, why));
        }
        self.become_now(State::Used(order));
        Ok(())
    }

    /// Takes back its use by an order that did not come about; `None` where that order does not use it.
    pub fn undo_redeem(&mut self, order: OrderId) -> Option<()> {
        self.leave_order(order, State::Active)
    }

    /// Gives it back or takes it away, as the policy says, its order being cancelled; `None` where that order does not
    /// use it.
    pub fn order_cancelled(&mut self, order: OrderId, policy: CancelPolicy) -> Option<()> {
        let next = match policy {
            CancelPolicy::Restore => State::Active,
            CancelPolicy::Forfeit => State::Forfeited(order),
        };
        self.leave_order(order, next)
    }

    fn leave_order(&mut self, order: OrderId, next: State) -> Option<()> {
        (self.state == State::Used(order)).then(|| self.become_now(next))
    }

    fn become_now(&mut self, state: State) {
        self.state = state;
        self.version += 1;
    }
}

fn day_in_seoul(at: DateTime<Utc>) -> NaiveDate {
    at.naive_utc().checked_add_signed(SEOUL).map_or(NaiveDate::MAX, |there| there.date())
}
