//! Names, declarations and ranges.

use super::many::unknown_method;
use crate::client::act;
use crate::step::{Step, method, without_digest};
use crate::subject::{Checked, Failure, Subject, broken, expect};
use prost_reflect::{Kind, MethodDescriptor, Value};
use saga_api::v1::{
    self, CompensateRequest, DescribeRequest, GetStepsRequest, RaiseWatermarkRequest,
    RunStepsRequest, StepKey, StepRequest, StepRole, VoidRequest,
};
use std::collections::BTreeSet;
use tonic::{Code, Status};
use uuid::Uuid;

const PACKAGE: &str = "commerce.saga.v1";

pub(super) async fn described(subject: &Subject<'_>) -> Checked {
    let mut listed = BTreeSet::new();
    let mut services = BTreeSet::new();
    for action in &subject.described {
        expect(listed.insert(action.method.clone()), || {
            format!("{} is listed twice", action.method)
        })?;
        let found = method(&subject.pool, &action.method).map_err(Failure::Broken)?;
        services.insert(found.parent_service().full_name().to_owned());
        has_fields(&found)?;
        let declared = declared(subject, &found)?;
        expect(declared.as_ref() == Some(action), || {
            format!("Describe tells {action:?}, the option of the method {declared:?}")
        })?;
        expect(action.role() != StepRole::Unspecified, || {
            format!("{} has no role", action.method)
        })?;
        expect(action.role() != StepRole::Retriable || action.rejections.is_empty(), || {
            format!("{} is retriable and lists rejections", action.method)
        })?;
    }
    expect(!listed.is_empty(), || "Describe lists no action".to_owned())?;
    for name in services {
        let service = subject.pool.get_service_by_name(&name);
        let option = extension(subject, "participant")?;
        if let Some(service) = service {
            let participant = service.options().get_extension(&option).as_str().map(str::to_owned);
            expect(participant.as_deref() == Some(&subject.participant), || {
                format!("the option of {name} names the participant {participant:?}")
            })?;
            for method in service.methods() {
                if let Some(action) = declared(subject, &method)? {
                    expect(listed.contains(&action.method), || {
                        format!("Describe does not list {}", action.method)
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// Checks that the messages of an action have exactly the fields that all actions have.
fn has_fields(method: &MethodDescriptor) -> Checked {
    let (request, response) = (method.input(), method.output());
    let is = |field: &prost_reflect::FieldDescriptor, wanted: Option<&str>| match field.kind() {
        Kind::Message(kind) => {
            let wanted = wanted.map(|name| format!("{PACKAGE}.{name}"));
            !field.is_list() && wanted.is_none_or(|name| kind.full_name() == name)
        }
        _ => false,
    };
    let request_fields = [(1, "key", Some("StepKey")), (2, "payload", None)];
    let response_fields = [
        (1, "done", None),
        (2, "rejected", Some("StepRejection")),
        (3, "refused", Some("StepRefusal")),
    ];
    let fits = |message: &prost_reflect::MessageDescriptor,
                wanted: &[(u32, &str, Option<&str>)]| {
        message.fields().len() == wanted.len()
            && wanted.iter().all(|(number, name, kind)| {
                let field = message.get_field(*number);
                field.is_some_and(|field| field.name() == *name && is(&field, *kind))
            })
    };
    expect(fits(&request, &request_fields), || {
        format!("{} has not exactly the fields key = 1, payload = 2", request.full_name())
    })?;
    let outcome = response.oneofs().next();
    let outcome = outcome.is_some_and(|it| it.name() == "outcome" && it.fields().len() == 3);
    expect(outcome && fits(&response, &response_fields), || {
        let name = response.full_name();
        format!(
            "{name} has not exactly the fields done = 1, rejected = 2, refused = 3 in `outcome`"
        )
    })
}

/// What the option of a method declares; `None` where it has none.
fn declared(subject: &Subject<'_>, method: &MethodDescriptor) -> Checked<Option<v1::Action>> {
    let option = extension(subject, "step")?;
    let options = method.options();
    if !options.has_extension(&option) {
        return Ok(None);
    }
    let step = options.get_extension(&option);
    let Some(step) = step.as_message() else { return broken("the option step is not a message") };
    let role = step.get_field_by_name("role").and_then(|role| role.as_enum_number());
    let rejections = step.get_field_by_name("rejections");
    let rejections = rejections.as_deref().and_then(Value::as_list).unwrap_or_default();
    Ok(Some(v1::Action {
        method: format!("{}/{}", method.parent_service().full_name(), method.name()),
        role: role.unwrap_or_default(),
        rejections: rejections.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }))
}

fn extension(subject: &Subject<'_>, name: &str) -> Checked<prost_reflect::ExtensionDescriptor> {
    let found = subject.pool.get_extension_by_name(&format!("{PACKAGE}.{name}"));
    found.ok_or_else(|| Failure::Broken(format!("reflection does not have the option {name}")))
}

pub(super) async fn unknown_names(subject: &Subject<'_>) -> Checked {
    let participant = format!("no-{}", Uuid::new_v4().simple());
    // NOT_FOUND: another replica may have it.
    let (client, wanted) = (&subject.client, [Code::Unimplemented, Code::NotFound]);
    let saga = Uuid::now_v7().as_bytes().to_vec();
    let key = StepKey { saga_id: saga.clone(), step: 1, content_digest: Vec::new() };
    let other = || participant.clone();

    let request = DescribeRequest { participant: other() };
    has_code("Describe of an unknown participant", client.describe(&request).await, wanted)?;
    let request = CompensateRequest { participant: other(), key: Some(key.clone()) };
    has_code("Compensate of an unknown participant", client.compensate(&request).await, wanted)?;
    let reason = "DEADLINE".to_owned();
    let request = VoidRequest { participant: other(), key: Some(key), reason };
    has_code("Void of an unknown participant", client.void(&request).await, wanted)?;
    let request = GetStepsRequest { participant: other(), saga_ids: vec![saga.clone()] };
    has_code("GetSteps of an unknown participant", client.get_steps(&request).await, wanted)?;
    let request = RaiseWatermarkRequest { participant: other(), watermark: saga };
    let raised = client.raise_watermark(&request).await;
    has_code("RaiseWatermark of an unknown participant", raised, wanted)?;

    let Some(action) = subject.actions.first() else { return Ok(()) };
    let step = subject.step_alone(Uuid::now_v7(), action)?;
    let calls = vec![super::many::action(&step)];
    let request = RunStepsRequest { participant: other(), calls };
    has_code("RunSteps of an unknown participant", client.run_steps(&request).await, wanted)?;
    let unknown = unknown_method(action);
    let told = act(client.channel(), &unknown, &step.request()).await;
    has_code(&unknown, told, [Code::Unimplemented])
}

pub(super) async fn ranges(subject: &Subject<'_>) -> Checked {
    let (client, wanted) = (&subject.client, [Code::InvalidArgument]);
    let participant = || subject.participant.clone();
    let action = subject.actions.first();
    let action = action.ok_or_else(|| Failure::NotChecked("no payload is given".to_owned()))?;
    let step = subject.step_alone(Uuid::now_v7(), action)?;

    for (what, key) in bad_keys(&step) {
        let undone = key.as_ref().map(without_digest);
        let request = StepRequest { key: key.clone(), payload: Some(step.payload.clone()) };
        let told = act(client.channel(), &action.method, &request).await;
        has_code(&format!("{} with {what}", action.method), told, wanted)?;
        if what.contains("digest") {
            continue;
        }
        let request = CompensateRequest { participant: participant(), key: undone.clone() };
        let told = client.compensate(&request).await;
        has_code(&format!("Compensate with {what}"), told, wanted)?;
        let reason = "DEADLINE".to_owned();
        let request = VoidRequest { participant: participant(), key: undone, reason };
        has_code(&format!("Void with {what}"), client.void(&request).await, wanted)?;
    }
    let request = StepRequest { key: Some(step.key.clone()), payload: None };
    let told = act(client.channel(), &action.method, &request).await;
    has_code(&format!("{} without payload", action.method), told, wanted)?;
    for reason in [String::new(), "R".repeat(65)] {
        let what = format!("Void with a reason of {} characters", reason.len());
        let key = Some(without_digest(&step.key));
        let request = VoidRequest { participant: participant(), key, reason };
        has_code(&what, client.void(&request).await, wanted)?;
    }
    let id = step.key.saga_id.clone();
    for saga_ids in [Vec::new(), vec![id.clone(); 17], vec![vec![1; 15]]] {
        let what = format!("GetSteps with {} ids of sagas", saga_ids.len());
        let request = GetStepsRequest { participant: participant(), saga_ids };
        has_code(&what, client.get_steps(&request).await, wanted)?;
    }
    for watermark in [Vec::new(), vec![0; 15], vec![0; 17]] {
        let what = format!("RaiseWatermark with {} bytes", watermark.len());
        let request = RaiseWatermarkRequest { participant: participant(), watermark };
        has_code(&what, client.raise_watermark(&request).await, wanted)?;
    }
    for count in [0, 513] {
        let calls = vec![super::many::compensation(&step); count];
        let request = RunStepsRequest { participant: participant(), calls };
        match client.run_steps(&request).await {
            Err(status) if status.code() == Code::Unimplemented => {}
            told => has_code(&format!("RunSteps with {count} calls"), told, wanted)?,
        }
    }
    let rows = subject.records(&[&id]).await?;
    expect(rows.is_empty(), || "a call outside its ranges left a row".to_owned())
}

fn bad_keys(step: &Step) -> Vec<(&'static str, Option<StepKey>)> {
    let saga = |saga_id: Vec<u8>| Some(StepKey { saga_id, ..step.key.clone() });
    let number = |step_number| Some(StepKey { step: step_number, ..step.key.clone() });
    vec![
        ("no key", None),
        ("no saga id", saga(Vec::new())),
        ("a saga id of 15 bytes", saga(vec![1; 15])),
        ("a saga id of 17 bytes", saga(vec![1; 17])),
        ("step 0", number(0)),
        ("step -1", number(-1)),
        ("step 32768", number(32_768)),
        ("a digest of 9 bytes", Some(StepKey { content_digest: vec![1; 9], ..step.key.clone() })),
    ]
}

fn has_code<T, const N: usize>(call: &str, told: Result<T, Status>, wanted: [Code; N]) -> Checked {
    match told {
        Err(status) if wanted.contains(&status.code()) => Ok(()),
        Err(status) => broken(format!("{call} was answered {:?}, not {wanted:?}", status.code())),
        Ok(_) => broken(format!("{call} was answered OK, not {wanted:?}")),
    }
}
