//! The tables: which sagas each plan is tried with, and how each step can be made to refuse.

use crate::node::Node;
use api::Reason;
use api::saga::v1::StepRole;
use orchestrator::kind::{CANCEL, CHECKOUT};
use participant::StepNo;
use saga::journal::PlanId;
use saga::runtime::StepInfo;
use std::fmt;

/// A kind of saga to try a plan with.
#[derive(Debug)]
pub(crate) struct Scenario {
    name: &'static str,
    pub(crate) plan: PlanId,
    /// Whether the order uses a coupon.
    pub(crate) coupon: bool,
    /// The plan's steps that call nobody in such a saga.
    skipped: &'static [&'static str],
}

/// The sagas that the plans are tried with: every step must take part in at least one.
static SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "checkout without a coupon",
        plan: PlanId { kind: CHECKOUT, version: 1 },
        coupon: false,
        skipped: &["RedeemCoupon"],
    },
    Scenario {
        name: "checkout with a coupon",
        plan: PlanId { kind: CHECKOUT, version: 1 },
        coupon: true,
        skipped: &[],
    },
    Scenario {
        name: "cancel without a coupon",
        plan: PlanId { kind: CANCEL, version: 1 },
        coupon: false,
        skipped: &["RestoreCoupon"],
    },
    Scenario {
        name: "cancel with a coupon",
        plan: PlanId { kind: CANCEL, version: 1 },
        coupon: true,
        skipped: &[],
    },
];

/// What is wrong with a world, so that a step refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoil {
    MissingProduct,
    ShortStock,
    PriceChanged,
    UnknownCoupon,
    CouponNotIssued,
    CouponUsed,
    NoWallet,
    PoorWallet,
    UnknownOrder,
    ForeignOrder,
    CancelledOrder,
}

impl Spoil {
    /// What the client is told.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::MissingProduct => Reason::ProductNotFound,
            Self::ShortStock => Reason::InsufficientStock,
            Self::PriceChanged => Reason::PriceChanged,
            Self::UnknownCoupon => Reason::CouponNotFound,
            Self::CouponNotIssued => Reason::IssuedCouponNotFound,
            Self::CouponUsed => Reason::CouponNotUsable,
            Self::NoWallet => Reason::WalletNotFound,
            Self::PoorWallet => Reason::InsufficientBalance,
            Self::UnknownOrder | Self::ForeignOrder => Reason::OrderNotFound,
            Self::CancelledOrder => Reason::OrderNotCancellable,
        }
    }
}

/// Every way in which a step can refuse; empty for one that cannot. `None` for a step that the table does not know.
fn spoils(step: &str) -> Option<&'static [Spoil]> {
    match step {
        "ReserveStock" => Some(&[Spoil::MissingProduct, Spoil::ShortStock, Spoil::PriceChanged]),
        "RedeemCoupon" => Some(&[Spoil::UnknownCoupon, Spoil::CouponNotIssued, Spoil::CouponUsed]),
        "DebitWallet" => Some(&[Spoil::NoWallet, Spoil::PoorWallet]),
        "BeginCancel" => Some(&[Spoil::UnknownOrder, Spoil::ForeignOrder, Spoil::CancelledOrder]),
        "ConfirmOrder" | "RefundWallet" | "RestockProducts" | "RestoreCoupon" | "FinishCancel" => {
            Some(&[])
        }
        _ => None,
    }
}

/// One step in one scenario.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) scenario: &'static Scenario,
    /// The steps that take part, in order.
    steps: Vec<StepInfo>,
    at: usize,
}

impl Case {
    /// The steps that take part, in order.
    pub(crate) fn steps(&self) -> &[StepInfo] {
        &self.steps
    }

    /// The step.
    pub(crate) fn step(&self) -> &str {
        &self.steps[self.at].name
    }

    /// Its stable number.
    pub(crate) fn number(&self) -> StepNo {
        self.steps[self.at].step
    }

    /// The participant that runs it.
    pub(crate) fn participant(&self) -> &str {
        &self.steps[self.at].participant
    }

    /// The call that undoes it: its compensation, or its void if it is the pivot.
    pub(crate) fn undo(&self) -> Option<String> {
        undo_of(&self.steps[self.at])
    }

    /// The call that closes the pivot.
    pub(crate) fn void(&self) -> String {
        undo_of(self.pivot()).unwrap()
    }

    /// The steps before it, in order.
    pub(crate) fn before(&self) -> &[StepInfo] {
        &self.steps[..self.at]
    }

