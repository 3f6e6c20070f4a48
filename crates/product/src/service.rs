//! The public calls.

use crate::desk::Op;
use crate::domain::{self, Change, Draft, Movement, ProductId, Refused};
use crate::{Product, store, wire};
use ::participant::{Moment, Name, Trace, Verdict, content_hash};
use ::service::{answer, refuse_db, request_key, trace};
use api::product::v1::product_service_server::ProductService;
use api::product::v1::{
    AdjustStockRequest, AdjustStockResponse, BatchGetProductsRequest, BatchGetProductsResponse,
    CreateProductRequest, CreateProductResponse, GetProductRequest, GetProductResponse,
    ListProductsRequest, ListProductsResponse, ListStockMovementsRequest,
    ListStockMovementsResponse, Product as Item, UpdateProductRequest, UpdateProductResponse,
};
use api::{Check, Refusal};
use db::{Conn, Script, SendAsyncFn};
use events::outbox;
use platform::page::{PageSize, PageToken, Place};
use prost::Message;
use prost_types::FieldMask;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The calls' numbers in idempotency rows, stable for ever.
const CREATE: i8 = 1;
const UPDATE: i8 = 2;
const ADJUST: i8 = 3;

/// The encoding of requests that idempotency rows digest.
const ENCODING: u8 = 1;

/// The lists that page tokens belong to.
const PRODUCTS: &str = "ListProducts";
const MOVEMENTS: &str = "ListStockMovements";

#[tonic::async_trait]
impl ProductService for Product {
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let key = request_key(&request.request_id, Name::default(), CREATE)?;
        let content = CreateProductRequest { request_id: String::new(), ..request };
        let hash = content_hash(ENCODING, &content);
        let CreateProductRequest { name, price, stock, .. } = content;
        let id = ProductId(self.ids.next().await.map_err(|error| refuse_db(&error))?);
        let (draft, trace) = (Draft { name, price, stock }, trace());
        let work = async move |conn: &mut Conn| create(conn, id, draft, &trace).await;
        let outcome = ::participant::once(&self.db, key, hash, work).await;
        self.forget(id);
        answer(outcome.map_err(|error| refuse_db(&error))?)
    }

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
        let size = PageSize::from_request(request.page_size);
        let after = PageToken::decode(PRODUCTS, &(), &request.page_token)?.unwrap_or(Place::OLDEST);
        let rows = size.rows_to_read();
        let found = self.read(async move |conn: &mut Conn| store::page(conn, after, rows).await);
        let token = |last: &domain::Product| {
            PageToken::encode(PRODUCTS, &(), &Place { at: last.created_at, id: last.id.0 })
        };
        let (products, next_page_token) = size.cut(found.await?, token);
        let products = products.iter().map(Into::into).collect();
        Ok(Response::new(ListProductsResponse { products, next_page_token }))
    }

    async fn update_product(
        &self,
        request: Request<UpdateProductRequest>,
    ) -> Result<Response<UpdateProductResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let key = request_key(&request.request_id, Name::default(), UPDATE)?;
        let (id, change) = (ProductId(request.product_id), change(&request)?);
        let hash = content_hash(ENCODING, &update_content(id, &change));
        let told = self.writes.request(id.0, key, hash, Op::Update { id, change }).await;
        self.forget(id);
        answer(told?)
    }

    async fn adjust_stock(
        &self,
        request: Request<AdjustStockRequest>,
    ) -> Result<Response<AdjustStockResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let key = request_key(&request.request_id, Name::default(), ADJUST)?;
        let content = AdjustStockRequest { request_id: String::new(), ..request };
        let hash = content_hash(ENCODING, &content);
        let AdjustStockRequest { product_id, delta, reason, .. } = content;
        let op = Op::Adjust { id: ProductId(product_id), delta, reason };
        let told = self.writes.request(product_id, key, hash, op).await;
        self.forget(ProductId(product_id));
        answer(told?)
    }

    async fn list_stock_movements(
        &self,
        request: Request<ListStockMovementsRequest>,
    ) -> Result<Response<ListStockMovementsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let id = ProductId(request.product_id);
        let size = PageSize::from_request(request.page_size);
        let before = PageToken::decode(MOVEMENTS, &id.0, &request.page_token)?;
        let before = before.unwrap_or(i64::MAX);
        let rows = size.rows_to_read();
        let found = self.read(async move |conn: &mut Conn| {
            let movements = store::movements(conn, id, before, rows).await?;
            // Every product has movements, so it is asked for where there are none.
            let exists = !movements.is_empty() || find_one(conn, id).await?.is_some();
            Ok(exists.then_some(movements))
        });
        let movements = found.await?.ok_or_else(|| not_found(id))?;
        let token = |last: &Movement| PageToken::encode(MOVEMENTS, &id.0, &last.seq);
        let (movements, next_page_token) = size.cut(movements, token);
        let movements = movements.iter().map(Into::into).collect();
        Ok(Response::new(ListStockMovementsResponse { movements, next_page_token }))
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

    /// What the cache knows of a product that a write may have changed, however the write was answered.
    fn forget(&self, id: ProductId) {
        if let Some(cache) = &self.cache {
            cache.forget(id);
        }
    }

    async fn read<T, F>(&self, work: F) -> Result<T, Status>
    where
        F: for<'c> SendAsyncFn<&'c mut Conn, db::Result<T>, Fut: Send> + Send,
    {
        self.db.read(work).await.map_err(|error| refuse_db(&error))
    }
}

