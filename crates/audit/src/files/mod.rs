//! What each participant has on file of a saga: its steps, and the rows that they made.

pub(crate) mod coupon;
pub(crate) mod order;
pub(crate) mod product;
pub(crate) mod wallet;

use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::steps::SagaRow;
use participant::SagaId;

/// A participant's file on one saga.
pub(crate) trait Filed: Default {
    /// A row of the participant's stream.
    type Row: SagaRow;
    /// Says that the file agrees with itself.
    const INVARIANT: Invariant;

    /// Files rows; `None` where they are not what any version wrote.
    fn sort(rows: Vec<Self::Row>) -> Option<Self>;

    /// Whether there are barrier rows.
    fn has_steps(&self) -> bool;

    /// Whether the steps and the rows that they made say the same.
    fn agrees(&self) -> bool;

    /// Files the rows of a saga and checks them. `None` where they say nothing that can be relied on.
    fn read(
        saga: SagaId,
        rows: Vec<Self::Row>,
        watermark: SagaId,
        findings: &mut Findings,
    ) -> Option<Self> {
        if rows.is_empty() {
            return Some(Self::default());
        }
        let file = Self::sort(rows);
        let agrees = file.as_ref().is_some_and(|file| {
            let purged = saga <= watermark && !file.has_steps();
            purged || file.agrees()
        });
        findings.check(&Self::INVARIANT, agrees, format!("saga {saga}"));
        file
    }
}
