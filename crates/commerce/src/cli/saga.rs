//! Sagas, as the administration shows them.

use super::args::{AdminArgs, SagaCommand, SagaStateArg};
use super::{Context, Verdict};
use crate::clients::patiently;
use crate::output::{Output, Table, line};
use crate::shop::Running;
use anyhow::{Context as _, Result};
use api::saga::v1::saga_admin_service_client::SagaAdminServiceClient;
use api::saga::v1::{
    GetSagaRequest, ListSagasRequest, Saga, SagaFailure, SagaState, SagaStep, SagaStepState,
};
use chrono::{DateTime, SecondsFormat, Utc};
use platform::Transport;
use platform::transport::remote;
use prost_types::Timestamp;
use serde::Serialize;
use std::time::Duration;
use tonic::Status;

const PATIENCE: Duration = Duration::from_secs(5);
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
    weight: i64,
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
}

pub(super) async fn run(context: &Context, command: SagaCommand) -> Result<Verdict> {
    match command {
        SagaCommand::List { state, kind, older_than, limit, admin } => {
            let request = ListSagasRequest {
                state: state.map_or(SagaState::Unspecified, SagaState::from).into(),
                kind: kind.unwrap_or_default(),
                min_age: match older_than {
                    Some(span) => Some(Duration::from(span).try_into()?),
                    None => None,
                },
                ..ListSagasRequest::default()
            };
            list(context, &admin, request, limit).await
        }
        SagaCommand::Show { id, admin } => show(context, &admin, id).await,
    }
}

async fn list(
    context: &Context,
    admin: &AdminArgs,
    mut request: ListSagasRequest,
    limit: usize,
) -> Result<Verdict> {
    let client = connect(context, admin)?;
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
    let client = connect(context, admin)?;
    let request = GetSagaRequest { saga_id };
    let answer = patiently(PATIENCE, async || client.clone().get_saga(request.clone()).await);
    let answer = answer.await.map_err(|status| told(&status))?.into_inner();
    let saga = SagaRow::from(answer.saga.context("a saga in the answer")?);
    let steps = answer.steps.into_iter().map(StepRow::from).collect();
    let whole = Whole { saga, steps };
    if context.output == Output::Json {
        line(serde_json::to_string(&whole)?)?;
        return Ok(Verdict::Good);
    }
    let Whole { saga, steps } = whole;
    line(format_args!("saga     {} ({})", saga.saga_id, saga.kind))?;
    line(format_args!("state    {}", saga.state))?;
    if let Some(reason) = &saga.reason {
        line(format_args!("reason   {reason}"))?;
    }
    line(format_args!("user     {}", saga.user_id))?;
    line(format_args!("order    {}", saga.order_id))?;
    line(format_args!("weight   {} won", saga.weight))?;
    line(format_args!("began    {}", saga.created_at))?;
    line(format_args!("ended    {}", saga.ended_at.as_deref().unwrap_or("-")))?;
    line(format_args!("trace    {}\n", saga.trace_id))?;
    let mut table = Table::new(["step", "name", "participant", "on record", "at"]);
    for StepRow { step, name, participant, state, at } in steps {
        table.row([step.to_string(), name, participant, state.to_owned(), at.unwrap_or_default()]);
    }
    line(table)?;
    Ok(Verdict::Good)
}

fn connect(context: &Context, admin: &AdminArgs) -> Result<SagaAdminServiceClient<Transport>> {
    let address = match &admin.admin {
        Some(address) => address.clone(),
        None => match Running::find(&context.config.data_dir)? {
            Some(running) => running.admin,
            None => context.config.listen.admin.to_string(),
        },
    };
    Ok(SagaAdminServiceClient::new(remote(&[format!("http://{address}")], 1)?))
}

fn told(status: &Status) -> anyhow::Error {
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
        let resolved = saga.resolution.map(|it| format!("{} by {}", it.reason, it.actor));
        Self {
            state,
            reason: saga.failure.or(saga.attention).map(told).or(resolved),
            saga_id: saga.saga_id,
            kind: saga.kind,
            user_id: saga.user_id,
            order_id: saga.order_id,
            weight: saga.weight,
            created_at: saga.created_at.map(time).unwrap_or_default(),
            ended_at: saga.ended_at.map(time),
            trace_id: saga.trace_id,
        }
    }
}

impl From<SagaStep> for StepRow {
    fn from(step: SagaStep) -> Self {
        let state = match step.state() {
            SagaStepState::Unspecified | SagaStepState::Nothing => "-",
            other => other.as_str_name().trim_start_matches("SAGA_STEP_STATE_"),
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

/// As people and programs both read it: RFC 3339 with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    let nanos = u32::try_from(at.nanos).unwrap_or_default();
    let at: DateTime<Utc> = DateTime::from_timestamp(at.seconds, nanos).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
