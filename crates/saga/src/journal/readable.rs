//! Which unfinished sagas this program can run.
//!
//! Others are left to the replicas that know them: a newer program may have begun them, and an older one that took them
//! over could only park them.

use super::Journal;
use super::record::{PlanId, RunningState};
use super::schema::saga;
use db::{Bytes16, Conn, Result};
use diesel::dsl::{And, EqAny, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use std::collections::HashSet;

/// Sagas looked for at once that this program cannot run.
const MOST: i64 = 100;

/// A condition on [`saga`].
type Readable = And<EqAny<saga::state, [i8; 3]>, EqAny<SqlLiteral<BigInt>, Vec<i64>>>;

/// The sagas of these plans whose state this program knows.
pub(super) fn readable(plans: &[PlanId]) -> Readable {
    let states = RunningState::ALL.map(RunningState::code);
    saga::state.eq_any(states).and(code_of().eq_any(codes_of(plans)))
}

/// A plan as one number.
fn code_of() -> SqlLiteral<BigInt> {
    sql("(kind * 65536 + plan_version)")
}

/// See [`code_of`].
fn codes_of(plans: &[PlanId]) -> Vec<i64> {
    plans.iter().map(|plan| i64::from(plan.kind) * 65_536 + i64::from(plan.version)).collect()
}

impl Journal {
    /// Unfinished sagas that have no living owner and that this program cannot run: for an alert.
    pub(crate) async fn unclaimable(
        &self,
        alive: HashSet<Bytes16>,
        plans: &[PlanId],
    ) -> Result<Vec<SagaId>> {
        let alive: Vec<Bytes16> = alive.into_iter().collect();
        let plans = plans.to_vec();
        self.db
            .read(async move |conn: &mut Conn| -> Result<_> {
                let ids: Vec<Bytes16> = saga::table
                    .filter(saga::owner.ne_all(&alive))
                    .filter(diesel::dsl::not(readable(&plans)))
                    .order(saga::saga_id)
                    .select(saga::saga_id)
                    .limit(MOST)
                    .load(conn)
                    .await?;
                Ok(ids.into_iter().map(|id| SagaId(id.0)).collect())
            })
            .await
    }
}
