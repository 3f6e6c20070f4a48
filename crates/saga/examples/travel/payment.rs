//! Payments of trips: the pivot of a booking. An account that has paid has paid.

use db::{Conn, LockWait, Migration, Result, Script, any_of, for_update, values};
use diesel::dsl::DuplicatedKeys;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::{Actions, Desk, Moment, Routed, SagaId, StepNo, Task, Verdict};
use prost::Message;
use saga_api::v1::{StepRejection, StepRole};
use saga_api::{Action, Participant};
use std::collections::BTreeMap;
use tonic::Status;

/// What `Pay` asks for, and what it records.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Payment {
    #[prost(string, tag = "1")]
    pub(crate) account: String,
    /// In cents.
    #[prost(int64, tag = "2")]
    pub(crate) amount: i64,
}

pub(crate) const PAY: &str = "travel.v1.PaymentParticipantService/Pay";

pub(crate) const CONTRACT: Participant = Participant {
    name: "payment",
    service: "travel.v1.PaymentParticipantService",
    actions: &[Action { method: PAY, role: StepRole::Pivot, rejections: &["NOT_ENOUGH_MONEY"] }],
};

pub(crate) const MIGRATION: Migration = Migration {
    name: "2026-12-01-000001_account",
    sql: "CREATE TABLE IF NOT EXISTS account (name VARCHAR(16) NOT NULL, balance BIGINT NOT NULL, PRIMARY KEY (name))",
};

diesel::table! {
    account (name) {
        name -> VarChar,
        balance -> BigInt,
    }
}

/// The rules of payments.
pub(crate) struct Payments;

/// The accounts of one batch by their balance.
type Balances = BTreeMap<String, i64>;

impl Desk for Payments {
    type Op = Payment;
    type Sheet = Balances;

    async fn load(
        &self,
        conn: &mut Conn,
        tasks: &[Task<'_, Payment>],
        wait: LockWait,
    ) -> Result<Balances> {
        let names = tasks.iter().filter_map(|task| match task {
            Task::Act(payment) => Some(payment.account.clone()),
            Task::Undo(_) => None,
        });
        let rows = account::table.filter(any_of(account::name, names.collect::<Vec<_>>()));
        let rows = for_update(rows.order(account::name), wait);
        Ok(rows.load::<(String, i64)>(conn).await?.into_iter().collect())
    }

    fn act(&self, balances: &mut Balances, payment: &Payment, _: &Moment<'_>) -> Verdict {
        match balances.get_mut(&payment.account) {
            Some(balance) if *balance >= payment.amount => {
                *balance -= payment.amount;
                Verdict::Done(payment.encode_to_vec())
            }
            _ => Verdict::Rejected(StepRejection {
                reason: "NOT_ENOUGH_MONEY".to_owned(),
                metadata: [("account".to_owned(), payment.account.clone())].into(),
                message: format!("account {} has less than {}", payment.account, payment.amount),
            }),
        }
    }

    /// A pivot is never undone, and the service has nothing else.
    fn undo(&self, _: &mut Balances, _: &[u8], _: &Moment<'_>) {}

    fn store(&self, balances: Balances, writes: &mut Script) -> Result<()> {
        if balances.is_empty() {
            return Ok(());
        }
        let row = |(name, balance)| (account::name.eq(name), account::balance.eq(balance));
        let rows: Vec<_> = balances.into_iter().map(row).collect();
        let update = diesel::insert_into(account::table).values(rows).on_conflict(DuplicatedKeys);
        writes.push(&update.do_update().set(account::balance.eq(values(account::balance))))
    }
}

impl Actions for Payments {
    fn read(
        &self,
        _: &str,
        _: (SagaId, StepNo),
        payload: &[u8],
    ) -> Result<Routed<Payment>, Status> {
        let payment = Payment::decode(payload)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Routed { entity: 0, op: payment })
    }
}
