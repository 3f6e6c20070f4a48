//! Sagas, as the administration shows them.

use super::actor::actor;
use super::args::{AdminArgs, OperateArgs, RecoveryCommand, SagaCommand, SagaStateArg, WhyArgs};
use super::reach::Source;
use super::{Context, Verdict};
use crate::clients::patiently;
use crate::config::span::Span;
use crate::output::{Output, Table, line};
use crate::shop::Running;
use anyhow::{Context as _, Result};
use api::saga::v1::saga_admin_service_client::SagaAdminServiceClient;
use api::saga::v1::{
    AbortSagaRequest, GetRecoveryRequest, GetRecoveryResponse, GetSagaRequest, ListSagasRequest,
    PauseRecoveryRequest, ResolveSagaRequest, ResumeRecoveryRequest, RetrySagaRequest, Saga,
    SagaFailure, SagaResolution, SagaState, SagaStep, SagaTrouble, StepState,
};
use chrono::{DateTime, SecondsFormat, Utc};
use platform::Transport;
use platform::transport::remote;
use prost_types::Timestamp;
use serde::Serialize;
use std::time::{Duration, SystemTime};
use tonic::{Code, Request, Status};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(5);
/// How long the administration may take to see a saga aborted.
const OPERATION: Duration = Duration::from_secs(10);
/// Names the admin listener.
const FLAG: &str = "--admin";
/// Sagas a page at most.
const PAGE: usize = 200;

/// A saga as it is written out.
#[derive(Serialize)]
struct SagaRow {
    saga_id: String,
    kind: String,
    state: &'static str,
    user_id: i64,
    order_id: i64,
    weight_won: i64,
    created_at: String,
    ended_at: Option<String>,
    trace_id: String,
    /// Why it failed, or what it stands still at.
    reason: Option<String>,
}

/// A step as it is written out.
#[derive(Serialize)]
struct StepRow {
    step: i32,
    name: String,
    participant: String,
    state: &'static str,
    at: Option<String>,
}

/// A saga with its steps.
#[derive(Serialize)]
struct Whole {
    saga: SagaRow,
    steps: Vec<StepRow>,
    trouble: Option<TroubleRow>,
}

/// The state of recovery as it is written out.
#[derive(Serialize)]
struct RecoveryRow {
    paused: bool,
    actor: String,
    reason: String,
    changed_at: Option<String>,
}

/// A call that is not answered.
#[derive(Serialize)]
struct TroubleRow {
    call: String,
    attempts: i32,
    last_error: String,
}

pub(super) async fn run(context: &Context, command: SagaCommand) -> Result<Verdict> {
    match command {
        SagaCommand::List {
            state,
            kind,
            user,
            order,
            trace,
            older_than,
            newer_than,
            limit,
            admin,
        } => {
            let request = ListSagasRequest {
                state: state.map_or(SagaState::Unspecified, SagaState::from).into(),
                kind: kind.unwrap_or_default(),
                user_id: user,
                order_id: order,
                trace_id: trace.unwrap_or_default(),
                created_from: newer_than.map(ago).transpose()?,
                created_to: older_than.map(ago).transpose()?,
                ..ListSagasRequest::default()
            };
            list(context, &admin, request, limit).await
        }
        SagaCommand::Show { id, admin } => show(context, &admin, id).await,
        SagaCommand::Retry(args) => operate(context, Operation::Retry, args).await,
        SagaCommand::Abort(args) => operate(context, Operation::Abort, args).await,
        SagaCommand::Resolve(args) => operate(context, Operation::Resolve, args).await,
        SagaCommand::Recovery { command, admin } => recovery(context, &admin, command).await,
    }
}

/// The instant so long before now, by this machine's clock.
fn ago(span: Span) -> Result<Timestamp> {
    let at = SystemTime::now().checked_sub(span.into());
    Ok(at.with_context(|| format!("{span} ago is before the beginning of time"))?.into())
}

/// What an operator can do to a saga.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Retry,
    Abort,
    Resolve,
}

async fn operate(context: &Context, operation: Operation, args: OperateArgs) -> Result<Verdict> {
    let OperateArgs { id: saga_id, why, admin } = args;
    let (request_id, actor, reason) = asked(why)?;
    let client = connect(context, &admin).await?;
    let call = async || {
        let (request_id, saga_id) = (request_id.clone(), saga_id.clone());
        let (actor, reason) = (actor.clone(), reason.clone());
        let mut client = client.clone();
        match operation {
            Operation::Retry => {
                let request = RetrySagaRequest { request_id, saga_id, actor, reason };
                client.retry_saga(within(request)).await.map(|it| it.map(|it| it.saga))
            }
            Operation::Abort => {
                let request = AbortSagaRequest { request_id, saga_id, actor, reason };
                client.abort_saga(within(request)).await.map(|it| it.map(|it| it.saga))
            }
            Operation::Resolve => {
                let request = ResolveSagaRequest { request_id, saga_id, actor, reason };
                client.resolve_saga(within(request)).await.map(|it| it.map(|it| it.saga))
            }
        }
    };
    let answer = patiently(PATIENCE, call).await.map_err(|status| again(&status, &request_id))?;
    let saga = SagaRow::from(answer.into_inner().context("a saga in the answer")?);
    if context.output == Output::Json {
        line(serde_json::to_string(&saga)?)?;
        return Ok(Verdict::Good);
    }
    print(&saga)?;
    line(format_args!("request  {request_id}"))?;
    Ok(Verdict::Good)
}

