//! Wallets: money against its ledger, its requests and its events.

use crate::chain::Chain;
use crate::events::{self, Events, Told};
use crate::findings::Findings;
use crate::invariant::{WALLET_BALANCE, WALLET_EVENTS, WALLET_LEDGER, WALLET_REQUESTS};
use crate::requests::{Made, Requests};
use crate::snapshot::Snapshot;
use anyhow::Result;
use api::wallet::v1::{
    ChargeWalletResponse, CreateWalletResponse, WalletCharged, WalletCreated, WalletDebitUndone,
    WalletDebited, WalletRefunded,
};
use prost::Message;

/// Charges keep a balance below this many won; what comes back may pass it.
const BALANCE_LIMIT: i64 = 1_000_000_000_000_000;

const CHARGE: i64 = 1;
/// An order was paid.
pub(crate) const DEBIT: i64 = 2;
/// Its checkout failed.
pub(crate) const UNDO_DEBIT: i64 = 3;
/// It was cancelled.
pub(crate) const REFUND: i64 = 4;

const CHAIN: Chain = Chain {
    owner: "wallet",
    entry: "entry",
    owners: "SELECT user_id AS id, balance AS amount, version AS count FROM wallet",
    owner_key: "user_id",
    entries: "SELECT user_id AS id, seq, kind, amount AS delta, balance_after AS after, \
        order_id IS NOT NULL AS of_order, saga_id IS NOT NULL AS of_saga FROM ledger",
    entry_key: "user_id",
    sound: |entry| match entry.kind {
        CHARGE => {
            entry.delta > 0 && entry.after < BALANCE_LIMIT && !entry.of_order && !entry.of_saga
        }
        DEBIT => entry.delta <= 0 && entry.of_order && entry.of_saga,
        UNDO_DEBIT | REFUND => entry.delta >= 0 && entry.of_order && entry.of_saga,
        _ => false,
    },
    sum: WALLET_BALANCE,
    links: WALLET_LEDGER,
};

const REQUESTS: Requests = Requests {
    invariant: WALLET_REQUESTS,
    owner: "wallet",
    made: "SELECT 1 AS method, user_id AS id, 0 AS part, 0 AS amount FROM wallet \
        UNION ALL SELECT 2, user_id, seq, amount FROM ledger WHERE kind = 1",
    told: |method, reply| match method {
        1 => {
            let id = CreateWalletResponse::decode(reply).ok()?.wallet?.user_id;
            Some(Made { method, id, part: 0, amount: 0 })
        }
        2 => {
            let reply = ChargeWalletResponse::decode(reply).ok()?;
            let (wallet, entry) = (reply.wallet?, reply.transaction?);
            let told = wallet.balance_won == entry.balance_after_won;
            let id = wallet.user_id;
            told.then_some(Made { method, id, part: entry.seq, amount: entry.amount_won })
        }
        _ => None,
    },
    through: None,
};

const EVENTS: Events = Events {
    invariant: WALLET_EVENTS,
    changes: "SELECT 'wallet' AS kind, user_id AS id, 0 AS version, 0 AS through, 0 AS is_event, \
        'commerce.wallet.v1.WalletCreated' AS event_type, created_at AS at, \
        0 AS a, 0 AS b, 0 AS c, 0 AS d, 0 AS e, X'' AS payload FROM wallet \
        UNION ALL SELECT 'wallet', user_id, seq, seq, 0, \
        CASE kind WHEN 1 THEN 'commerce.wallet.v1.WalletCharged' WHEN 2 THEN 'commerce.wallet.v1.WalletDebited' \
        WHEN 3 THEN 'commerce.wallet.v1.WalletDebitUndone' ELSE 'commerce.wallet.v1.WalletRefunded' END, created_at, \
        amount, balance_after, COALESCE(order_id, 0), 0, 0, X'' FROM ledger",
    tells,
};

fn tells(change: &events::Row, told: &Told<'_>) -> bool {
    let (user_id, seq, balance_after_won, order_id) =
        (change.id, change.version, change.b, change.c);
    // The ledger is signed, a payload tells how much was moved.
    let amount_won = change.a.saturating_abs();
    let payload = told.payload;
    match told.event_type {
        "commerce.wallet.v1.WalletCreated" => {
            WalletCreated::decode(payload) == Ok(WalletCreated { user_id })
        }
        "commerce.wallet.v1.WalletCharged" => {
            let said = WalletCharged { user_id, seq, amount_won, balance_after_won };
            WalletCharged::decode(payload) == Ok(said)
        }
        "commerce.wallet.v1.WalletDebited" => {
            let said = WalletDebited { user_id, seq, amount_won, balance_after_won, order_id };
            WalletDebited::decode(payload) == Ok(said)
        }
        "commerce.wallet.v1.WalletDebitUndone" => {
            let said = WalletDebitUndone { user_id, seq, amount_won, balance_after_won, order_id };
            WalletDebitUndone::decode(payload) == Ok(said)
        }
        "commerce.wallet.v1.WalletRefunded" => {
            let said = WalletRefunded { user_id, seq, amount_won, balance_after_won, order_id };
            WalletRefunded::decode(payload) == Ok(said)
        }
        _ => false,
    }
}

/// Checks what the schema says of itself.
pub(crate) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> Result<()> {
    CHAIN.check(snapshot, findings).await?;
    REQUESTS.check(snapshot, findings).await?;
    EVENTS.check(snapshot, findings).await
}
