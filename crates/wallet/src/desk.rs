//! The hot writes of wallets, for the lanes: a batch's wallets in memory, and what happened to them.

use crate::domain::{Charge, Entry, Refused, Wallet, Won};
use crate::{store, wire};
use api::Reason;
use api::wallet::v1::{ChargeWalletResponse, DebitWalletReply, RefundWalletReply};
use db::{Conn, Error, LockWait, Result, Script};
use events::{Event, outbox};
use participant::{Moment, Task, Verdict};
use prost::Message;
use service::rejected;
use std::collections::{BTreeMap, BTreeSet};

/// A hot write.
#[derive(Debug)]
pub(crate) enum Op {
    /// Money from the user.
    Charge { user_id: i64, charge: Charge },
    /// An order's payment.
    Debit { user_id: i64, amount: Won, order_id: i64 },
    /// A cancelled order's payment, back.
    Refund { user_id: i64, amount: Won, order_id: i64 },
}

/// The desk of wallets.
pub(crate) struct Desk;

/// The wallets of a batch, as changed so far.
#[derive(Default)]
pub(crate) struct Sheet {
    wallets: BTreeMap<i64, Wallet>,
    changed: BTreeSet<i64>,
    booked: Vec<store::Booked>,
    events: Vec<Event>,
    /// Something that no rule foresees: the batch is not stored, and whoever caused it fails alone.
    defect: Option<Error>,
}

impl participant::Desk for Desk {
    type Op = Op;
    type Sheet = Sheet;

    async fn load(&self, conn: &mut Conn, tasks: &[Task<'_, Op>], wait: LockWait) -> Result<Sheet> {
        let user_ids = tasks.iter().map(user_id).collect::<Result<BTreeSet<i64>>>()?;
        Ok(Sheet { wallets: store::lock(conn, user_ids, wait).await?, ..Sheet::default() })
    }

    fn act(&self, sheet: &mut Sheet, op: &Op, moment: &Moment<'_>) -> Verdict {
        match *op {
            Op::Charge { user_id, charge } => verdict(sheet.change(user_id, moment, |wallet| {
                let entry = wallet.charge(charge, moment.at)?;
                let reply = ChargeWalletResponse {
                    wallet: Some((&*wallet).into()),
                    transaction: Some((&entry).into()),
                };
                Ok((entry, reply))
            })),
            Op::Debit { user_id, amount, order_id } => {
                verdict(sheet.change(user_id, moment, |wallet| {
                    let entry = wallet.debit(amount, order_id, moment.at)?;
                    let reply = DebitWalletReply {
                        balance_after_won: entry.balance_after.get(),
                        seq: entry.seq,
                        user_id,
                        amount_won: amount.get(),
                        order_id,
                    };
                    Ok((entry, reply))
                }))
            }
            Op::Refund { user_id, amount, order_id } => {
                let booked = sheet.give_back(user_id, moment, |wallet| {
                    wallet.refund(amount, order_id, moment.at)
                });
                booked.map_or_else(
                    |defect| sheet.fail(defect),
                    |entry| {
                        let reply = RefundWalletReply {
                            balance_after_won: entry.balance_after.get(),
                            seq: entry.seq,
                        };
                        Verdict::Done(reply.encode_to_vec())
                    },
                )
            }
        }
    }

    fn undo(&self, sheet: &mut Sheet, recorded: &[u8], moment: &Moment<'_>) {
        let undone =
            payment(recorded).and_then(|(DebitWalletReply { user_id, order_id, .. }, amount)| {
                sheet.give_back(user_id, moment, |wallet| {
                    wallet.undo_debit(amount, order_id, moment.at)
                })
            });
        if let Err(defect) = undone {
            sheet.fail(defect);
        }
    }

    fn store(&self, sheet: Sheet, writes: &mut Script) -> Result<()> {
        if let Some(defect) = sheet.defect {
            return Err(defect);
        }
        let changed = sheet.changed.iter().filter_map(|user_id| sheet.wallets.get(user_id));
        store::update(writes, changed)?;
        store::append(writes, sheet.booked)?;
        outbox::append(writes, &sheet.events)
    }
}

impl Sheet {
    /// Changes a wallet by its rules; a refusal leaves it as it was.
    fn change<T>(
        &mut self,
        user_id: i64,
        moment: &Moment<'_>,
        change: impl FnOnce(&mut Wallet) -> Result<(Entry, T), Refused>,
    ) -> Result<T, Refused> {
        let wallet = self.wallets.get_mut(&user_id).ok_or(Refused::NotFound { user_id })?;
        let (entry, reply) = change(wallet)?;
        self.note(entry, moment);
        Ok(reply)
    }

    /// Returns money to a wallet that has paid, so that it is there, and nothing may refuse.
    fn give_back(
        &mut self,
        user_id: i64,
        moment: &Moment<'_>,
        change: impl FnOnce(&mut Wallet) -> Option<Entry>,
    ) -> Result<Entry> {
        let corrupt = |what| Error::Corrupt(format!("wallet {user_id} that paid {what}"));
        let wallet = self.wallets.get_mut(&user_id).ok_or_else(|| corrupt("is missing"))?;
        let entry = change(wallet).ok_or_else(|| corrupt("overflows"))?;
        self.note(entry.clone(), moment);
        Ok(entry)
    }

    fn note(&mut self, entry: Entry, moment: &Moment<'_>) {
        self.changed.insert(entry.user_id);
        self.events.push(wire::booked(&entry, moment));
        self.booked.push(store::Booked { entry, saga: moment.saga });
    }

    /// Keeps the batch from being stored. The verdict is never told: the transaction is rolled back.
    fn fail(&mut self, defect: Error) -> Verdict {
        self.defect.get_or_insert(defect);
        rejected(Reason::Internal)
    }
}

fn user_id(task: &Task<'_, Op>) -> Result<i64> {
    match task {
        Task::Act(
            Op::Charge { user_id, .. } | Op::Debit { user_id, .. } | Op::Refund { user_id, .. },
        ) => Ok(*user_id),
        Task::Undo(recorded) => payment(recorded).map(|(reply, _)| reply.user_id),
    }
}

/// A recorded payment, with its amount as money.
fn payment(recorded: &[u8]) -> Result<(DebitWalletReply, Won)> {
    let reply = DebitWalletReply::decode(recorded)
        .map_err(|error| Error::Corrupt(format!("a recorded payment: {error}")))?;
    let amount = Won::new(reply.amount_won)
        .ok_or_else(|| Error::Corrupt(format!("a recorded payment of {} won", reply.amount_won)))?;
    Ok((reply, amount))
}

fn verdict(decided: Result<impl Message, Refused>) -> Verdict {
    match decided {
        Ok(reply) => Verdict::Done(reply.encode_to_vec()),
        Err(refused) => rejected(refused),
    }
}
