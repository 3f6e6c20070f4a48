//! The sagas that this replica is running, by saga and by request.

use super::control::Control;
use crate::journal::EndedAs;
use participant::{RequestHash, RequestKey, SagaId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a saga is, as far as a client is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// START is not known to be durable.
    Starting,
    /// START is durable, the outcome open.
    Running(SagaId),
    /// The outcome can no longer change, and every effect of it is visible.
    Decided {
        /// The saga.
        saga: SagaId,
        /// How it ended.
        outcome: EndedAs,
        /// The plan's record of the result.
        result: Arc<[u8]>,
    },
    /// The request has a saga that another replica runs, or that ended.
    Elsewhere(SagaId),
    /// The request id was used for other content.
    Reused,
    /// Nothing happened: the journal's queue is full.
    Overloaded(std::time::Duration),
    /// Nobody knows whether START was written; it will be found by its request.
    Unknown,
}

#[derive(Default)]
pub(super) struct Live {
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    sagas: HashMap<SagaId, (watch::Receiver<Progress>, Arc<Control>)>,
    requests: HashMap<RequestKey, (RequestHash, watch::Receiver<Progress>)>,
}

/// What a request meets.
pub(super) enum Met {
    /// The same request is under way here.
    Same(watch::Receiver<Progress>),
    /// Nothing: it is registered now.
    Registered(watch::Sender<Progress>, watch::Receiver<Progress>),
    /// Another content under this id is under way here.
    Other,
    /// No room for more.
    Full,
}

impl Live {
    /// Registers a request, or finds it.
    pub(super) fn meet(&self, key: RequestKey, hash: RequestHash, room: usize) -> Met {
        let mut maps = self.lock();
        if let Some((other, progress)) = maps.requests.get(&key) {
            return if *other == hash { Met::Same(progress.clone()) } else { Met::Other };
        }
        if maps.requests.len() >= room {
            return Met::Full;
        }
        let (sender, receiver) = watch::channel(Progress::Starting);
        maps.requests.insert(key, (hash, receiver.clone()));
        Met::Registered(sender, receiver)
    }

    /// Registers a saga; none when it runs here already.
    pub(super) fn enter(
        &self,
        saga: SagaId,
        progress: watch::Receiver<Progress>,
    ) -> Option<Arc<Control>> {
        let mut maps = self.lock();
        if maps.sagas.contains_key(&saga) {
            return None;
        }
        let control = Arc::new(Control::default());
        maps.sagas.insert(saga, (progress, Arc::clone(&control)));
        Some(control)
    }

    /// What reaches the executor of a saga that runs here.
    pub(super) fn control(&self, saga: SagaId) -> Option<Arc<Control>> {
        self.lock().sagas.get(&saga).map(|(_, control)| Arc::clone(control))
    }

    pub(super) fn leave_request(&self, key: &RequestKey) {
        self.lock().requests.remove(key);
    }

    pub(super) fn leave_saga(&self, saga: SagaId) {
        self.lock().sagas.remove(&saga);
    }

    pub(super) fn progress(&self, saga: SagaId) -> Option<watch::Receiver<Progress>> {
        self.lock().sagas.get(&saga).map(|(progress, _)| progress.clone())
    }

    pub(super) fn contains(&self, saga: SagaId) -> bool {
        self.lock().sagas.contains_key(&saga)
    }

    pub(super) fn len(&self) -> usize {
        let maps = self.lock();
        maps.sagas.len().max(maps.requests.len())
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
