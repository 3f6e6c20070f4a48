//! The hot writes of coupons, for the lanes: a batch's campaigns and coupons in memory, and what happened to them.

use crate::domain::{Coupon, CouponId, Issued, IssuedId, OrderId, Refused, UserId};
use crate::store::Owner;
use crate::{store, wire};
use ::participant::{Moment, Task, Verdict};
use api::Reason;
use api::coupon::v1::{IssueCouponResponse, RestoreCouponReply};
use chrono::{DateTime, Utc};
use db::{Conn, Error, LockWait, Result, Script};
use events::{Event, outbox};
use prost::Message;
use service::rejected;
use std::collections::{BTreeMap, BTreeSet};

/// A hot write.
#[derive(Debug)]
pub(crate) enum Op {
    /// A user wants a coupon of a campaign.
    Issue {
        coupon: CouponId,
        user: UserId,
        /// Whether the wallet service knows the user.
        known: bool,
        /// Whether the campaign was heard to be sold out: its row is then looked at before it is locked.
        sold_out: bool,
        /// The id of the coupon, if there is one to get.
        id: IssuedId,
    },
    /// An order uses its user's coupon.
    Redeem { coupon: CouponId, user: UserId, order: OrderId, placed_at: DateTime<Utc>, total: i64 },
    /// The order that used a coupon was cancelled.
    Restore { coupon: CouponId, id: IssuedId, order: OrderId },
}

/// The desk of coupons.
pub(crate) struct Desk;

/// The campaigns and coupons of a batch, as changed so far.
#[derive(Default)]
pub(crate) struct Sheet {
    /// Locked where a task may issue one of its coupons; else read for the terms alone.
    campaigns: BTreeMap<CouponId, Coupon>,
    issued: BTreeMap<Owner, Issued>,
    owners: BTreeMap<IssuedId, Owner>,
    changed_campaigns: BTreeSet<CouponId>,
    new: BTreeSet<Owner>,
    changed: BTreeSet<Owner>,
    events: Vec<Event>,
    /// Something that no rule foresees: the batch is not stored, and whoever caused it fails alone.
    defect: Option<Error>,
}

/// The keys of the rows that a batch may touch.
#[derive(Default)]
struct Keys {
    issuing: BTreeSet<CouponId>,
    sold_out: BTreeSet<CouponId>,
    terms: BTreeSet<CouponId>,
    owners: BTreeSet<Owner>,
    ids: BTreeSet<IssuedId>,
}

impl participant::Desk for Desk {
    type Op = Op;
    type Sheet = Sheet;

    async fn load(&self, conn: &mut Conn, tasks: &[Task<'_, Op>], wait: LockWait) -> Result<Sheet> {
        let mut keys = Keys::of(tasks)?;
        let mut campaigns = store::lock(conn, keys.issuing, wait).await?;
        keys.sold_out.retain(|id| !campaigns.contains_key(id));
        keys.terms.extend(&keys.sold_out);
        keys.terms.retain(|id| !campaigns.contains_key(id));
        campaigns.append(&mut store::find_all(conn, keys.terms).await?);
        // A quota never grows, so what is sold out stays so, locked or not. The others were heard of wrongly.
        let is_open = |id: &CouponId| campaigns.get(id).is_some_and(|it| !it.is_sold_out());
        let open: BTreeSet<CouponId> = keys.sold_out.into_iter().filter(is_open).collect();
        if !open.is_empty() {
            campaigns.append(&mut store::lock(conn, open, wait).await?);
        }
        let owners = store::owners(conn, keys.ids).await?;
        keys.owners.extend(owners.values());
        let issued = store::lock_issued(conn, &keys.owners, wait).await?;
        Ok(Sheet { campaigns, issued, owners, ..Sheet::default() })
    }

    fn act(&self, sheet: &mut Sheet, op: &Op, moment: &Moment<'_>) -> Verdict {
        match *op {
            Op::Issue { user, known: false, .. } => rejected(Refused::NoSuchUser(user)),
            Op::Issue { coupon, user, id, known: true, .. } => {
                verdict(sheet.issue((coupon, user), id, moment))
            }
            Op::Redeem { coupon, user, order, placed_at, total } => {
                verdict(sheet.redeem((coupon, user), order, (placed_at, total), moment))
            }
            Op::Restore { coupon, id, order } => {
                let restored = sheet.restore(coupon, id, order, moment);
                restored.unwrap_or_else(|defect| sheet.fail(defect))
            }
        }
    }

    fn undo(&self, sheet: &mut Sheet, recorded: &[u8], moment: &Moment<'_>) {
        if let Err(defect) = recorded_use(recorded).and_then(|used| sheet.undo(used, moment)) {
            sheet.fail(defect);
        }
    }

    fn store(&self, sheet: Sheet, writes: &mut Script) -> Result<()> {
        if let Some(defect) = sheet.defect {
            return Err(defect);
        }
        let campaigns: Vec<&Coupon> =
            sheet.changed_campaigns.iter().filter_map(|id| sheet.campaigns.get(id)).collect();
        let rows = |owners: &BTreeSet<Owner>| -> Vec<&Issued> {
            owners.iter().filter_map(|owner| sheet.issued.get(owner)).collect()
        };
        store::update(writes, &campaigns)?;
        store::insert_issued(writes, &rows(&sheet.new))?;
        store::update_issued(writes, &rows(&sheet.changed))?;
        outbox::append(writes, &sheet.events)
    }
}

impl Keys {
    fn of(tasks: &[Task<'_, Op>]) -> Result<Self> {
        let mut keys = Self::default();
        for task in tasks {
            match task {
                Task::Act(Op::Issue { known: false, .. }) => {}
                Task::Act(Op::Issue { coupon, user, sold_out, .. }) => {
                    let wanted = if *sold_out { &mut keys.sold_out } else { &mut keys.issuing };
                    wanted.insert(*coupon);
                    keys.owners.insert((*coupon, *user));
                }
                Task::Act(Op::Redeem { coupon, user, .. }) => {
                    keys.terms.insert(*coupon);
                    keys.owners.insert((*coupon, *user));
                }
                Task::Act(Op::Restore { coupon, id, .. }) => {
                    keys.terms.insert(*coupon);
                    keys.ids.insert(*id);
                }
                Task::Undo(recorded) => {
                    keys.owners.insert(recorded_use(recorded)?.owner);
                }
            }
        }
        Ok(keys)
    }
}

impl Sheet {
    fn issue(
        &mut self,
        owner: Owner,
        id: IssuedId,
        moment: &Moment<'_>,
    ) -> Result<impl Message + use<>, Refused> {
        let (coupon, user) = owner;
        let campaign = self.campaigns.get_mut(&coupon).ok_or(Refused::NotFound(coupon))?;
        if let Some(held) = self.issued.get(&owner) {
            return Err(Refused::AlreadyIssued(held.id));
        }
        let issued = campaign.issue(id, user, moment.at)?;
        let reply = IssueCouponResponse { issued_coupon: Some((&issued).into()) };
        self.events.push(wire::issued(&issued, moment));
        self.changed_campaigns.insert(coupon);
        self.issued.insert(owner, issued);
        self.new.insert(owner);
        Ok(reply)
    }

