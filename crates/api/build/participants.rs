//! Makes the client of a participant a participant itself: whoever calls steps then need not know whether they run in the
//! same process.

use std::fmt::{Result, Write};

use prost_types::{FileDescriptorSet, ServiceDescriptorProto};

/// The implementations for every service whose name ends in `ParticipantService`.
pub(crate) fn generate(
    descriptors: &FileDescriptorSet,
) -> std::result::Result<String, std::fmt::Error> {
    let mut code = String::new();
    for file in &descriptors.file {
        let services = file.service.iter().filter(|it| it.name().ends_with("ParticipantService"));
        for service in services {
            participant(&mut code, file.package(), service)?;
        }
    }
    Ok(code)
}

fn participant(code: &mut String, package: &str, service: &ServiceDescriptorProto) -> Result {
    let (name, snake) = (service.name(), snake(service.name()));
    let module = format!("crate::{}", package.trim_start_matches("commerce.").replace('.', "::"));
    writeln!(
        code,
        "#[tonic::async_trait]
        impl<T> {module}::{snake}_server::{name} for {module}::{snake}_client::{name}Client<T>
        where
            T: tonic::client::GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
            T::Error: Into<tonic::codegen::StdError>,
            T::Future: Send,
            T::ResponseBody: tonic::codegen::Body<Data = tonic::codegen::Bytes> + Send + 'static,
            <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
        {{"
    )?;
    for method in &service.method {
        let call = self::snake(method.name());
        let message = |full: &str| format!("{module}::{}", full.rsplit('.').next().unwrap_or(full));
        let (input, output) = (message(method.input_type()), message(method.output_type()));
        writeln!(
            code,
            "async fn {call}(
                &self,
                request: tonic::Request<{input}>,
            ) -> Result<tonic::Response<{output}>, tonic::Status> {{
                <{module}::{snake}_client::{name}Client<T>>::{call}(&mut self.clone(), request).await
            }}"
        )?;
    }
    writeln!(code, "}}")
}

fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