/// Pauses or resumes recovery if that is asked for, and tells how it stands.
async fn recovery(
    context: &Context,
    admin: &AdminArgs,
    command: Option<RecoveryCommand>,
) -> Result<Verdict> {
    let client = connect(context, admin).await?;
    let pause = matches!(command, Some(RecoveryCommand::Pause(_)));
    if let Some(RecoveryCommand::Pause(why) | RecoveryCommand::Resume(why)) = command {
        let (request_id, actor, reason) = asked(why)?;
        let call = async || {
            let (request_id, actor, reason) = (request_id.clone(), actor.clone(), reason.clone());
            let mut client = client.clone();
            if pause {
                let request = PauseRecoveryRequest { request_id, actor, reason };
                client.pause_recovery(request).await.map(|it| it.map(|_| ()))
            } else {
                let request = ResumeRecoveryRequest { request_id, actor, reason };
                client.resume_recovery(request).await.map(|it| it.map(|_| ()))
            }
        };
        patiently(PATIENCE, call).await.map_err(|status| again(&status, &request_id))?;
    }
    let asked = async || client.clone().get_recovery(GetRecoveryRequest {}).await;
    let state = patiently(PATIENCE, asked).await.map_err(|status| told(&status))?.into_inner();
    let GetRecoveryResponse { paused, actor, reason, changed_at } = state;
    let row = RecoveryRow { paused, actor, reason, changed_at: changed_at.map(time) };
    if context.output == Output::Json {
        line(serde_json::to_string(&row)?)?;
        return Ok(Verdict::Good);
    }
    line(format_args!("recovery {}", if row.paused { "paused" } else { "on" }))?;
    if let Some(at) = row.changed_at {
        line(format_args!("since    {at}, by {}: {}", row.actor, row.reason))?;
    }
    Ok(Verdict::Good)
}

/// The request's id, who asks, and why.
fn asked(why: WhyArgs) -> Result<(String, String, String)> {
    let WhyArgs { reason, actor: named, request_id } = why;
    let request_id = request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    Ok((request_id, actor(named)?, reason))
}

fn again(status: &Status, request_id: &str) -> anyhow::Error {
    told(status).context(format!("to ask the same again: --request-id {request_id}"))
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(OPERATION);
    request
}

