//! The tables, and what their rows mean.

use crate::domain::{
    CancelPolicy, Coupon, CouponId, Discount, Issuable, Issued, IssuedId, OrderId, State, Terms,
    UserId, Validity,
};
use chrono::{NaiveDate, NaiveDateTime};
use db::{Error, Result};
use diesel::mysql::Mysql;
use diesel::prelude::*;

diesel::table! {
    coupon (id) {
        id -> BigInt,
        name -> VarChar,
        discount_kind -> TinyInt,
        discount_value -> BigInt,
        discount_cap -> Nullable<BigInt>,
        quota -> Integer,
        issued -> Integer,
        validity_days -> Integer,
        issuable_from -> Nullable<Datetime>,
        issuable_until -> Nullable<Datetime>,
        cancel_policy -> TinyInt,
        created_at -> Datetime,
    }
}

diesel::table! {
    issued_coupon (coupon_id, user_id) {
        id -> BigInt,
        coupon_id -> BigInt,
        user_id -> BigInt,
        sequence -> Integer,
        state -> TinyInt,
        order_id -> Nullable<BigInt>,
        version -> BigInt,
        issued_at -> Datetime,
        valid_from -> Date,
        valid_until -> Date,
    }
}

/// The code in the column `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateCode {
    Active,
    Used,
    Forfeited,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = coupon, check_for_backend(Mysql))]
pub(super) struct CouponRow {
    pub(super) id: i64,
    name: String,
    discount_kind: i8,
    discount_value: i64,
    discount_cap: Option<i64>,
    quota: i32,
    issued: i32,
    validity_days: i32,
    issuable_from: Option<NaiveDateTime>,
    issuable_until: Option<NaiveDateTime>,
    cancel_policy: i8,
    created_at: NaiveDateTime,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = issued_coupon, check_for_backend(Mysql))]
pub(super) struct IssuedRow {
    pub(super) id: i64,
    pub(super) coupon_id: i64,
    pub(super) user_id: i64,
    sequence: i32,
    state: i8,
    order_id: Option<i64>,
    version: i64,
    issued_at: NaiveDateTime,
    valid_from: NaiveDate,
    valid_until: NaiveDate,
}

impl StateCode {
    pub(super) fn column(self) -> i8 {
        match self {
            Self::Active => 1,
            Self::Used => 2,
            Self::Forfeited => 3,
        }
    }

    fn read(column: i8) -> Option<Self> {
        [Self::Active, Self::Used, Self::Forfeited].into_iter().find(|code| code.column() == column)
    }
}

impl From<State> for StateCode {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Used(_) => Self::Used,
            State::Forfeited(_) => Self::Forfeited,
        }
    }
}

impl TryFrom<CouponRow> for Coupon {
    type Error = Error;

    fn try_from(row: CouponRow) -> Result<Self> {
        let CouponRow { id, .. } = row;
        let corrupt = || Error::Corrupt(format!("coupon {id}"));
        let discount = match (row.discount_kind, row.discount_cap) {
            (1, cap) => {
                let percent = i32::try_from(row.discount_value).map_err(|_| corrupt())?;
                Discount::Percent { percent, cap }
            }
            (2, None) => Discount::Fixed { amount: row.discount_value },
            _ => return Err(corrupt()),
        };
        let cancel_policy = match row.cancel_policy {
            1 => CancelPolicy::Restore,
            2 => CancelPolicy::Forfeit,
            _ => return Err(corrupt()),
        };
        let validity_days = u32::try_from(row.validity_days).map_err(|_| corrupt())?;
        let issuable = Issuable {
            from: row.issuable_from.map(db::from_db),
            until: row.issuable_until.map(db::from_db),
        };
        let terms = Terms {
            name: row.name,
            discount,
            quota: row.quota,
            validity_days,
            issuable,
            cancel_policy,
        };
        Ok(Self {
            id: CouponId(id),
            terms,
            issued: row.issued,
            created_at: db::from_db(row.created_at),
        })
    }
}

impl From<&Coupon> for CouponRow {
    fn from(coupon: &Coupon) -> Self {
        let terms = &coupon.terms;
        let (discount_kind, discount_value, discount_cap) = match terms.discount {
            Discount::Percent { percent, cap } => (1, percent.into(), cap),
            Discount::Fixed { amount } => (2, amount, None),
        };
        Self {
            id: coupon.id.0,
            name: terms.name.clone(),
            discount_kind,
            discount_value,
            discount_cap,
            quota: terms.quota,
            issued: coupon.issued,
            // 3,650 at most.
            validity_days: i32::try_from(terms.validity_days).unwrap_or(i32::MAX),
            issuable_from: terms.issuable.from.map(db::to_db),
            issuable_until: terms.issuable.until.map(db::to_db),
            cancel_policy: match terms.cancel_policy {
                CancelPolicy::Restore => 1,
                CancelPolicy::Forfeit => 2,
            },
            created_at: db::to_db(coupon.created_at),
        }
    }
}

impl TryFrom<IssuedRow> for Issued {
    type Error = Error;

    fn try_from(row: IssuedRow) -> Result<Self> {
        let state = match (StateCode::read(row.state), row.order_id) {
            (Some(StateCode::Active), None) => State::Active,
            (Some(StateCode::Used), Some(order)) => State::Used(OrderId(order)),
            (Some(StateCode::Forfeited), Some(order)) => State::Forfeited(OrderId(order)),
            _ => return Err(Error::Corrupt(format!("issued coupon {}", row.id))),
        };
        Ok(Self {
            id: IssuedId(row.id),
            coupon: CouponId(row.coupon_id),
            user: UserId(row.user_id),
            sequence: row.sequence,
            state,
            version: row.version,
            issued_at: db::from_db(row.issued_at),
            validity: Validity { from: row.valid_from, until: row.valid_until },
        })
    }
}

impl From<&Issued> for IssuedRow {
    fn from(issued: &Issued) -> Self {
        Self {
            id: issued.id.0,
            coupon_id: issued.coupon.0,
            user_id: issued.user.0,
            sequence: issued.sequence,
            state: StateCode::from(issued.state).column(),
            order_id: issued.state.order().map(|order| order.0),
            version: issued.version,
            issued_at: db::to_db(issued.issued_at),
            valid_from: issued.validity.from,
            valid_until: issued.validity.until,
        }
    }
}
