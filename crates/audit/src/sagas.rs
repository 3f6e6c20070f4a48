//! Every saga, with what each schema says of it.
//!
//! The journal's snapshot is opened before those of the participants. So a saga that had ended in it has all of its
//! effects in theirs, and nothing of it changes afterwards: it can be checked to the last row beside live traffic. A
//! saga that was under way is only counted. What the participants know and the journal did not yet is looked up in a
//! second snapshot of the journal, opened after theirs: START is durable before any effect, so it is there, was never
//! begun, or is at or below the journal's watermark and forgotten.

use crate::dossier::{ENDED, Ended, Files};
use crate::files::{Filed, coupon, order, product, wallet};
use crate::findings::Findings;
use crate::invariant::SAGA_KNOWN;
use crate::report::Explained;
use crate::schemas::journal;
use crate::snapshot::Snapshot;
use crate::steps::BySaga;
use crate::uses::Uses;
use anyhow::Result;
use db::Bytes16;
use diesel::QueryableByName;
use diesel::sql_types::Binary;
use futures_util::TryStreamExt;
use participant::SagaId;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Ids that one statement looks up.
const LOOKED_UP: usize = 1_000;
/// Ids that a report names of what it explains.
const NAMED: usize = 100;

/// All schemas, each at its instant.
pub(crate) struct Snapshots {
    pub(crate) journal: Snapshot,
    pub(crate) product: Snapshot,
    pub(crate) coupon: Snapshot,
    pub(crate) wallet: Snapshot,
    pub(crate) order: Snapshot,
}

/// What a walk over all sagas leaves to be looked at.
#[derive(Default)]
pub(crate) struct Walked {
    /// The participants' watermarks.
    pub(crate) watermarks: BTreeMap<&'static str, Option<SagaId>>,
    /// Sagas that the journal's first snapshot does not know.
    pub(crate) unknown: Vec<SagaId>,
    /// Who used which coupon.
    pub(crate) uses: Uses,
    /// What was left out, and why.
    pub(crate) explained: Vec<Explained>,
}

/// Walks over all sagas in the order of their ids.
pub(crate) async fn check(of: &mut Snapshots, findings: &mut Findings) -> Result<Walked> {
    let mut walked = Walked::default();
    let Snapshots { journal, product, coupon, wallet, order } = of;
    let watermarks = &mut walked.watermarks;
    let mut watermark = async |name, snapshot: &mut Snapshot| -> Result<SagaId> {
        let watermark = journal::watermark(snapshot).await?;
        watermarks.insert(name, watermark);
        Ok(watermark.unwrap_or(SagaId([0; 16])))
    };
    let watermark_of_product = watermark("product", product).await?;
    let watermark_of_coupon = watermark("coupon", coupon).await?;
    let watermark_of_wallet = watermark("wallet", wallet).await?;
    let watermark_of_order = watermark("order", order).await?;
    let purged = watermark_of_product
        .max(watermark_of_coupon)
        .max(watermark_of_wallet)
        .max(watermark_of_order);

    let forgotten = journal::watermark(journal).await?.unwrap_or(SagaId([0; 16]));
    let unfinished = journal::unfinished(journal).await?;
    let under_way: BTreeSet<SagaId> = unfinished.iter().map(journal::Unfinished::saga).collect();
    walked.explained = waiting(&unfinished);
    let mut resolved = Explained {
        what: "sagas were settled by a person; what they left standing",
        count: 0,
        ids: vec![],
    };

    let mut ended = journal.rows::<Ended>(ENDED).await?;
    let mut next = ended.try_next().await?;
    let mut products = BySaga::new(product.rows(product::BY_SAGA).await?).await?;
    let mut coupons = BySaga::new(coupon.rows(coupon::BY_SAGA).await?).await?;
    let mut wallets = BySaga::new(wallet.rows(wallet::BY_SAGA).await?).await?;
    let mut orders = BySaga::new(order.rows(order::BY_SAGA).await?).await?;
    loop {
        let heads = [products.peek(), coupons.peek(), wallets.peek(), orders.peek()];
        let first = heads.into_iter().chain([next.as_ref().map(Ended::saga)]).flatten().min();
        let Some(saga) = first else { break };
        // A watermark alone tells of no purge: it stands below all there is while all is young.
        walked.uses.some_purged |= saga <= watermark_of_coupon;
        let product = products.take(saga).await?;
        let coupon = coupons.take(saga).await?;
        let wallet = wallets.take(saga).await?;
        let order = orders.take(saga).await?;
        let product = product::File::read(saga, product, watermark_of_product, findings);
        let coupon = coupon::File::read(saga, coupon, watermark_of_coupon, findings);
        let wallet = wallet::File::read(saga, wallet, watermark_of_wallet, findings);
        let order = order::File::read(saga, order, watermark_of_order, findings);
        walked.uses.note(coupon.as_ref(), order.as_ref());
        let Some(end) = next.take_if(|ended| ended.saga() == saga) else {
            findings.row(&SAGA_KNOWN);
            // What the journal has forgotten left orders and entries behind, which stay.
            if saga > forgotten && !under_way.contains(&saga) {
                walked.unknown.push(saga);
            }
            continue;
        };
        next = ended.try_next().await?;
        findings.row(&SAGA_KNOWN);
        match (product, coupon, wallet, order) {
            (_, _, _, Some(order)) if saga <= purged => end.check_purged(&order, findings),
            (Some(product), Some(coupon), Some(wallet), Some(order)) => {
                let files = Files { product, coupon, wallet, order };
                if end.is_resolved() {
                    resolved.add(format!("{saga}: {}", files.standing()));
                }
                end.check(&files, findings);
            }
            // Told already: a file that cannot be read says nothing of the others.
            _ => {}
        }
    }
    if resolved.count > 0 {
        walked.explained.push(resolved);
    }
    Ok(walked)
}