async fn list(
    context: &Context,
    admin: &AdminArgs,
    mut request: ListSagasRequest,
    limit: usize,
) -> Result<Verdict> {
    let client = connect(context, admin).await?;
    let mut rows = Vec::new();
    while rows.len() < limit {
        let wanted = (limit - rows.len()).min(PAGE);
        request.page_size = i32::try_from(wanted)?;
        let page = patiently(PATIENCE, async || client.clone().list_sagas(request.clone()).await);
        let page = page.await.map_err(|status| told(&status))?.into_inner();
        rows.extend(page.sagas.into_iter().map(SagaRow::from));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if context.output == Output::Json {
        for row in &rows {
            line(serde_json::to_string(row)?)?;
        }
        return Ok(Verdict::Good);
    }
    let mut table = Table::new(["saga", "kind", "state", "user", "order", "began", "reason"]);
    for row in rows {
        let SagaRow { saga_id, kind, state, user_id, order_id, created_at, reason, .. } = row;
        let reason = reason.unwrap_or_default();
        let state = state.to_owned();
        table.row([
            saga_id,
            kind,
            state,
            user_id.to_string(),
            order_id.to_string(),
            created_at,
            reason,
        ]);
    }
    line(table)?;
    Ok(Verdict::Good)
}

async fn show(context: &Context, admin: &AdminArgs, saga_id: String) -> Result<Verdict> {
    let client = connect(context, admin).await?;
    let request = GetSagaRequest { saga_id };
    let answer = patiently(PATIENCE, async || client.clone().get_saga(request.clone()).await);
    let answer = answer.await.map_err(|status| told(&status))?.into_inner();
    let saga = SagaRow::from(answer.saga.context("a saga in the answer")?);
    let steps = answer.steps.into_iter().map(StepRow::from).collect();
    let row =
        |SagaTrouble { call, attempts, last_error }| TroubleRow { call, attempts, last_error };
    let whole = Whole { saga, steps, trouble: answer.trouble.map(row) };
    if context.output == Output::Json {
        line(serde_json::to_string(&whole)?)?;
        return Ok(Verdict::Good);
    }
    let Whole { saga, steps, trouble } = whole;
    print(&saga)?;
    if let Some(TroubleRow { call, attempts, last_error }) = trouble {
        line(format_args!("stands   at {call}, not answered {attempts} times: {last_error}"))?;
    }
    line("")?;
    let mut table = Table::new(["step", "name", "participant", "on record", "at"]);
    for StepRow { step, name, participant, state, at } in steps {
        table.row([step.to_string(), name, participant, state.to_owned(), at.unwrap_or_default()]);
    }
    line(table)?;
    Ok(Verdict::Good)
}

fn print(saga: &SagaRow) -> Result<()> {
    line(format_args!("saga     {} ({})", saga.saga_id, saga.kind))?;
    line(format_args!("state    {}", saga.state))?;
    if let Some(reason) = &saga.reason {
        line(format_args!("reason   {reason}"))?;
    }
    line(format_args!("user     {}", saga.user_id))?;
    line(format_args!("order    {}", saga.order_id))?;
    line(format_args!("weight   {} won", saga.weight_won))?;
    line(format_args!("began    {}", saga.created_at))?;
    line(format_args!("ended    {}", saga.ended_at.as_deref().unwrap_or("-")))?;
    line(format_args!("trace    {}", saga.trace_id))?;
    Ok(())
}

async fn connect(
    context: &Context,
    admin: &AdminArgs,
) -> Result<SagaAdminServiceClient<Transport>> {
    let (origin, address) = match &admin.admin {
        Some(address) => (FLAG, address.clone()),
        None => match Running::find(&context.config.data_dir)? {
            Some(running) => ("the shop of the data folder", running.admin),
            None => ("listen.admin", context.config.listen.admin.to_string()),
        },
    };
    let source = Source { origin: origin.to_owned(), flag: FLAG, example: 50053 };
    let address = source.check(&address).await?;
    Ok(SagaAdminServiceClient::new(remote(&[format!("http://{address}")], 1)?))
}

fn told(status: &Status) -> anyhow::Error {
    if status.code() == Code::Unimplemented {
        return anyhow::anyhow!(
            "that is no admin listener of a shop: name the one of an orchestrator with {FLAG}"
        );
    }
    anyhow::anyhow!("the administration says {:?}: {}", status.code(), status.message())
}

impl From<SagaStateArg> for SagaState {
    fn from(state: SagaStateArg) -> Self {
        match state {
            SagaStateArg::Running => Self::Running,
            SagaStateArg::NeedsAttention => Self::NeedsAttention,
            SagaStateArg::Succeeded => Self::Succeeded,
            SagaStateArg::Failed => Self::Failed,
            SagaStateArg::Resolved => Self::Resolved,
        }
    }
}

impl From<Saga> for SagaRow {
    fn from(saga: Saga) -> Self {
        let state = saga.state().as_str_name().trim_start_matches("SAGA_STATE_");
        let told = |SagaFailure { step, reason, message, .. }: SagaFailure| {
            format!("{step}: {reason}: {message}")
        };
        Self {
            state,
            reason: saga
                .resolution
                .map(decided)
                .or_else(|| saga.failure.or(saga.attention).map(told)),
            saga_id: saga.saga_id,
            kind: saga.kind,
            user_id: saga.user_id,
            order_id: saga.order_id,
            weight_won: saga.weight_won,
            created_at: saga.created_at.map(time).unwrap_or_default(),
            ended_at: saga.ended_at.map(time),
            trace_id: saga.trace_id,
        }
    }
}

impl From<SagaStep> for StepRow {
    fn from(step: SagaStep) -> Self {
        let state = match step.state() {
            StepState::Unspecified | StepState::Nothing => "-",
            other => other.as_str_name().trim_start_matches("STEP_STATE_"),
        };
        Self {
            step: step.step,
            name: step.name,
            participant: step.participant,
            state,
            at: step.at.map(time),
        }
    }
}

fn decided(resolution: SagaResolution) -> String {
    let SagaResolution { actor, reason, standing_steps, undone_steps, .. } = resolution;
    let list = |steps: Vec<String>| match steps.as_slice() {
        [] => "nothing".to_owned(),
        steps => steps.join(", "),
    };
    let (standing, undone) = (list(standing_steps), list(undone_steps));
    format!("settled by {actor}: {reason} (standing: {standing}; undone: {undone})")
}

/// As people and programs both read it: RFC 3339 with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    let nanos = u32::try_from(at.nanos).unwrap_or_default();
    let at: DateTime<Utc> = DateTime::from_timestamp(at.seconds, nanos).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steps_state_is_shown_without_the_name_of_its_enum() {
        for (state, shown) in [
            (StepState::Nothing, "-"),
            (StepState::Done, "DONE"),
            (StepState::Unreachable, "UNREACHABLE"),
        ] {
            let step = SagaStep { state: state.into(), ..SagaStep::default() };
            assert_eq!(StepRow::from(step).state, shown);
        }
    }
}
