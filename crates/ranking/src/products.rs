//! Names and prices, which the product service knows.

use api::product::v1::product_service_client::ProductServiceClient;
use api::product::v1::{BatchGetProductsRequest, Product};
use async_trait::async_trait;
use tonic::Status;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};

/// Where the list gets the products' names and prices from.
#[async_trait]
pub trait Products: Send + Sync + 'static {
    /// Those of these products that there are, 200 at most.
    ///
    /// # Errors
    /// Those of the product service.
    async fn get(&self, ids: Vec<i64>) -> Result<Vec<Product>, Status>;
}

#[async_trait]
impl<T> Products for ProductServiceClient<T>
where
    T: GrpcService<Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::Future: Send,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    async fn get(&self, ids: Vec<i64>) -> Result<Vec<Product>, Status> {
        let request = BatchGetProductsRequest { product_ids: ids };
        let answer = self.clone().batch_get_products(request).await?;
        Ok(answer.into_inner().products)
    }
}
