//! Where in their lives sagas were when a kill came.

use crate::apart::Victim;
use crate::crowd::Call;
use crate::journal::{Left, Seen};
use commerce::roles::Role;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::AddAssign;
use uuid::Uuid;

/// What a kill hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// A client waits, and nothing is durable.
    BeforeStart,
    /// The step is asked for or about to be, and has no row; who would have written it died.
    InReserveStock,
    InRedeemCoupon,
    InDebitWallet,
    InConfirmOrder,
    /// START or a step is done and the next has no row; who would have asked for it died.
    BetweenSteps,
    /// Something was refused, and something is not undone yet.
    InCompensation,
    /// Decided, and END is not durable.
    BeforeEnd,
    /// An order's cancel has not ended.
    InCancel,
    /// Another part of the shop died.
    Elsewhere,
}

impl Phase {
    /// Those that a run has to hit.
    pub(crate) const ALL: [Self; 9] = [
        Self::BeforeStart,
        Self::InReserveStock,
        Self::InRedeemCoupon,
        Self::InDebitWallet,
        Self::InConfirmOrder,
        Self::BetweenSteps,
        Self::InCompensation,
        Self::BeforeEnd,
        Self::InCancel,
    ];
}

/// Sagas by phase.
#[derive(Default, Clone)]
pub(crate) struct Hits(BTreeMap<Phase, usize>);

impl Hits {
    pub(crate) fn count(&self, phase: Phase) -> usize {
        self.0.get(&phase).copied().unwrap_or_default()
    }

    /// Orders on their way: durable, and not at their end.
    pub(crate) fn undecided(&self) -> usize {
        let is_undecided = |phase: Phase| {
            !matches!(phase, Phase::BeforeStart | Phase::BeforeEnd | Phase::InCancel)
        };
        self.0.iter().filter(|(phase, _)| is_undecided(**phase)).map(|(_, count)| count).sum()
    }
}

impl AddAssign<&Self> for Hits {
    fn add_assign(&mut self, other: &Self) {
        for (phase, count) in &other.0 {
            *self.0.entry(*phase).or_default() += count;
        }
    }
}

impl fmt::Debug for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

const DONE: i64 = 1;

/// The phases of the sagas that had not ended, and of the calls that had not begun one.
pub(crate) fn hits(victim: Victim, left: &Left, calls: &HashMap<Uuid, Call>) -> Hits {
    let mut hits = Hits::default();
    for saga in &left.sagas {
        let call = Uuid::from_slice(&saga.request_id).ok().and_then(|id| calls.get(&id));
        let has_coupon = call.is_some_and(|call| call.has_coupon);
        *hits.0.entry(phase(victim, saga, has_coupon)).or_default() += 1;
    }
    hits.0.insert(Phase::InCancel, left.cancels);
    if [Victim::Role(Role::Orchestrator), Victim::Database, Victim::Everything].contains(&victim) {
        let waiting = calls.iter().filter(|(id, call)| call.is_open && !left.begun.contains(id));
        *hits.0.entry(Phase::BeforeStart).or_default() += waiting.count();
    }
    hits
}

fn phase(victim: Victim, saga: &Seen, has_coupon: bool) -> Phase {
    let Seen { reserve, redeem, debit, confirm, .. } = *saga;
    let before = [reserve, redeem, debit];
    if confirm == DONE {
        return Phase::BeforeEnd;
    }
    if confirm != 0 || before.iter().any(|state| *state > DONE) {
        let all_undone = !before.contains(&DONE);
        return if all_undone { Phase::BeforeEnd } else { Phase::InCompensation };
    }
    let (writer, step) = match before {
        [0, ..] => (Role::Product, Phase::InReserveStock),
        [_, 0, 0] if has_coupon => (Role::Coupon, Phase::InRedeemCoupon),
        [_, _, 0] => (Role::Wallet, Phase::InDebitWallet),
        [_, _, _] => (Role::Order, Phase::InConfirmOrder),
    };
    match victim {
        Victim::Role(Role::Orchestrator) => Phase::BetweenSteps,
        Victim::Role(role) if role == writer => step,
        Victim::Database | Victim::Everything => step,
        Victim::Role(_) | Victim::Redis => Phase::Elsewhere,
    }
}