/// Makes a product, in the transaction of its request id.
async fn create(
    conn: &mut Conn,
    id: ProductId,
    draft: Draft,
    trace: &Trace,
) -> db::Result<Verdict> {
    let moment = Moment { at: db::now_micros(), saga: None, trace };
    let (product, movement) = domain::Product::create(id, draft, moment.at);
    let mut writes = Script::default();
    store::insert(&mut writes, &product)?;
    store::append(&mut writes, vec![store::Moved { movement, saga: None }])?;
    outbox::append(&mut writes, &[wire::created(&product, &moment)])?;
    writes.run(conn).await?;
    let reply = CreateProductResponse { product: Some((&product).into()) };
    Ok(Verdict::Done(reply.encode_to_vec()))
}

async fn find_one(conn: &mut Conn, id: ProductId) -> db::Result<Option<domain::Product>> {
    Ok(store::find(conn, BTreeSet::from([id])).await?.remove(&id))
}

fn not_found(id: ProductId) -> Refusal {
    Refused::NotFound(vec![id]).into()
}

/// What an update changes: what its mask names.
fn change(request: &UpdateProductRequest) -> Result<Change, Refusal> {
    let paths = request.update_mask.iter().flat_map(|mask| &mask.paths);
    let mut change = Change { version: request.version.filter(|it| *it > 0), ..Change::default() };
    for path in paths {
        match path.as_str() {
            "name" => change.name = Some(request.name.clone()),
            "price" => change.price = Some(request.price),
            _ => return Err(bad_mask()),
        }
    }
    if change.name.is_none() && change.price.is_none() {
        return Err(bad_mask());
    }
    Ok(change)
}

fn bad_mask() -> Refusal {
    Refusal::invalid_field("update_mask", "must name at least one of name, price")
}

/// An update without what its mask does not name, so that equal changes are equal content.
fn update_content(id: ProductId, change: &Change) -> UpdateProductRequest {
    let named = [("name", change.name.is_some()), ("price", change.price.is_some())];
    let paths = named.into_iter().filter(|(_, named)| *named).map(|(path, _)| path.to_owned());
    UpdateProductRequest {
        request_id: String::new(),
        product_id: id.0,
        version: change.version,
        name: change.name.clone().unwrap_or_default(),
        price: change.price.unwrap_or_default(),
        update_mask: Some(FieldMask { paths: paths.collect() }),
    }
}
