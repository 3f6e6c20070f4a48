//! Reads the contract: its files, and the comments and types of the messages that requests hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

/// Numbers of the fields of `FileDescriptorProto` and `DescriptorProto` that make up the paths of
/// comments.
const MESSAGE: i32 = 4;
const FIELD: i32 = 2;
const ONEOF: i32 = 8;

/// The place of the payload among the fields of an action's request.
const PAYLOAD: usize = 1;

/// Every `.proto` below `folder`, sorted.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A message of the contract with its comments.
pub(crate) struct Described<'a> {
    pub(crate) name: String,
    pub(crate) message: &'a DescriptorProto,
    field_comments: BTreeMap<i32, &'a str>,
    oneof_comments: BTreeMap<i32, &'a str>,
}

impl Described<'_> {
    /// The comment above the field at this place in the message.
    pub(crate) fn field_comment(&self, index: usize) -> &str {
        comment_at(&self.field_comments, index)
    }

    /// The comment above the oneof at this place in the message.
    pub(crate) fn oneof_comment(&self, index: usize) -> &str {
        comment_at(&self.oneof_comments, index)
    }
}

fn comment_at<'a>(comments: &BTreeMap<i32, &'a str>, index: usize) -> &'a str {
    i32::try_from(index).ok().and_then(|index| comments.get(&index).copied()).unwrap_or_default()
}

/// Every message that a request is or holds, by its full name with a leading dot.
pub(crate) fn request_messages(descriptors: &FileDescriptorSet) -> Vec<Described<'_>> {
    let mut messages = all_messages(descriptors);
    let mut wanted: Vec<String> = services(descriptors)
        .flat_map(|(is_steps, service)| service.method.iter().map(move |method| (is_steps, method)))
        .filter_map(|(is_steps, method)| match messages.get(method.input_type()) {
            Some(request) if is_steps => {
                Some(request.message.field.get(PAYLOAD)?.type_name().to_owned())
            }
            _ => Some(method.input_type().to_owned()),
        })
        .collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !messages.contains_key(&name) || !reached.insert(name.clone()) {
            continue;
        }
        let fields = messages.get(&name).into_iter().flat_map(|it| &it.message.field);
        wanted.extend(fields.map(FieldDescriptorProto::type_name).map(str::to_owned));
    }
    reached.iter().filter_map(|name| messages.remove(name)).collect()
}

/// The services whose requests are checked here, and whether they are the actions of a participant: of those it is the
/// payload that is checked. What is around it, and the service that all participants have, is the crate `participant`'s.
fn services(
    descriptors: &FileDescriptorSet,
) -> impl Iterator<Item = (bool, &ServiceDescriptorProto)> {
    let all = descriptors.file.iter().flat_map(|file| &file.service);
    let all = all.filter(|service| service.name() != "SagaParticipantService");
    all.map(|service| (service.name().ends_with("ParticipantService"), service))
}

fn all_messages(descriptors: &FileDescriptorSet) -> BTreeMap<String, Described<'_>> {
    let mut all = BTreeMap::new();
    let ours = descriptors.file.iter().filter(|file| file.package().starts_with("commerce."));
    for file in ours {
        for (index, message) in (0_i32..).zip(&file.message_type) {
            let name = format!(".{}.{}", file.package(), message.name());
            let mut described = Described {
                name: name.clone(),
                message,
                field_comments: BTreeMap::new(),
                oneof_comments: BTreeMap::new(),
            };
            let locations = file.source_code_info.iter().flat_map(|info| &info.location);
            for location in locations {
                match *location.path {
                    [MESSAGE, at, FIELD, place] if at == index => {
                        described.field_comments.insert(place, location.leading_comments());
                    }
                    [MESSAGE, at, ONEOF, place] if at == index => {
                        described.oneof_comments.insert(place, location.leading_comments());
                    }
                    _ => {}
                }
            }
            all.insert(name, described);
        }
    }
    all
}
