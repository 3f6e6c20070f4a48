//! Writes down what the options of the contract declare of each participant and its actions.

use std::fmt::Write;

use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor, Value};

type Result<T> = std::result::Result<T, String>;

/// A constant for every service that declares a participant, and the list of them.
pub(crate) fn generate(pool: &DescriptorPool) -> Result<String> {
    let (mut code, mut names) = (String::new(), Vec::new());
    for service in pool.services() {
        let Some(name) = participant_name(pool, &service)? else { continue };
        let constant = name.to_uppercase();
        let _ = writeln!(
            code,
            "/// The participant `{name}`.\n\
            pub const {constant}: Participant = Participant {{\n\
            name: {name:?}, service: {:?}, actions: &[",
            service.full_name()
        );
        for method in service.methods() {
            code.push_str(&action(pool, &method)?);
        }
        code.push_str("] };\n");
        names.push(constant);
    }
    let _ = writeln!(
        code,
        "/// All of them.\npub const ALL: [Participant; {}] = [{}];",
        names.len(),
        names.join(", ")
    );
    Ok(code)
}

fn participant_name(pool: &DescriptorPool, service: &ServiceDescriptor) -> Result<Option<String>> {
    let option = extension(pool, "commerce.saga.v1.participant")?;
    let options = service.options();
    if !options.has_extension(&option) {
        return Ok(None);
    }
    let name = options.get_extension(&option);
    Ok(name.as_str().map(str::to_owned))
}

fn action(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<String> {
    let option = extension(pool, "commerce.saga.v1.step")?;
    let options = method.options();
    let step = options.get_extension(&option);
    let step = step.as_message().ok_or_else(|| format!("{} is no step", method.full_name()))?;
    let role = match step.get_field_by_name("role").as_deref() {
        Some(Value::EnumNumber(1)) => "Compensatable",
        Some(Value::EnumNumber(2)) => "Pivot",
        Some(Value::EnumNumber(3)) => "Retriable",
        _ => return Err(format!("{} has no role", method.full_name())),
    };
    let rejections = step.get_field_by_name("rejections");
    let rejections = rejections.as_deref().and_then(Value::as_list).into_iter().flatten();
    let rejections: Vec<_> = rejections.filter_map(Value::as_str).collect();
    let full = format!("{}/{}", method.parent_service().full_name(), method.name());
    Ok(format!(
        "Action {{ method: {full:?}, role: StepRole::{role}, rejections: &{rejections:?} }},\n"
    ))
}

fn extension(pool: &DescriptorPool, name: &str) -> Result<prost_reflect::ExtensionDescriptor> {
    pool.get_extension_by_name(name).ok_or_else(|| format!("{name} is not declared"))
}