/// Unfinished sagas, for the reader.
fn waiting(unfinished: &[journal::Unfinished]) -> Vec<Explained> {
    let mut running =
        Explained { what: "sagas are under way and checked by schema only", count: 0, ids: vec![] };
    let mut stuck = Explained { what: "sagas need a person", count: 0, ids: vec![] };
    for saga in unfinished {
        match saga.state {
            1 => running.count += 1,
            _ => stuck.add(format!("{} {}", saga.saga(), saga.attention)),
        }
    }
    [running, stuck].into_iter().filter(|explained| explained.count > 0).collect()
}

impl Explained {
    fn add(&mut self, id: String) {
        self.count += 1;
        if self.ids.len() < NAMED {
            self.ids.push(id);
        }
    }
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Binary)]
    saga_id: Bytes16,
}

/// Looks up sagas that the journal did not know, in a snapshot that is newer than all others. Those at or below its
/// watermark it may have forgotten.
pub(crate) async fn check_known(
    newer: &mut Snapshot,
    unknown: &[SagaId],
    findings: &mut Findings,
) -> Result<()> {
    let watermark = journal::watermark(newer).await?.unwrap_or(SagaId([0; 16]));
    let unknown: Vec<SagaId> = unknown.iter().copied().filter(|saga| *saga > watermark).collect();
    for sagas in unknown.chunks(LOOKED_UP) {
        let ids: Vec<String> = sagas.iter().map(hex).collect();
        let ids = ids.join(",");
        let sql = format!(
            "SELECT saga_id FROM saga WHERE saga_id IN ({ids}) \
            UNION SELECT saga_id FROM saga_history WHERE saga_id IN ({ids})"
        );
        let known: Vec<Known> = newer.all(sql).await?;
        let known: BTreeSet<SagaId> = known.iter().map(|row| SagaId(row.saga_id.0)).collect();
        for saga in sagas.iter().filter(|saga| !known.contains(saga)) {
            findings.offend(&SAGA_KNOWN, format!("saga {saga}"));
        }
    }
    Ok(())
}

fn hex(saga: &SagaId) -> String {
    format!("X'{}'", Uuid::from(*saga).simple())
}
