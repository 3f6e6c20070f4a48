//! Who is a user: whoever has a wallet. Asked of the wallet service.

use crate::domain::UserId;
use api::wallet::v1::GetWalletRequest;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::{Reason, Refusal};
use platform::Transport;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tonic::{Code, Status};

/// Users of one generation of the memory.
const GENERATION: usize = 50_000;

/// The users of the shop.
pub(crate) struct Users {
    wallets: WalletServiceClient<Transport>,
    known: Mutex<Known>,
}

/// Users seen of late. Wallets are never closed, so only a yes is remembered, and for as long as there is room.
#[derive(Default)]
struct Known {
    young: HashSet<UserId>,
    old: HashSet<UserId>,
}

impl Users {
    pub(crate) fn new(wallets: WalletServiceClient<Transport>) -> Self {
        Self { wallets, known: Mutex::default() }
    }

    /// Whether there is such a user.
    ///
    /// # Errors
    /// `UNAVAILABLE`, or `DEADLINE_EXCEEDED`, when the wallet service does not say.
    pub(crate) async fn contains(&self, user: UserId) -> Result<bool, Status> {
        if self.known().contains(user) {
            return Ok(true);
        }
        match self.wallets.clone().get_wallet(GetWalletRequest { user_id: user.0 }).await {
            Ok(_) => {
                self.known().insert(user);
                Ok(true)
            }
            Err(status) => absent_or_unknown(&status),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn absent_or_unknown(status: &Status) -> Result<bool, Status> {
    let reason = Refusal::from_status(status).map(|refusal| refusal.reason);
    if reason == Some(Reason::WalletNotFound) {
        return Ok(false);
    }
    tracing::warn!(%status, "the wallet service did not say whether a user exists");
    let reason = match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => Reason::DeadlineExceeded,
        _ => Reason::Unavailable,
    };
    Err(Refusal::new(reason).into())
}

impl Known {
    fn contains(&self, user: UserId) -> bool {
        self.young.contains(&user) || self.old.contains(&user)
    }

    /// Forgets the older half when the younger is full.
    fn insert(&mut self, user: UserId) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_keeps_the_latest() {
        let mut known = Known::default();
        let generation = i64::try_from(GENERATION).unwrap();
        (1..=3 * generation).for_each(|id| known.insert(UserId(id)));
        assert!(known.young.len() + known.old.len() <= 2 * GENERATION);
        assert!(known.contains(UserId(3 * generation)));
        assert!(known.contains(UserId(2 * generation)));
        assert!(!known.contains(UserId(1)));
    }
}
