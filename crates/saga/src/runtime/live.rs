//! The sagas that this replica is running, by saga and by request.

use super::control::{Control, Trouble, Wanted};
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
    pub(super) fn meet(&self, key: &RequestKey, hash: RequestHash, room: usize) -> Met {
        let mut maps = self.lock();
        if let Some((other, progress)) = maps.requests.get(key) {
            return if *other == hash { Met::Same(progress.clone()) } else { Met::Other };
        }
        if maps.requests.len() >= room {
            return Met::Full;
        }
        let (sender, receiver) = watch::channel(Progress::Starting);
        maps.requests.insert(key.clone(), (hash, receiver.clone()));
        Met::Registered(sender, receiver)
    }

    /// Registers a saga. None when it runs here already: its executor is told what is wanted then.
    pub(super) fn enter(
        &self,
        saga: SagaId,
        progress: watch::Receiver<Progress>,
        wanted: Wanted,
    ) -> Option<Place<'_>> {
        let mut maps = self.lock();
        if let Some((_, running)) = maps.sagas.get(&saga) {
            running.want(wanted);
            return None;
        }
        let control = Arc::new(Control::default());
        if wanted == Wanted::Abort {
            control.want(wanted);
            control.take_unheard();
        }
        maps.sagas.insert(saga, (progress, Arc::clone(&control)));
        Some(Place { live: self, saga, control })
    }

    /// Tells the executor that a saga has here what is wanted; whether it has one.
    pub(super) fn want(&self, saga: SagaId, wanted: Wanted) -> bool {
        let maps = self.lock();
        let running = maps.sagas.get(&saga);
        running.inspect(|(_, control)| control.want(wanted)).is_some()
    }

    /// What the executor of a saga stands at that runs here.
    pub(super) fn trouble(&self, saga: SagaId) -> Option<Trouble> {
        self.lock().sagas.get(&saga)?.1.trouble()
    }

    /// A registered request, until this is dropped.
    pub(super) fn stay(&self, request: RequestKey) -> Stay<'_> {
        Stay { live: self, request }
    }

    /// How far a request is that is under way here.
    pub(super) fn request(&self, key: &RequestKey) -> Option<watch::Receiver<Progress>> {
        self.lock().requests.get(key).map(|(_, progress)| progress.clone())
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

/// The place of a saga that runs here. Dropped, whatever the reason, it is free.
pub(super) struct Place<'a> {
    live: &'a Live,
    saga: SagaId,
    control: Arc<Control>,
}

impl Place<'_> {
    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// Gives the place up, unless something was wanted that the executor may not have heard.
    pub(super) fn leave(self) -> Option<Self> {
        let mut maps = self.live.lock();
        let stays = self.control.take_unheard();
        if !stays {
            maps.sagas.remove(&self.saga);
        }
        drop(maps);
        stays.then_some(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut maps = self.live.lock();
        // It may be somebody else's by now.
        let is_own = |(_, control): &(_, Arc<Control>)| Arc::ptr_eq(control, &self.control);
        if maps.sagas.get(&self.saga).is_some_and(is_own) {
            maps.sagas.remove(&self.saga);
        }
    }
}

/// The place of a request that is under way here.
pub(super) struct Stay<'a> {
    live: &'a Live,
    request: RequestKey,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.live.lock().requests.remove(&self.request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use participant::SagaId;

    const SAGA: SagaId = SagaId([1; 16]);

    fn progress() -> watch::Receiver<Progress> {
        watch::channel(Progress::Running(SAGA)).1
    }

    #[tokio::test]
    async fn an_abort_reaches_the_executor_that_another_task_began_at_that_moment() {
        let live = Live::default();
        let place = live.enter(SAGA, progress(), Wanted::Driven).unwrap();
        assert!(live.enter(SAGA, progress(), Wanted::Abort).is_none());
        place.control().abort_wanted().await;
    }

    #[tokio::test]
    async fn what_an_executor_did_not_hear_before_it_stopped_is_heard_by_the_next() {
        let live = Live::default();
        let place = live.enter(SAGA, progress(), Wanted::Driven).unwrap();
        assert!(live.want(SAGA, Wanted::Abort));
        let place = place.leave().expect("somebody wants something");
        place.control().abort_wanted().await;
        assert!(place.leave().is_none());
        assert!(!live.want(SAGA, Wanted::Abort), "nobody is there to hear it");
        assert!(live.enter(SAGA, progress(), Wanted::Driven).is_some());
    }

    #[test]
    fn a_place_is_free_whatever_became_of_its_executor() {
        let live = Live::default();
        let place = live.enter(SAGA, progress(), Wanted::Driven);
        assert!(place.is_some() && live.contains(SAGA));
        drop(place);
        assert!(!live.contains(SAGA));
    }
}
