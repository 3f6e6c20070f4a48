//! Every action of the contract follows the one protocol of steps, so that an engine can run actions whose messages it
//! does not know.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here is a failed test")]

use api::{FILE_DESCRIPTOR_SET, Reason, participants};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ReflectMessage, ServiceDescriptor, Value,
};
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{
    StepKey, StepOutcome, StepRefusal, StepRefusalReason, StepRejection, StepRequest, StepRole,
};
use std::collections::BTreeSet;

/// The contract, and the options that declare participants and their actions.
struct Contract {
    pool: DescriptorPool,
    participant: ExtensionDescriptor,
    step: ExtensionDescriptor,
}

impl Contract {
    fn read() -> Self {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let option =
            |name| pool.get_extension_by_name(&format!("commerce.saga.v1.{name}")).unwrap();
        let (participant, step) = (option("participant"), option("step"));
        Self { pool, participant, step }
    }

    /// The services with the actions of a participant.
    fn participants(&self) -> Vec<ServiceDescriptor> {
        let all = self.pool.services();
        all.filter(|service| service.options().has_extension(&self.participant)).collect()
    }

    /// Every method that is declared to be an action, of whatever service.
    fn actions(&self) -> Vec<MethodDescriptor> {
        let methods =
            self.pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let actions: Vec<_> = methods.filter(|method| self.is_action(method)).collect();
        assert!(!actions.is_empty());
        actions
    }

    fn is_action(&self, method: &MethodDescriptor) -> bool {
        method.options().has_extension(&self.step)
    }

    /// What the option of an action declares.
    fn declared(&self, action: &MethodDescriptor) -> (StepRole, Vec<String>) {
        let options = action.options();
        let step = options.get_extension(&self.step);
        let step = step.as_message().unwrap();
        let role = step.get_field_by_name("role").unwrap().as_enum_number().unwrap();
        let rejections = step.get_field_by_name("rejections").unwrap();
        let rejections = rejections.as_list().unwrap().iter();
        let rejections = rejections.map(|reason| reason.as_str().unwrap().to_owned()).collect();
        (StepRole::try_from(role).unwrap(), rejections)
    }
}

/// A field as `name = number: type`.
fn described(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        other => format!("{other:?}"),
    };
    format!("{} = {}: {kind}", field.name(), field.number())
}

fn described_all(fields: impl Iterator<Item = FieldDescriptor>) -> BTreeSet<String> {
    fields.map(|field| described(&field)).collect()
}

/// The message that a field holds.
fn message_of(
    action: &MethodDescriptor,
    message: &MessageDescriptor,
    name: &str,
) -> MessageDescriptor {
    let field = message.get_field_by_name(name);
    let kind = field.filter(|field| !field.is_list()).map(|field| field.kind());
    match kind {
        Some(Kind::Message(message)) => message,
        other => panic!("{}: {name} of {} is {other:?}", action.full_name(), message.full_name()),
    }
}

/// A message whose fields all have values other than their defaults.
fn filled(message: &MessageDescriptor) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let value = match field.kind() {
            Kind::Int32 => Value::I32(7),
            Kind::Int64 => Value::I64(1 << 52),
            Kind::Bool => Value::Bool(true),
            Kind::String => Value::String("쿠폰".to_owned()),
            Kind::Bytes => Value::Bytes(vec![0xff; 16].into()),
            Kind::Enum(_) => Value::EnumNumber(1),
            Kind::Message(message) => Value::Message(self::filled(&message)),
            other => panic!("a value of {other:?} for {}", field.full_name()),
        };
        let value = if field.is_list() { Value::List(vec![value]) } else { value };
        filled.set_field(&field, value);
    }
    filled
}

#[test]
fn an_action_takes_a_step_key_and_a_payload_and_nothing_else() {
    for action in Contract::read().actions() {
        let request = action.input();
        let payload = message_of(&action, &request, "payload");
        let expected = [
            "key = 1: commerce.saga.v1.StepKey".to_owned(),
            format!("payload = 2: {}", payload.full_name()),
        ];
        assert_eq!(described_all(request.fields()), expected.into(), "{}", action.full_name());
        assert_eq!(request.oneofs().len(), 0, "{}", action.full_name());
        assert!(!request.fields().any(|field| field.is_list()), "{}", action.full_name());
        assert!(!action.is_client_streaming(), "{}", action.full_name());
    }
}

