//! The descriptors of a server, by gRPC server reflection.

use crate::client::{CALL_LIMIT, streaming};
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;
use std::collections::BTreeMap;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::ServerReflectionResponse;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// The method of both versions, whose messages are equal. Some servers have only one of them.
const METHODS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// A set of files as encoded by the server: decoding them would lose the options.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// Fetches the files that declare these symbols, with all that they import.
///
/// # Errors
/// The reason, where the server has no reflection or does not know a symbol or file.
pub(crate) async fn descriptors(
    channel: &Channel,
    symbols: &[String],
) -> Result<DescriptorPool, String> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let symbols = symbols.iter().cloned().map(MessageRequest::FileContainingSymbol);
    let mut wanted: Vec<MessageRequest> = symbols.collect();
    while let Some(request) = wanted.pop() {
        if matches!(&request, MessageRequest::FileByFilename(file) if files.contains_key(file)) {
            continue;
        }
        for encoded in fetch(channel, request).await? {
            let file = FileDescriptorProto::decode(encoded.as_slice())
                .map_err(|error| format!("a file descriptor does not decode: {error}"))?;
            wanted.extend(file.dependency.iter().cloned().map(MessageRequest::FileByFilename));
            files.insert(file.name().to_owned(), encoded);
        }
    }
    let files = Files { file: files.into_values().collect() }.encode_to_vec();
    let mut pool = DescriptorPool::new();
    pool.decode_file_descriptor_set(files.as_slice())
        .map_err(|error| format!("the file descriptors do not fit together: {error}"))?;
    Ok(pool)
}

async fn fetch(channel: &Channel, request: MessageRequest) -> Result<Vec<Vec<u8>>, String> {
    let named = format!("{request:?}");
    let mut answer = Err(Status::unimplemented("not asked"));
    for method in METHODS {
        answer = ask(channel, method, request.clone()).await;
        if !matches!(&answer, Err(status) if status.code() == Code::Unimplemented) {
            break;
        }
    }
    match answer.map_err(|status| format!("reflection of {named}: {status}"))?.message_response {
        Some(MessageResponse::FileDescriptorResponse(files)) => Ok(files.file_descriptor_proto),
        Some(MessageResponse::ErrorResponse(error)) => {
            Err(format!("reflection of {named}: {}", error.error_message))
        }
        _ => Err(format!("reflection of {named} has another answer than files")),
    }
}

async fn ask(
    channel: &Channel,
    method: &'static str,
    request: MessageRequest,
) -> Result<ServerReflectionResponse, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let call = async {
        let mut answers = streaming(channel.clone(), method, request).await?;
        let answer = answers.next().await;
        answer.unwrap_or_else(|| Err(Status::unknown("the stream ended without an answer")))
    };
    let limited = tokio::time::timeout(CALL_LIMIT, call).await;
    limited.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}
