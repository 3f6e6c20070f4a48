//! Accepting sagas, and telling what is known of them.

use super::control::Wanted;
use super::executor;
use super::gates::Gates;
use super::live::{Live, Met, Place, Progress};
use super::plan::{Plan, SagaInstance, Unreadable};
use super::recovery;
use crate::journal::{Journal, NewSaga, PlanId, Record, Running, Start, Started};
use db::Result;
use futures_util::FutureExt;
use participant::{RequestKey, SagaId, Steps};
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span};

/// The pause before a START of unknown outcome is asked for again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// The engine's temper. Every default is printed at start.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long one attempt of a step may take, unless its plan says otherwise.
    pub attempt: Duration,
    /// How long a saga may take until its pivot is done, unless its plan says otherwise.
    pub deadline: Duration,
    /// How long a step that must succeed may fail before an operator is called.
    pub attention_after: Duration,
    /// How often this replica shows that it lives.
    pub heartbeat: Duration,
    /// Sagas in flight, above which new ones are shed.
    pub max_live: usize,
    /// Calls to one participant at once for sagas that were taken over.
    pub max_recovering: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(1),
            deadline: Duration::from_secs(30),
            attention_after: Duration::from_mins(5),
            heartbeat: Duration::from_secs(1),
            max_live: 20_000,
            max_recovering: 64,
        }
    }
}

/// A saga that was accepted, here or earlier.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// How far it is.
    pub progress: watch::Receiver<Progress>,
    /// Whether an earlier call began it.
    pub joined: bool,
}

/// Why a request has no saga, or none that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// Nothing happened.
    #[error("too many sagas in flight")]
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The request id was used for other content.
    #[error("the request id was used for other content")]
    Reused,
}

/// The engine of one orchestrator replica. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) journal: Journal,
    plans: HashMap<PlanId, Arc<dyn Plan>>,
    /// By name.
    pub(super) participants: BTreeMap<String, Arc<dyn Steps>>,
    pub(super) live: Live,
    pub(super) gates: Gates,
    pub(super) options: Options,
    pub(super) tasks: TaskTracker,
    panics: AtomicU64,
    pub(super) stopping: CancellationToken,
}

impl Engine {
    /// Starts the engine, with the participants that its plans call, and its recovery.
    pub fn start(
        journal: Journal,
        plans: Vec<Arc<dyn Plan>>,
        participants: Vec<Arc<dyn Steps>>,
        options: Options,
        tasks: &TaskTracker,
    ) -> Self {
        let plans: HashMap<_, _> = plans.into_iter().map(|plan| (plan.id(), plan)).collect();
        let named = |steps: Arc<dyn Steps>| (steps.name().to_owned(), steps);
        let participants: BTreeMap<_, _> = participants.into_iter().map(named).collect();
        let gates = Gates::new(participants.keys().cloned(), options.max_recovering);
        let live = Live::default();
        let stopping = CancellationToken::new();
        let inner = Arc::new(Inner {
            journal,
            plans,
            participants,
            live,
            gates,
            options,
            tasks: tasks.clone(),
            panics: AtomicU64::new(0),
            stopping,
        });
        tasks.spawn(recovery::supervise(Arc::clone(&inner)));
        Self { inner }
    }

    /// The engine's options.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// Begins a saga for a client's request, or joins the one that the request already has.
    ///
    /// The saga runs whether or not anybody watches it.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    pub fn submit(&self, saga: NewSaga) -> Result<Accepted, NotAccepted> {
        let inner = &self.inner;
        if inner.stopping.is_cancelled() {
            return Err(NotAccepted::Overloaded { retry_after: inner.options.attempt });
        }
        match inner.live.meet(&saga.request, saga.hash, inner.options.max_live) {
            Met::Same(progress) => Ok(Accepted { progress, joined: true }),
            Met::Other => Err(NotAccepted::Reused),
            Met::Full => Err(NotAccepted::Overloaded { retry_after: inner.options.attempt }),
            Met::Registered(sender, progress) => {
                let inner = Arc::clone(inner);
                let span = info_span!(
                    "saga",
                    saga = %saga.start.saga,
                    trace_id = %saga.start.trace.trace_id
                );
                let begin = async move {
                    let _stay = inner.live.stay(saga.request.clone());
                    begin(&inner, saga, sender).await;
                };
                self.inner.spawn("executor", begin.instrument(span));
                Ok(Accepted { progress, joined: false })
            }
        }
    }

    /// How far a saga is that runs here.
    pub fn watch(&self, saga: SagaId) -> Option<watch::Receiver<Progress>> {
        self.inner.live.progress(saga)
    }

    /// How far a request is that is under way here: one whose START is not known to be durable may be recorded any
    /// moment.
    pub fn request(&self, key: &RequestKey) -> Option<watch::Receiver<Progress>> {
        self.inner.live.request(key)
    }

    /// The saga of an earlier request.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_request(&self, key: RequestKey) -> Result<Option<SagaId>> {
        Ok(self.inner.journal.find_request(key).await?.map(|(saga, _)| saga))
    }

    /// What the journal says of a saga.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn find(&self, saga: SagaId) -> Result<Option<Record>> {
        self.inner.journal.find(saga).await
    }

    /// What the plan of a saga says of it.
    ///
    /// # Errors
    /// [`Unreadable`] when the plan is not registered or the request does not decode.
    pub fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Unreadable> {
        self.inner.instance(start)
    }

    /// How long a new saga of a plan may take until its pivot is done.
    pub fn deadline(&self, plan: PlanId) -> Duration {
        let of_plan = self.inner.plans.get(&plan).and_then(|plan| plan.deadline());
        of_plan.unwrap_or(self.inner.options.deadline)
    }

    /// Whether this program knows a plan.
    pub fn knows(&self, plan: PlanId) -> bool {
        self.inner.knows(plan)
    }

    /// The plans that this program knows.
    pub fn plans(&self) -> impl Iterator<Item = &dyn Plan> {
        self.inner.plans.values().map(|plan| &**plan)
    }

    /// How often a task of the engine panicked. Its saga is found again by recovery.
    pub fn panics(&self) -> u64 {
        self.inner.panics.load(Ordering::Relaxed)
    }

    /// Sagas in flight here.
    pub fn live(&self) -> usize {
        self.inner.live.len()
    }

    /// Takes no more sagas, lets those in flight end for `patience` at most, and leaves the rest to others.
    pub async fn stop(&self, patience: Duration) {
        self.inner.stopping.cancel();
        let until = Instant::now() + patience;
        while self.live() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.inner.journal.close();
        if let Err(error) = self.inner.journal.leave().await {
            tracing::warn!(%error, "heartbeat not removed; others wait before they take over");
        }
    }
}