#[test]
fn an_action_answers_exactly_one_outcome() {
    for action in Contract::read().actions() {
        let response = action.output();
        let outcomes: Vec<_> = response.oneofs().collect();
        let [outcome] = outcomes.as_slice() else {
            panic!("{} has {} oneofs", action.full_name(), outcomes.len())
        };
        assert_eq!(outcome.name(), "outcome", "{}", action.full_name());
        let reply = message_of(&action, &response, "done");
        let expected = BTreeSet::from([
            format!("done = 1: {}", reply.full_name()),
            "rejected = 2: commerce.saga.v1.StepRejection".to_owned(),
            "refused = 3: commerce.saga.v1.StepRefusal".to_owned(),
        ]);
        assert_eq!(described_all(outcome.fields()), expected, "{}", action.full_name());
        assert_eq!(described_all(response.fields()), expected, "{}", action.full_name());
        assert!(!action.is_server_streaming(), "{}", action.full_name());
    }
}

#[test]
fn every_call_of_a_participants_service_is_an_action_and_no_other_call_is() {
    let contract = Contract::read();
    let mut expected = BTreeSet::new();
    for service in contract.participants() {
        assert!(service.name().ends_with("ParticipantService"), "{}", service.full_name());
        for method in service.methods() {
            assert!(contract.is_action(&method), "{} is no action", method.full_name());
            expected.insert(format!("{}/{}", service.full_name(), method.name()));
        }
    }
    let name = |action: &MethodDescriptor| {
        format!("{}/{}", action.parent_service().full_name(), action.name())
    };
    assert_eq!(contract.actions().iter().map(name).collect::<BTreeSet<_>>(), expected);
    let generated = participants::ALL.iter().flat_map(|participant| participant.actions);
    let generated: BTreeSet<_> = generated.map(|action| action.method.to_owned()).collect();
    assert_eq!(generated, expected);
}

#[test]
fn an_action_has_a_role_and_is_rejected_with_known_reasons_only_before_or_at_the_pivot() {
    let contract = Contract::read();
    for action in contract.actions() {
        let (role, rejections) = contract.declared(&action);
        assert_ne!(role, StepRole::Unspecified, "{}", action.full_name());
        if role == StepRole::Retriable {
            assert!(rejections.is_empty(), "{} may be rejected", action.full_name());
        }
        for reason in &rejections {
            assert!(Reason::parse(reason).is_some(), "{}: {reason}", action.full_name());
        }
        let distinct: BTreeSet<_> = rejections.iter().collect();
        assert_eq!(distinct.len(), rejections.len(), "{}", action.full_name());
    }
}

#[test]
fn a_request_is_read_by_those_who_do_not_know_its_payload_and_the_other_way_round() {
    for action in Contract::read().actions() {
        let payload = filled(&message_of(&action, &action.input(), "payload"));
        let key = StepKey { saga_id: vec![7; 16], step: 3, content_digest: vec![9; 8] };
        let unknown = StepRequest { key: Some(key), payload: Some(payload.encode_to_vec()) };
        let typed = decoded(&action.input(), &unknown.encode_to_vec());
        assert_eq!(typed.get_field_by_name("payload").unwrap().as_message(), Some(&payload));
        assert_eq!(StepRequest::decode(typed.encode_to_vec().as_slice()).unwrap(), unknown);
    }
}

#[test]
fn a_response_is_read_by_those_who_do_not_know_its_reply_and_the_other_way_round() {
    let rejection = StepRejection {
        reason: "INSUFFICIENT_STOCK".to_owned(),
        metadata: [("available".to_owned(), "1".to_owned())].into(),
        message: "too few".to_owned(),
    };
    let refusal = StepRefusal { reason: StepRefusalReason::OtherContent.into() };
    for action in Contract::read().actions() {
        let response = action.output();
        let reply = message_of(&action, &response, "done");
        // Also a reply of which nothing is on the wire: it is done all the same.
        for reply in [filled(&reply), DynamicMessage::new(reply)] {
            let done = Outcome::Done(reply.encode_to_vec());
            let typed = there_and_back(&response, done);
            assert_eq!(typed.get_field_by_name("done").unwrap().as_message(), Some(&reply));
        }
        let typed = there_and_back(&response, Outcome::Rejected(rejection.clone()));
        assert!(typed.has_field_by_name("rejected"), "{}", action.full_name());
        let typed = there_and_back(&response, Outcome::Refused(refusal));
        assert!(typed.has_field_by_name("refused"), "{}", action.full_name());
    }
}

/// The typed response of an outcome, from whose bytes the outcome is read again.
fn there_and_back(response: &MessageDescriptor, outcome: Outcome) -> DynamicMessage {
    let unknown = StepOutcome { outcome: Some(outcome) };
    let typed = decoded(response, &unknown.encode_to_vec());
    assert_eq!(typed.descriptor(), *response);
    assert_eq!(StepOutcome::decode(typed.encode_to_vec().as_slice()).unwrap(), unknown);
    typed
}

/// A message without unknown fields.
fn decoded(message: &MessageDescriptor, bytes: &[u8]) -> DynamicMessage {
    let decoded = DynamicMessage::decode(message.clone(), bytes).unwrap();
    assert_eq!(decoded.unknown_fields().count(), 0, "{}", message.full_name());
    decoded
}
