//! The calls of `ProductService`, which only look.

use crate::domain::{self, ProductId, Refused};
use crate::{Product, store};
use ::service::refuse_db;
use api::product::v1::product_service_server::ProductService;
use api::product::v1::{
    BatchGetProductsRequest, BatchGetProductsResponse, GetProductRequest, GetProductResponse,
    ListProductsRequest, ListProductsResponse, Product as Item,
};
use api::{Check, Refusal};
use db::{Conn, SendAsyncFn};
use platform::page::{PageSize, PageToken, Place};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The list that page tokens belong to.
const PRODUCTS: &str = "ListProducts";

#[tonic::async_trait]
impl ProductService for Product {
    async fn get_product(
        &self,
        request: Request<GetProductRequest>,
    ) -> Result<Response<GetProductResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let id = ProductId(request.product_id);
        let product = self.items(BTreeSet::from([id])).await?.remove(&id);
        let product = product.ok_or_else(|| not_found(id))?;
        let product = Some(Arc::unwrap_or_clone(product));
        Ok(Response::new(GetProductResponse { product }))
    }

    async fn batch_get_products(
        &self,
        request: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let ids: BTreeSet<ProductId> = request.product_ids.iter().copied().map(ProductId).collect();
        let mut wanted = ids.clone();
        let mut found = self.items(ids).await?;
        let mut response = BatchGetProductsResponse::default();
        // Each is answered at its first place.
        for id in request.product_ids.into_iter().filter(|id| wanted.remove(&ProductId(*id))) {
            match found.remove(&ProductId(id)) {
                Some(product) => response.products.push(Arc::unwrap_or_clone(product)),
                None => response.missing_product_ids.push(id),
            }
        }
        Ok(Response::new(response))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let ListProductsRequest { name_contains, page_size, page_token } = request;
        let size = PageSize::from_request(page_size);
        let after = PageToken::decode(PRODUCTS, &name_contains, &page_token)?;
        let (after, rows) = (after.unwrap_or(Place::OLDEST), size.rows_to_read());
        let found = if name_contains.is_empty() {
            self.read(async move |conn: &mut Conn| store::page(conn, after, rows).await).await?
        } else {
            let text = name_contains.clone();
            let search = async move |conn: &mut Conn| store::search(conn, after, &text, rows).await;
            self.read(search).await?
        };
        let token = |place: Place| PageToken::encode(PRODUCTS, &name_contains, &place);
        let place = |last: &domain::Product| Place { at: last.created_at, id: last.id.0 };
        let (products, mut next_page_token) = size.cut(found.products, |last| token(place(last)));
        if next_page_token.is_empty() {
            next_page_token = found.looked_up_to.map(token).unwrap_or_default();
        }
        let products = products.iter().map(Into::into).collect();
        Ok(Response::new(ListProductsResponse { products, next_page_token }))
    }
}

impl Product {
    /// Those of these products that exist, from the cache where there is one.
    async fn items(
        &self,
        ids: BTreeSet<ProductId>,
    ) -> Result<HashMap<ProductId, Arc<Item>>, Status> {
        let service = self.clone();
        let load = move |ids: BTreeSet<ProductId>| {
            let service = service.clone();
            async move {
                let read = async move |conn: &mut Conn| store::find(conn, ids).await;
                let found = service.read(read).await?;
                Ok(found.values().map(Item::from).collect::<Vec<_>>())
            }
        };
        if let Some(cache) = &self.cache {
            return cache.get(ids, load).await;
        }
        let items = load(ids).await?.into_iter();
        Ok(items.map(|item| (ProductId(item.product_id), Arc::new(item))).collect())
    }

    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, Status>
    where
        F: for<'c> SendAsyncFn<&'c mut Conn, db::Result<T>, Fut: Send> + Send,
    {
        self.db.read(work).await.map_err(|error| refuse_db(&error))
    }
}

/// The error of a product that does not exist.
pub(crate) fn not_found(id: ProductId) -> Refusal {
    Refused::NotFound(vec![id]).into()
}