impl Inner {
    pub(super) fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Unreadable> {
        let plan = self.plans.get(&start.plan).ok_or_else(|| {
            let PlanId { kind, version } = start.plan;
            Unreadable(format!("no plan of kind {kind} version {version} in this program"))
        })?;
        plan.instance(start)
    }

    /// Whether this program knows a plan.
    pub(super) fn knows(&self, plan: PlanId) -> bool {
        self.plans.contains_key(&plan)
    }

    /// Whether this program can run a saga: it knows the plan, and every participant that the saga calls. One whose START
    /// does not decode it can, too: it parks.
    pub(super) fn can_run(&self, start: &Start) -> bool {
        let Ok(instance) = self.instance(start) else { return self.knows(start.plan) };
        instance.steps().iter().all(|info| self.participants.contains_key(&*info.participant))
    }

    /// The plans that this program knows.
    pub(super) fn plan_ids(&self) -> Vec<PlanId> {
        self.plans.keys().copied().collect()
    }

    /// Runs a task whose panic is logged and counted.
    pub(super) fn spawn(
        self: &Arc<Self>,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            inner.supervised(what, task).await;
        });
    }

    /// Whether a task came to its end without a panic.
    pub(super) async fn supervised(
        &self,
        what: &'static str,
        task: impl Future<Output = ()>,
    ) -> bool {
        let is_over = AssertUnwindSafe(task).catch_unwind().await.is_ok();
        if !is_over {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(what, "a task of the saga engine panicked");
        }
        is_over
    }

    /// Drives a saga that was found in the journal; where it runs here already, its executor is told what is wanted.
    pub(super) async fn adopt(self: &Arc<Self>, running: Running, wanted: Wanted) {
        let saga = running.start.saga;
        let (sender, receiver) = watch::channel(Progress::Running(saga));
        if let Some(place) = self.live.enter(saga, receiver, wanted) {
            self.drive(place, &running.start, &sender, Some(&self.gates)).await;
        }
    }

    /// Drives a saga, and again where an operator wanted something just before its executor stopped.
    async fn drive(
        self: &Arc<Self>,
        mut place: Place<'_>,
        start: &Start,
        progress: &watch::Sender<Progress>,
        gates: Option<&Gates>,
    ) {
        loop {
            executor::run(self, start.clone(), progress, place.control(), gates).await;
            let is_open = matches!(&*progress.borrow(), Progress::Running(_));
            match place.leave() {
                Some(kept) if is_open => place = kept,
                _ => return,
            }
            // The executor may have marked the saga after the operator had taken the mark off.
            if let Err(error) = self.journal.unmark(start.saga).await {
                tracing::warn!(%error, "mark for the operator not taken off");
            }
        }
    }
}

async fn begin(inner: &Arc<Inner>, new: NewSaga, progress: watch::Sender<Progress>) {
    let deadline = Instant::now() + inner.options.deadline;
    let mut started = inner.journal.start(new.clone(), deadline).await;
    // A commit was sent and may have happened or may yet happen. Nobody is told that the request is not recorded before the
    // rows have said so, and asking them is to insert it once more.
    while let Err(lane::Error::Unknown(_)) = &started
        && !inner.stopping.is_cancelled()
    {
        tokio::time::sleep(RESTART_PAUSE).await;
        let deadline = Instant::now() + inner.options.deadline;
        started = inner.journal.start(new.clone(), deadline).await;
    }
    let saga = match started {
        Ok(Started::New(saga)) => saga,
        Ok(Started::Known(saga)) => {
            progress.send_replace(Progress::Elsewhere(saga));
            return;
        }
        Ok(Started::Reused) => {
            progress.send_replace(Progress::Reused);
            return;
        }
        Err(lane::Error::Overloaded { retry_after, .. }) => {
            progress.send_replace(Progress::Overloaded(retry_after));
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "START unknown");
            progress.send_replace(Progress::Unknown);
            return;
        }
    };
    progress.send_replace(Progress::Running(saga));
    if let Some(place) = inner.live.enter(saga, progress.subscribe(), Wanted::Driven) {
        inner.drive(place, &Start { saga, ..new.start }, &progress, None).await;
    }
}
