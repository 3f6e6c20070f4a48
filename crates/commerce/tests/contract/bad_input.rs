//! From a request that succeeds, one field at a time is set to each value outside its documented range: the answer is
//! `INVALID_ARGUMENT` and names that field. Fields and ranges come from the contract, so that a new one cannot be forgotten.

use crate::baseline::World;
use crate::dynamic;
use api::rule::{Constraint, FieldRule, Limits};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, OneofDescriptor,
    ReflectMessage, Value,
};
use std::collections::BTreeSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A way to spoil a request: the field that must be named, and what was done to it.
struct Spoiled {
    field: String,
    what: String,
    request: DynamicMessage,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_outside_its_range_is_refused_by_name() {
    let world = World::new().await;
    let mut failures = Vec::new();
    let mut tried = 0;
    for method in dynamic::methods() {
        let mut covered = BTreeSet::new();
        let baselines = world.requests(&method).await;
        let implemented = !baselines.is_empty();
        for request in baselines {
            let channel = world.channel_of(&method);
            let spoiled = spoil(&request, &mut covered);
            let answer = dynamic::call(channel.clone(), &method, request).await;
            assert!(answer.is_ok(), "{}: the baseline fails: {answer:?}", method.full_name());
            for Spoiled { field, what, request } in spoiled {
                tried += 1;
                let answer = dynamic::call(channel.clone(), &method, request).await;
                if let Err(why) = named(answer.map(|_| ()), &field) {
                    failures.push(format!("{} {field} {what}: {why}", method.full_name()));
                }
            }
        }
        if implemented {
            let missing: Vec<_> = fields_of(&method.input(), "")
                .into_iter()
                .filter(|field| !covered.contains(field))
                .collect();
            assert!(missing.is_empty(), "{}: no baseline names {missing:?}", method.full_name());
        }
    }
    assert!(failures.is_empty(), "{} of {tried}:\n{}", failures.len(), failures.join("\n"));
    assert!(tried > 200, "only {tried} bad values were tried");
    world.shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused_as_such() {
    let world = World::new().await;
    // Field 1, with a length that the message does not have.
    let garbage = [0x0a, 0xff, 0xff, 0xff, 0x7f];
    for method in dynamic::methods() {
        let channel = world.channel_of(&method);
        let status = dynamic::call_raw(channel, &method, garbage.to_vec()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{}: {status:?}", method.full_name());
        assert_eq!(testkit::reason(&status), api::Reason::MalformedRequest);
    }
    world.shop.stop_and_audit().await;
}

fn named(answer: Result<(), Status>, field: &str) -> Result<(), String> {
    let status = match answer {
        Ok(()) => return Err("was accepted".to_owned()),
        Err(status) => status,
    };
    if status.code() != Code::InvalidArgument {
        return Err(format!("{:?}: {}", status.code(), status.message()));
    }
    let details = status.get_error_details();
    if details.error_info().is_none() {
        return Err("has no ErrorInfo".to_owned());
    }
    let violations = details.bad_request().map(|bad| &bad.field_violations[..]).unwrap_or_default();
    if violations.iter().any(|violation| violation.field == field) {
        return Ok(());
    }
    let in_info = details.error_info().and_then(|info| info.metadata.get("field").cloned());
    if in_info.as_deref() == Some(field) {
        return Ok(());
    }
    Err(format!("names {violations:?} and {in_info:?}"))
}

/// All bad variants of a request, each with one field spoiled.
fn spoil(request: &DynamicMessage, covered: &mut BTreeSet<String>) -> Vec<Spoiled> {
    let mut out = Vec::new();
    spoil_message(request, "", "", &mut |field, generic, what, bad| {
        covered.insert(generic);
        if let Some(request) = bad {
            out.push(Spoiled { field, what, request });
        }
    });
    out
}

type Report<'a> = dyn FnMut(String, String, String, Option<DynamicMessage>) + 'a;

fn spoil_message(message: &DynamicMessage, path: &str, generic: &str, report: &mut Report<'_>) {
    let descriptor = message.descriptor();
    for oneof in descriptor.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let rule = oneof_rule(&oneof);
        if rule.required && oneof.fields().any(|field| message.has_field(&field)) {
            let mut bad = message.clone();
            oneof.fields().for_each(|field| bad.clear_field(&field));
            let name = join(path, oneof.name());
            report(name.clone(), join(generic, oneof.name()), "absent".to_owned(), Some(bad));
        }
    }
    for field in descriptor.fields() {
        if is_named(message, &field) {
            spoil_field(message, &field, path, generic, report);
        }
    }
}

/// Whether the baseline says anything about this field: an absent message or oneof member is another baseline's.
fn is_named(message: &DynamicMessage, field: &FieldDescriptor) -> bool {
    message.has_field(field) || !(field.supports_presence() || field.is_list())
}

fn spoil_field(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    path: &str,
    generic: &str,
    report: &mut Report<'_>,
) {
    let (name, kind_name) = (join(path, field.name()), join(generic, field.name()));
    report(name.clone(), kind_name.clone(), String::new(), None);
    let rule = field_rule(field);
    let value = message.get_field(field).into_owned();
    let mut with = |what: &str, bad_name: &str, bad: Option<Value>| {
        let mut spoiled = message.clone();
        match bad {
            Some(bad) => spoiled.set_field(field, bad),
            None => spoiled.clear_field(field),
        }
        report(bad_name.to_owned(), kind_name.clone(), what.to_owned(), Some(spoiled));
    };
    if let Value::List(items) = &value {
        if let (Some(limits), Some(first)) = (&rule.items, items.first()) {
            for count in [limits.min - 1, limits.max + 1] {
                if let Ok(count) = usize::try_from(count) {
                    let list = Value::List(vec![first.clone(); count]);
                    with(&format!("of {count} items"), &name, Some(list));
                }
            }
        }
        for bad in bad_values(field, &rule) {
            let mut list = items.clone();
            list[0] = bad.clone();
            with(&format!("= [{bad:?}]"), &format!("{name}[0]"), Some(Value::List(list)));
        }
        if let Some(Value::Message(item)) = items.first() {
            spoil_message(item, &format!("{name}[0]"), &kind_name, &mut |f, g, w, bad| {
                let spoiled = bad.map(|bad| {
                    let mut list = items.clone();
                    list[0] = Value::Message(bad);
                    let mut spoiled = message.clone();
                    spoiled.set_field(field, Value::List(list));
                    spoiled
                });
                report(f, g, w, spoiled);
            });
        }
        return;
    }
    if rule.required && matches!(field.kind(), Kind::Message(_)) && !rule.optional {
        with("absent", &name, None);
    }
    for bad in bad_values(field, &rule) {
        with(&format!("= {bad:?}"), &name, Some(bad));
    }
    if let Some(sibling) = &rule.after {
        let earlier = message.get_field_by_name(sibling).map(std::borrow::Cow::into_owned);
        if let Some(earlier) = earlier {
            with(&format!("not after {sibling}"), &name, Some(earlier));
        }
    }
    if let (Value::Message(inner), false) = (&value, is_well_known(field)) {
        spoil_message(inner, &name, &kind_name, &mut |f, g, w, bad| {
            let spoiled = bad.map(|bad| {
                let mut spoiled = message.clone();
                spoiled.set_field(field, Value::Message(bad));
                spoiled
            });
            report(f, g, w, spoiled);
        });
    }
}

/// Every kind of value that the rule excludes.
fn bad_values(field: &FieldDescriptor, rule: &FieldRule) -> Vec<Value> {
    if let Kind::Enum(_) = field.kind() {
        let mut bad = vec![Value::EnumNumber(9_999), Value::EnumNumber(-1)];
        if rule.required {
            bad.push(Value::EnumNumber(0));
        }
        return bad;
    }
    match &rule.value {
        None => Vec::new(),
        Some(Constraint::Integer { limits, not }) => {
            let outside = [limits.min.checked_sub(1), limits.max.checked_add(1), *not];
            let extreme = [Some(i64::MIN), Some(i64::MAX)];
            let bad = outside.into_iter().chain(extreme).flatten();
            bad.filter(|bad| !within(limits, *bad) || Some(*bad) == *not)
                .filter_map(|bad| integer(field, bad))
                .collect()
        }
        Some(Constraint::Uuid { .. }) => {
            let bad = [
                "",
                "no uuid",
                "0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9d",
                "0b6c8f526c1e4a529a0b52c1c7f0a9d1",
                "00000000-0000-0000-0000-000000000000",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            ];
            bad.iter().map(|bad| Value::String((*bad).to_owned())).collect()
        }
        Some(Constraint::Characters(limits)) => {
            lengths(limits).map(|length| Value::String("가".repeat(length))).collect()
        }
        Some(Constraint::Bytes(limits)) => {
            lengths(limits).map(|length| Value::Bytes(vec![7; length].into())).collect()
        }
        Some(Constraint::Instant(limits)) => times(field, limits),
        Some(Constraint::Paths(_)) => {
            vec![mask(field, &[]), mask(field, &["no_such_field"]), mask(field, &["request_id"])]
        }
    }
}

fn within(limits: &Limits, value: i64) -> bool {
    (limits.min..=limits.max).contains(&value)
}

fn integer(field: &FieldDescriptor, value: i64) -> Option<Value> {
    match field.kind() {
        Kind::Int32 => i32::try_from(value).ok().map(Value::I32),
        Kind::Int64 => Some(Value::I64(value)),
        other => panic!("{}: no bad values known for {other:?}", field.full_name()),
    }
}

fn lengths(limits: &Limits) -> impl Iterator<Item = usize> {
    [limits.min - 1, limits.max + 1].into_iter().filter_map(|length| usize::try_from(length).ok())
}

/// Timestamps: out of range by seconds, and malformed by nanoseconds.
fn times(field: &FieldDescriptor, limits: &Limits) -> Vec<Value> {
    let Kind::Message(descriptor) = field.kind() else { panic!("{}", field.full_name()) };
    let make = |seconds: i64, nanos: i32| {
        let mut time = DynamicMessage::new(descriptor.clone());
        time.set_field_by_name("seconds", Value::I64(seconds));
        time.set_field_by_name("nanos", Value::I32(nanos));
        Value::Message(time)
    };
    vec![
        make(limits.min - 1, 0),
        make(limits.max + 1, 0),
        make(i64::MIN, 0),
        make(i64::MAX, 0),
        make(limits.min.max(1), 1_000_000_000),
        make(limits.min.max(1), -1),
    ]
}

fn mask(field: &FieldDescriptor, paths: &[&str]) -> Value {
    let Kind::Message(descriptor) = field.kind() else { panic!("{}", field.full_name()) };
    let mut mask = DynamicMessage::new(descriptor);
    let paths = paths.iter().map(|path| Value::String((*path).to_owned())).collect();
    mask.set_field_by_name("paths", Value::List(paths));
    Value::Message(mask)
}

fn is_well_known(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(of) if of.full_name().starts_with("google.protobuf."))
}

/// The paths of all fields under a message, list indices left out.
fn fields_of(descriptor: &MessageDescriptor, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for field in descriptor.fields() {
        let name = join(path, field.name());
        if let (Kind::Message(inner), false) = (field.kind(), is_well_known(&field)) {
            out.extend(fields_of(&inner, &name));
        }
        out.push(name);
    }
    out
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn field_rule(field: &FieldDescriptor) -> FieldRule {
    rule_at(&field.parent_file(), field.path(), field.full_name())
}

fn oneof_rule(oneof: &OneofDescriptor) -> FieldRule {
    rule_at(&oneof.parent_file(), oneof.path(), oneof.full_name())
}

fn rule_at(file: &FileDescriptor, path: &[i32], name: &str) -> FieldRule {
    let source = file.file_descriptor_proto().source_code_info.as_ref();
    let comment = source
        .and_then(|source| source.location.iter().find(|location| location.path == path))
        .map(|location| location.leading_comments().to_owned())
        .unwrap_or_default();
    FieldRule::parse(&comment)
        .unwrap_or_else(|why| panic!("{name}: {why}"))
        .unwrap_or_else(|| panic!("{name} has no constraint line"))
}
