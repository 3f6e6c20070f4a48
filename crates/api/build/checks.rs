//! Writes `impl Check` for every message that a request is or holds, from the constraint lines in
//! its comments. A field without one is an error, so that none can be forgotten.

use std::fmt::Write;

use prost_types::{
    FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use crate::{
    contract::{Described, request_messages},
    rule::{Constraint, FieldRule, Limits},
};

type Result<T> = std::result::Result<T, String>;

/// The Rust source of all checks.
pub(crate) fn generate(descriptors: &FileDescriptorSet) -> Result<String> {
    let mut source = String::new();
    for described in request_messages(descriptors) {
        let body = message_body(&described)?;
        let path = rust_path(&described.name);
        let _ = write!(
            source,
            "impl Check for {path} {{\n\
             fn check_fields(&self, path: &Path<'_>, out: &mut Violations) {{\n\
             {body}}}\n}}\n\n"
        );
    }
    Ok(source)
}

fn message_body(described: &Described<'_>) -> Result<String> {
    let mask = masked_fields(described)?;
    let mut body = String::new();
    for (index, field) in described.message.field.iter().enumerate() {
        if is_oneof_member(field) {
            continue;
        }
        let check = field_check(described, index, field)?;
        let name = field.name();
        match &mask {
            Some((mask, paths)) if paths.iter().any(|path| path == name) => {
                let _ = writeln!(body, "if names(self.{mask}.as_ref(), {name:?}) {{ {check} }}");
            }
            _ => body.push_str(&check),
        }
    }
    for (index, oneof) in described.message.oneof_decl.iter().enumerate() {
        let members: Vec<_> = members(described, index).collect();
        if !members.is_empty() {
            body.push_str(&oneof_check(described, index, oneof.name(), &members)?);
        }
    }
    Ok(body)
}

/// The field mask of a message and the siblings that it can name.
fn masked_fields(described: &Described<'_>) -> Result<Option<(String, Vec<String>)>> {
    for (index, field) in described.message.field.iter().enumerate() {
        let named = |why: String| format!("{}.{}: {why}", described.name, field.name());
        let rule = FieldRule::parse(described.field_comment(index)).map_err(named)?;
        if let Some(Constraint::Paths(paths)) = rule.and_then(|rule| rule.value) {
            let siblings = || described.message.field.iter().map(FieldDescriptorProto::name);
            let known = paths.iter().all(|path| siblings().any(|sibling| sibling == path));
            require(known, "a path that names no sibling").map_err(named)?;
            return Ok(Some((field.name().to_owned(), paths)));
        }
    }
    Ok(None)
}

fn field_check(
    described: &Described<'_>,
    index: usize,
    field: &FieldDescriptorProto,
) -> Result<String> {
    let named = |why: String| format!("{}.{}: {why}", described.name, field.name());
    let rule = read_rule(described.field_comment(index)).map_err(named)?;
    let name = field.name();
    let at = format!("let at = path.field({name:?});\n");
    if field.label() == Label::Repeated {
        return repeated_check(field, &rule).map(|check| scope(&at, &check)).map_err(named);
    }
    if field.r#type() == Type::Message {
        return message_check(field, &rule).map(|check| scope(&at, &check)).map_err(named);
    }
    let check = if field.proto3_optional() {
        require(rule.optional, "an optional field must say `Optional.`").map_err(named)?;
        let check = value_check(field, &rule).map_err(named)?;
        format!("if let Some(value) = &self.{name} {{ {check} }}\n")
    } else {
        let check = value_check(field, &rule).map_err(named)?;
        format!("let value = &self.{name};\n{check}")
    };
    Ok(scope(&at, &check))
}

fn oneof_check(
    described: &Described<'_>,
    index: usize,
    oneof: &str,
    members: &[(usize, &FieldDescriptorProto)],
) -> Result<String> {
    let named = |name: &str, why: String| format!("{}.{name}: {why}", described.name);
    let rule = read_rule(described.oneof_comment(index)).map_err(|why| named(oneof, why))?;
    let (package, message) = rust_module(&described.name);
    let mut arms = String::new();
    for (place, member) in members {
        let name = member.name();
        let rule = read_rule(described.field_comment(*place)).map_err(|why| named(name, why))?;
        let check = if member.r#type() == Type::Message {
            "value.check_fields(&at, out);".to_owned()
        } else {
            value_check(member, &rule).map_err(|why| named(name, why))?
        };
        let variant = camel(name);
        let kind = camel(oneof);
        let _ = writeln!(
            arms,
            "Some({package}::{message}::{kind}::{variant}(value)) => \
             {{ let at = path.field({name:?}); {check} }}"
        );
    }
    let none = if rule.required {
        format!("out.required(&path.field({oneof:?}), false)")
    } else {
        "{}".to_owned()
    };
    Ok(format!("match &self.{oneof} {{\n{arms}None => {none},\n}}\n"))
}

