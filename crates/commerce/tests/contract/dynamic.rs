//! Calling any method of the contract by its descriptor, as a generated client of any language would.

use bytes::{Buf, BufMut};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use std::sync::LazyLock;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Response, Status};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(api::FILE_DESCRIPTOR_SET).unwrap());

/// Every method of every service but the participants', which clients never call, and `SagaService`, which needs
/// participants that the shop has not: `orchestrator/tests/submit.rs` is its own.
pub(crate) fn methods() -> Vec<MethodDescriptor> {
    POOL.services()
        .filter(|service| !service.name().ends_with("ParticipantService"))
        .filter(|service| service.name() != "SagaService")
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

/// A message from its JSON form.
pub(crate) fn message(descriptor: MessageDescriptor, json: Value) -> DynamicMessage {
    let text = json.to_string();
    DynamicMessage::deserialize(descriptor, json).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// Makes the call; of a stream, returns the first answer.
pub(crate) async fn call(
    channel: Channel,
    method: &MethodDescriptor,
    request: DynamicMessage,
) -> Result<Response<DynamicMessage>, Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = Dynamic { answers: method.output() };
    let (request, path) = (tonic::Request::new(request), path.parse().unwrap());
    if !method.is_server_streaming() {
        return grpc.unary(request, path, codec).await;
    }
    let mut answers = grpc.server_streaming(request, path, codec).await?.into_inner();
    let first = answers.message().await?;
    first.map(Response::new).ok_or_else(|| Status::unknown("the stream ended without an answer"))
}

/// Sends bytes as they are.
pub(crate) async fn call_raw(
    channel: Channel,
    method: &MethodDescriptor,
    request: Vec<u8>,
) -> Result<Response<Vec<u8>>, Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    grpc.unary(tonic::Request::new(request), path.parse().unwrap(), Raw).await
}

struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}

struct Dynamic {
    answers: MessageDescriptor,
}

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Writer;
    type Decoder = Reader;

    fn encoder(&mut self) -> Writer {
        Writer
    }

    fn decoder(&mut self) -> Reader {
        Reader { answers: self.answers.clone() }
    }
}

struct Writer;

impl Encoder for Writer {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

struct Reader {
    answers: MessageDescriptor,
}

impl Decoder for Reader {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        DynamicMessage::decode(self.answers.clone(), buffer)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