    fn redeem(
        &mut self,
        owner: Owner,
        order: OrderId,
        (placed_at, total): (DateTime<Utc>, i64),
        moment: &Moment<'_>,
    ) -> Result<impl Message + use<>, Refused> {
        let (coupon, user) = owner;
        let campaign = self.campaigns.get(&coupon).ok_or(Refused::NotFound(coupon))?;
        let discount = campaign.terms.discount.of(total);
        let issued = self.issued.get_mut(&owner).ok_or(Refused::NotIssuedTo(coupon, user))?;
        issued.redeem(order, placed_at, moment.at, discount)?;
        let reply = wire::redeemed(issued, order, discount);
        self.events.push(wire::used(issued, order, discount, moment));
        self.note(owner);
        Ok(reply)
    }

    /// Applies the campaign's policy. The order used the coupon, so nothing may refuse.
    fn restore(
        &mut self,
        coupon: CouponId,
        id: IssuedId,
        order: OrderId,
        moment: &Moment<'_>,
    ) -> Result<Verdict> {
        let corrupt = || Error::Corrupt(format!("{order:?} does not use {id:?}"));
        let owner = *self.owners.get(&id).ok_or_else(corrupt)?;
        let campaign = self.campaigns.get(&coupon).ok_or_else(corrupt)?;
        let issued = self.issued.get_mut(&owner).ok_or_else(corrupt)?;
        issued.order_cancelled(order, campaign.terms.cancel_policy).ok_or_else(corrupt)?;
        let reply = RestoreCouponReply { state: wire::state(issued.state).into() };
        self.events.push(wire::order_cancelled(issued, order, moment));
        self.note(owner);
        Ok(Verdict::Done(reply.encode_to_vec()))
    }

    /// Takes back what was recorded. The order used the coupon, so nothing may refuse.
    fn undo(&mut self, used: wire::Use, moment: &Moment<'_>) -> Result<()> {
        let corrupt = || Error::Corrupt(format!("{used:?} does not stand"));
        let issued = self.issued.get_mut(&used.owner).ok_or_else(corrupt)?;
        issued.undo_redeem(used.order).ok_or_else(corrupt)?;
        self.events.push(wire::undone(issued, used.order, moment));
        self.note(used.owner);
        Ok(())
    }

    fn note(&mut self, owner: Owner) {
        if !self.new.contains(&owner) {
            self.changed.insert(owner);
        }
    }

    /// Keeps the batch from being stored. The verdict is never told: the transaction is rolled back.
    fn fail(&mut self, defect: Error) -> Verdict {
        self.defect.get_or_insert(defect);
        rejected(Reason::Internal)
    }
}

fn recorded_use(recorded: &[u8]) -> Result<wire::Use> {
    let unreadable = || Error::Corrupt("a recorded use of a coupon does not decode".to_owned());
    wire::recorded_use(recorded).ok_or_else(unreadable)
}

fn verdict(decided: Result<impl Message, Refused>) -> Verdict {
    match decided {
        Ok(reply) => Verdict::Done(reply.encode_to_vec()),
        Err(refused) => rejected(refused),
    }
}