fn repeated_check(field: &FieldDescriptorProto, rule: &FieldRule) -> Result<String> {
    let limits = rule.items.as_ref().ok_or("a repeated field needs an `Items:` line")?;
    let each = if field.r#type() == Type::Message {
        "value.check_fields(&at, out);\n".to_owned()
    } else {
        value_check(field, rule)?
    };
    let name = field.name();
    let limits = limits_source(limits);
    Ok(format!(
        "out.items(&at, self.{name}.len(), &{limits});\n\
         for (index, value) in self.{name}.iter().enumerate() {{\n\
         let at = at.item(index);\n{each}}}\n"
    ))
}

fn message_check(field: &FieldDescriptorProto, rule: &FieldRule) -> Result<String> {
    let name = field.name();
    let check = match (field.type_name(), &rule.value) {
        (".google.protobuf.Timestamp", Some(Constraint::Instant(limits))) => {
            format!("out.instant(&at, value, &{});\n", limits_source(limits))
        }
        (".google.protobuf.FieldMask", Some(Constraint::Paths(paths))) => {
            format!("out.paths(&at, value, &{paths:?});\n")
        }
        (type_name, None) if type_name.starts_with(".commerce.") => {
            require(rule.optional || rule.required, "needs `Required.` or `Optional.`")?;
            "value.check_fields(&at, out);\n".to_owned()
        }
        (type_name, _) => return Err(format!("the rule does not fit {type_name}")),
    };
    let mut source = format!("if let Some(value) = &self.{name} {{ {check} }}\n");
    if !rule.optional {
        let _ = writeln!(source, "out.required(&at, self.{name}.is_some());");
    }
    if let Some(earlier) = &rule.after {
        let _ = writeln!(
            source,
            "out.after(&at, self.{name}.as_ref(), {earlier:?}, self.{earlier}.as_ref());"
        );
    }
    Ok(source)
}

fn value_check(field: &FieldDescriptorProto, rule: &FieldRule) -> Result<String> {
    match (field.r#type(), &rule.value) {
        (Type::Int64 | Type::Int32, Some(Constraint::Integer { limits, not })) => {
            let limits = limits_source(limits);
            let mut source = format!("out.integer(&at, i64::from(*value), &{limits});\n");
            if let Some(not) = not {
                let _ = writeln!(source, "out.not(&at, i64::from(*value), {not});");
            }
            Ok(source)
        }
        (Type::String, Some(Constraint::Characters(limits))) => {
            Ok(format!("out.characters(&at, value, &{});\n", limits_source(limits)))
        }
        (Type::String, Some(Constraint::Uuid { missing })) => {
            Ok(format!("out.uuid(&at, value, {});\n", reason_source(missing.as_deref())))
        }
        (Type::Bytes, Some(Constraint::Bytes(limits))) => {
            Ok(format!("out.bytes(&at, value, &{});\n", limits_source(limits)))
        }
        (Type::Enum, None) => {
            require(rule.optional != rule.required, "needs `Required.` or `Optional.`")?;
            let path = rust_path(field.type_name());
            let required = rule.required;
            Ok(format!("out.choice(&at, *value, {path}::is_valid(*value), {required});\n"))
        }
        (kind, constraint) => Err(format!("{constraint:?} does not fit {kind:?}")),
    }
}

fn read_rule(comment: &str) -> Result<FieldRule> {
    FieldRule::parse(comment)?.ok_or_else(|| "the comment has no constraint line".to_owned())
}

fn require(holds: bool, why: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

fn is_oneof_member(field: &FieldDescriptorProto) -> bool {
    field.oneof_index.is_some() && !field.proto3_optional()
}

/// The fields of a real oneof; `optional` fields have one of their own, which does not count.
fn members<'a>(
    described: &Described<'a>,
    oneof: usize,
) -> impl Iterator<Item = (usize, &'a FieldDescriptorProto)> {
    described.message.field.iter().enumerate().filter(move |(_, field)| {
        is_oneof_member(field) && usize::try_from(field.oneof_index()) == Ok(oneof)
    })
}

fn scope(at: &str, check: &str) -> String {
    format!("{{\n{at}{check}}}\n")
}

fn limits_source(limits: &Limits) -> String {
    let Limits { min, max, below, above } = limits;
    let (below, above) = (reason_source(below.as_deref()), reason_source(above.as_deref()));
    format!("Limits {{ min: {min}, max: {max}, below: {below}, above: {above} }}")
}

fn reason_source(reason: Option<&str>) -> String {
    let Some(reason) = reason else { return "None".to_owned() };
    format!("Some(Reason::{})", camel(&reason.to_lowercase()))
}

/// `.commerce.wallet.v1.Wallet` as a path from the crate's root.
fn rust_path(name: &str) -> String {
    format!("crate::{}", name.trim_start_matches(".commerce.").replace('.', "::"))
}

/// The package of a message, and the module that holds what belongs to the message.
fn rust_module(name: &str) -> (String, String) {
    let path = rust_path(name);
    let (package, message) = path.rsplit_once("::").unwrap_or_default();
    (package.to_owned(), snake(message))
}

fn camel(snake: &str) -> String {
    let words = snake.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
