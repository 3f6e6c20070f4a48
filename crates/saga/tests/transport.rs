//! Steps that travel together to a participant in another process.

use async_trait::async_trait;
use participant::{
    ActReply, ActionInfo, CallKind, RequestHash, SagaId, SagaParticipants, StepAnswer, StepCall,
    StepNo, StepRow, Steps, Trace,
};
use saga::transport::Remote;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

/// The saga whose steps stand at a row that somebody else has locked.
const LOCKED: SagaId = SagaId([9; 16]);
const FREE: SagaId = SagaId([1; 16]);
/// Longer than the test takes.
const AGES: Duration = Duration::from_secs(50);

/// A participant that answers with the step's payload, but for locked rows, and tells what reaches it.
struct Echo {
    reached: mpsc::UnboundedSender<SagaId>,
}

#[async_trait]
impl Steps for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    async fn describe(&self, _: Instant) -> Result<Vec<ActionInfo>, Status> {
        Ok(Vec::new())
    }

    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        // The test that listens may be over.
        let _ = self.reached.send(call.saga);
        if call.saga == LOCKED {
            std::future::pending::<()>().await;
        }
        match call.kind {
            CallKind::Act { payload, .. } => {
                Ok(StepAnswer::Acted(ActReply::Done(payload.to_vec())))
            }
            _ => Err(Status::internal("no action")),
        }
    }

    async fn recorded(&self, _: SagaId, _: Instant) -> Result<Vec<StepRow>, Status> {
        Ok(Vec::new())
    }

    async fn raise_watermark(&self, to: SagaId, _: Instant) -> Result<SagaId, Status> {
        Ok(to)
    }
}

fn echo() -> (Arc<dyn Steps>, mpsc::UnboundedReceiver<SagaId>) {
    let (reached, arrivals) = mpsc::unbounded_channel();
    let echo: Arc<dyn Steps> = Arc::new(Echo { reached });
    let served = SagaParticipants::new([echo], 1_000, TaskTracker::new()).server();
    (Arc::new(Remote::new("echo", served)), arrivals)
}

fn call(saga: SagaId, payload: Vec<u8>) -> StepCall {
    let method = "echo.v1.EchoParticipantService/Echo".to_owned();
    let kind = CallKind::Act { method, payload: payload.into(), digest: RequestHash::default() };
    let deadline = Instant::now() + AGES;
    StepCall { saga, step: StepNo(1), kind, closing: false, deadline, trace: Trace::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_stand_at_a_locked_row_hold_up_no_other() {
    let (remote, mut arrivals) = echo();
    // Each alone in a message, as under light load, and more of them than messages may be unanswered.
    for _ in 0..6 {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.run(call(LOCKED, Vec::new())).await });
        assert_eq!(arrivals.recv().await, Some(LOCKED), "the next one has left, too");
    }
    let free = timeout(AGES / 5, remote.run(call(FREE, b"free".to_vec()))).await;
    let answer = free.expect("it does not wait for the locked row").map_err(|status| status.code());
    assert_eq!(answer, Ok(StepAnswer::Acted(ActReply::Done(b"free".to_vec()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_steps_at_once_are_each_answered_with_their_own_reply() {
    let (remote, _arrivals) = echo();
    let calls = (0..2_000_u32).map(|number| {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move {
            let payload = number.to_be_bytes().to_vec();
            (payload.clone(), remote.run(call(FREE, payload)).await.map_err(|it| it.code()))
        })
    });
    for asked in calls.collect::<Vec<_>>() {
        let (payload, answer) = asked.await.expect("no step panics");
        assert_eq!(answer, Ok(StepAnswer::Acted(ActReply::Done(payload))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_larger_than_the_contract_allows_is_no_answer() {
    let (remote, _arrivals) = echo();
    let largest = remote.run(call(FREE, vec![7; 4_096])).await.map_err(|status| status.code());
    assert_eq!(largest, Ok(StepAnswer::Acted(ActReply::Done(vec![7; 4_096]))));
    let larger = remote.run(call(FREE, vec![7; 5_000])).await.map_err(|status| status.code());
    assert_eq!(larger, Err(Code::Unknown));
}
