//! An amount and the entries that make it: a wallet and its ledger, a product and its movements.

use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::snapshot::Snapshot;
use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool};
use futures_util::TryStreamExt;

/// Owners whose entries are read with one statement.
const PAGE: usize = 2_000;

/// Two tables of this shape, and what must hold of them.
pub(crate) struct Chain {
    /// What an owner is called: `wallet`.
    pub(crate) owner: &'static str,
    /// What an entry is called: `entry`.
    pub(crate) entry: &'static str,
    /// Selects an [`Owner`]'s columns, without condition.
    pub(crate) owners: &'static str,
    /// The owner's key column.
    pub(crate) owner_key: &'static str,
    /// Selects an [`Entry`]'s columns, without condition.
    pub(crate) entries: &'static str,
    /// The entry's column that names its owner.
    pub(crate) entry_key: &'static str,
    /// Whether an entry's sign, order and saga are those of its kind.
    pub(crate) sound: fn(&Entry) -> bool,
    /// The amount is the sum of the entries.
    pub(crate) sum: Invariant,
    /// Each entry follows from the one before.
    pub(crate) links: Invariant,
}

#[derive(QueryableByName)]
struct Owner {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    amount: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// One entry.
#[derive(QueryableByName)]
pub(crate) struct Entry {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) seq: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) kind: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) delta: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) after: i64,
    #[diesel(sql_type = Bool)]
    pub(crate) of_order: bool,
    #[diesel(sql_type = Bool)]
    pub(crate) of_saga: bool,
}

/// Where the entries of one owner have come to.
#[derive(Default)]
struct End {
    id: i64,
    sum: i128,
    count: i64,
    seq: i64,
    after: i64,
}

impl Chain {
    /// Checks every owner and every entry, page by page of owners.
    pub(crate) async fn check(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut above = i64::MIN;
        loop {
            let key = self.owner_key;
            let sql = format!("{} WHERE {key} > {above} ORDER BY {key} LIMIT {PAGE}", self.owners);
            let owners: Vec<Owner> = snapshot.all(sql).await?;
            // The last page takes whatever entries come after the last owner, too: they are nobody's.
            let through = match owners.last() {
                Some(last) if owners.len() == PAGE => last.id,
                _ => i64::MAX,
            };
            self.check_page(snapshot, findings, owners, above, through).await?;
            if through == i64::MAX {
                return Ok(());
            }
            above = through;
        }
    }

    async fn check_page(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
        owners: Vec<Owner>,
        above: i64,
        through: i64,
    ) -> Result<()> {
        let key = self.entry_key;
        let sql = format!(
            "{} WHERE {key} > {above} AND {key} <= {through} ORDER BY {key}, seq",
            self.entries
        );
        let mut entries = snapshot.rows::<Entry>(sql).await?;
        let mut owners = owners.into_iter().peekable();
        let mut end: Option<End> = None;
        while let Some(entry) = entries.try_next().await? {
            if let Some(before) = end.take_if(|end| end.id != entry.id) {
                self.close(findings, &mut owners, Some(before));
            }
            let present = end.get_or_insert_with(|| End { id: entry.id, ..End::default() });
            let linked = present.accepts(&entry) && (self.sound)(&entry);
            let Self { owner, entry: noun, .. } = self;
            let name = || format!("{owner} {} {noun} {}", entry.id, entry.seq);
            findings.check(&self.links, linked, name());
            present.push(&entry);
        }
        self.close(findings, &mut owners, end);
        for without in owners {
            self.compare(findings, &without, &End::default());
        }
        Ok(())
    }

    /// Compares an owner with all of its entries, after the owners before it that have none.
    fn close(
        &self,
        findings: &mut Findings,
        owners: &mut std::iter::Peekable<std::vec::IntoIter<Owner>>,
        end: Option<End>,
    ) {
        let Some(end) = end else { return };
        while let Some(without) = owners.next_if(|owner| owner.id < end.id) {
            self.compare(findings, &without, &End::default());
        }
        match owners.next_if(|owner| owner.id == end.id) {
            Some(owner) => self.compare(findings, &owner, &end),
            None => findings.offend(&self.sum, format!("{} {}", self.owner, end.id)),
        }
    }

    fn compare(&self, findings: &mut Findings, owner: &Owner, end: &End) {
        let equal = i128::from(owner.amount) == end.sum && owner.count == end.count;
        let holds = equal && owner.amount >= 0;
        findings.check(&self.sum, holds, format!("{} {}", self.owner, owner.id));
    }
}

impl End {
    fn accepts(&self, entry: &Entry) -> bool {
        Some(entry.seq) == self.seq.checked_add(1)
            && Some(entry.after) == self.after.checked_add(entry.delta)
            && entry.after >= 0
    }

    fn push(&mut self, entry: &Entry) {
        self.sum = self.sum.saturating_add(entry.delta.into());
        self.count = self.count.saturating_add(1);
        self.seq = entry.seq;
        self.after = entry.after;
    }
}