    /// The steps after it, in order.
    pub(crate) fn after(&self) -> &[StepInfo] {
        &self.steps[self.at + 1..]
    }

    /// The step that decides.
    pub(crate) fn pivot(&self) -> &StepInfo {
        self.steps.iter().find(|info| role(info) == StepRole::Pivot).unwrap()
    }

    /// The steps that a failed saga may have to undo: those before the pivot.
    pub(crate) fn compensable(&self) -> impl Iterator<Item = &StepInfo> {
        self.steps.iter().take_while(|info| info.step != self.pivot().step)
    }

    /// Whether it is the step that decides.
    pub(crate) fn is_pivot(&self) -> bool {
        self.pivot().step == self.steps[self.at].step
    }

    /// Whether it is undone when its saga fails.
    pub(crate) fn is_compensable(&self) -> bool {
        !self.is_pivot() && !self.is_past_pivot()
    }

    /// Whether its saga can fail no more.
    pub(crate) fn is_past_pivot(&self) -> bool {
        self.undo().is_none()
    }

    /// Every way in which it can refuse in this scenario.
    pub(crate) fn spoils(&self) -> Vec<Spoil> {
        let all = spoils(self.step()).unwrap().iter().copied();
        // Whoever was issued a coupon has a wallet.
        all.filter(|spoil| !(self.scenario.coupon && *spoil == Spoil::NoWallet)).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.scenario.name, self.step())
    }
}

/// Every step of every scenario of every plan.
///
/// # Panics
/// When the tables do not know a plan or a step, or name one that is not there.
pub(crate) fn cases(node: &Node) -> Vec<Case> {
    for scenario in &SCENARIOS {
        let registered = node.plans().iter().any(|(id, _)| *id == scenario.plan);
        assert!(registered, "{}: {:?} is no plan", scenario.name, scenario.plan);
    }
    node.plans().iter().flat_map(|(id, steps)| cases_of(*id, steps)).collect()
}

fn cases_of(plan: PlanId, steps: &[StepInfo]) -> Vec<Case> {
    let scenarios = SCENARIOS.iter().filter(|scenario| scenario.plan == plan);
    let mut cases = Vec::new();
    for scenario in scenarios.clone() {
        for name in scenario.skipped {
            let known = steps.iter().any(|info| info.name == *name);
            assert!(known, "{}: {plan:?} has no step {name}", scenario.name);
        }
        let taken = steps.iter().filter(|info| !scenario.skipped.contains(&&*info.name));
        let taken: Vec<StepInfo> = taken.cloned().collect();
        cases.extend((0..taken.len()).map(|at| Case { scenario, steps: taken.clone(), at }));
    }
    assert!(!cases.is_empty(), "{plan:?} has no scenario");
    for info in steps {
        let name = &*info.name;
        assert!(spoils(name).is_some(), "{plan:?}: how can {name} refuse?");
        let tried = cases.iter().any(|case| case.step() == name);
        assert!(tried, "{plan:?}: no scenario has the step {name}");
    }
    cases
}

/// The call that undoes a step, as the wire names it; none for one after the pivot.
pub(crate) fn undo_of(info: &StepInfo) -> Option<String> {
    match role(info) {
        StepRole::Compensatable => Some(format!("Compensate {}", info.step)),
        StepRole::Pivot => Some(format!("Void {}", info.step)),
        StepRole::Retriable | StepRole::Unspecified => None,
    }
}

/// What the contract says of a step.
fn role(info: &StepInfo) -> StepRole {
    let mut actions = api::participants::ALL.iter().flat_map(|it| it.actions);
    let action = actions.find(|action| action.method == info.method);
    action.unwrap_or_else(|| panic!("the contract has no {}", info.method)).role
}

const MADE_UP: StepInfo = StepInfo::new(StepNo(99), "WrapGift", "gift", "gift.v1.Gift/WrapGift");

#[test]
#[should_panic(expected = "PlanId { kind: 99, version: 1 } has no scenario")]
fn a_plan_without_a_scenario_is_named() {
    cases_of(PlanId { kind: 99, version: 1 }, &[MADE_UP]);
}

#[test]
#[should_panic(expected = "how can WrapGift refuse?")]
fn a_step_that_the_tables_do_not_know_is_named() {
    let [one, other] =
        ["RedeemCoupon", "ConfirmOrder"].map(|name| StepInfo { name: name.into(), ..MADE_UP });
    cases_of(PlanId { kind: CHECKOUT, version: 1 }, &[one, other, MADE_UP]);
}
