//! The calls of `ProductAdminService`: the back office creates and changes products.

use crate::desk::Op;
use crate::domain::{self, Change, Draft, Movement, ProductId};
use crate::forgetting::{self, Forgetting};
use crate::service::not_found;
use crate::{Product, store, wire};
use ::participant::{Moment, Name, Told, Trace, Verdict, content_hash};
use ::service::{answer, refuse_db, request_key, trace};
use api::product::v1::product_admin_service_server::ProductAdminService;
use api::product::v1::{
    AdjustStockRequest, AdjustStockResponse, CreateProductRequest, CreateProductResponse,
    ListStockMovementsRequest, ListStockMovementsResponse, UpdateProductRequest,
    UpdateProductResponse,
};
use api::{Check, Refusal};
use db::{Conn, Script};
use events::outbox;
use platform::page::{PageSize, PageToken};
use prost::Message;
use prost_types::FieldMask;
use std::collections::BTreeSet;
use tonic::{Request, Response, Status};

/// The calls' numbers in idempotency rows, which never change.
const CREATE: i8 = 1;
const UPDATE: i8 = 2;
const ADJUST: i8 = 3;

/// The encoding of requests that idempotency rows digest.
const ENCODING: u8 = 1;

/// The list that page tokens belong to.
const MOVEMENTS: &str = "ListStockMovements";

#[tonic::async_trait]
impl ProductAdminService for Product {
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let key = request_key(&request.request_id, Name::default(), CREATE)?;
        let content = CreateProductRequest { request_id: String::new(), ..request };
        let hash = content_hash(ENCODING, &content);
        let CreateProductRequest { name, price_won: price, stock, .. } = content;
        let id = ProductId(self.ids.next().await.map_err(|error| refuse_db(&error))?);
        let (draft, trace, db) = (Draft { name, price, stock }, trace(), self.db.clone());
        let work = async move |conn: &mut Conn| create(conn, id, draft, &trace).await;
        let once = async move {
            let told = ::participant::once(&db, key, hash, work).await;
            told.map_err(|error| refuse_db(&error))
        };
        answer(self.write(id, once).await?)
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
        let writes = self.writes.clone();
        let op = Op::Update { id, change };
        answer(self.write(id, async move { writes.request(id.0, key, hash, op).await }).await?)
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
        let (id, writes) = (ProductId(product_id), self.writes.clone());
        let op = Op::Adjust { id, delta, reason };
        answer(self.write(id, async move { writes.request(id.0, key, hash, op).await }).await?)
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
    /// Runs a write of a product that the cache forgets then, however the write is answered.
    async fn write(
        &self,
        id: ProductId,
        write: impl Future<Output = Result<Told, Status>> + Send + 'static,
    ) -> Result<Told, Status> {
        let Some(cache) = self.cache.clone() else { return write.await };
        let run = async move {
            let _forgetting = Forgetting { cache, products: vec![id] };
            write.await
        };
        forgetting::to_its_end(&self.tasks, run).await
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

/// What an update changes: what its mask names.
fn change(request: &UpdateProductRequest) -> Result<Change, Refusal> {
    let paths = request.update_mask.iter().flat_map(|mask| &mask.paths);
    let mut change = Change { version: request.version.filter(|it| *it > 0), ..Change::default() };
    for path in paths {
        match path.as_str() {
            "name" => change.name = Some(request.name.clone()),
            "price_won" => change.price = Some(request.price_won),
            _ => return Err(bad_mask()),
        }
    }
    if change.name.is_none() && change.price.is_none() {
        return Err(bad_mask());
    }
    Ok(change)
}

fn bad_mask() -> Refusal {
    Refusal::invalid_field("update_mask", "must name at least one of name, price_won")
}

/// An update without what its mask does not name, so that equal changes are equal content.
fn update_content(id: ProductId, change: &Change) -> UpdateProductRequest {
    let named = [("name", change.name.is_some()), ("price_won", change.price.is_some())];
    let paths = named.into_iter().filter(|(_, named)| *named).map(|(path, _)| path.to_owned());
    UpdateProductRequest {
        request_id: String::new(),
        product_id: id.0,
        version: change.version,
        name: change.name.clone().unwrap_or_default(),
        price_won: change.price.unwrap_or_default(),
        update_mask: Some(FieldMask { paths: paths.collect() }),
    }
}
