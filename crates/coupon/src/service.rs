//! The public calls.

use crate::desk::Op;
use crate::domain::{self, CouponId, IssuedId, Refused, Terms, UserId};
use crate::{Coupon, store, wire};
use ::participant::{Moment, Name, Told, Trace, Verdict, content_hash};
use ::service::{answer, refuse_db, request_key, trace};
use api::coupon::v1::coupon_service_server::CouponService;
use api::coupon::v1::{
    CreateCouponRequest, CreateCouponResponse, GetCouponRequest, GetCouponResponse,
    GetIssuedCouponRequest, GetIssuedCouponResponse, IssueCouponRequest, IssueCouponResponse,
    ListCouponsRequest, ListCouponsResponse, ListIssuedCouponsRequest, ListIssuedCouponsResponse,
};
use api::{Check, Refusal};
use db::{Conn, Script, SendAsyncFn};
use events::outbox;
use platform::page::{PageSize, PageToken, Place};
use prost::Message;
use tonic::{Request, Response, Status};

/// The calls' numbers in idempotency rows, stable for ever.
const CREATE: i8 = 1;
const ISSUE: i8 = 2;

/// The encoding of requests that idempotency rows digest.
const ENCODING: u8 = 1;

/// The lists that page tokens belong to.
const COUPONS: &str = "ListCoupons";
const ISSUED_COUPONS: &str = "ListIssuedCoupons";

#[tonic::async_trait]
impl CouponService for Coupon {
    async fn create_coupon(
        &self,
        request: Request<CreateCouponRequest>,
    ) -> Result<Response<CreateCouponResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let terms = wire::terms(&request)?;
        let key = request_key(&request.request_id, Name::default(), CREATE)?;
        let content = CreateCouponRequest { request_id: String::new(), ..request };
        let hash = content_hash(ENCODING, &content);
        let id = CouponId(self.campaign_ids.next().await.map_err(|error| refuse_db(&error))?);
        let trace = trace();
        let work = async move |conn: &mut Conn| create(conn, id, terms, &trace).await;
        let outcome = ::participant::once(&self.db, key, hash, work).await;
        answer(outcome.map_err(|error| refuse_db(&error))?)
    }

    async fn get_coupon(
        &self,
        request: Request<GetCouponRequest>,
    ) -> Result<Response<GetCouponResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let id = CouponId(request.coupon_id);
        let found = self.read(async move |conn: &mut Conn| store::find(conn, id).await).await?;
        let coupon = found.ok_or(Refused::NotFound(id)).map_err(Refusal::from)?;
        Ok(Response::new(GetCouponResponse { coupon: Some((&coupon).into()) }))
    }

    async fn list_coupons(
        &self,
        request: Request<ListCouponsRequest>,
    ) -> Result<Response<ListCouponsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let size = PageSize::from_request(request.page_size);
        let before = PageToken::decode(COUPONS, &(), &request.page_token)?;
        let before = before.unwrap_or_else(Place::newest);
        let rows = size.rows_to_read();
        let found = self.read(async move |conn: &mut Conn| store::page(conn, before, rows).await);
        let token = |last: &domain::Coupon| {
            PageToken::encode(COUPONS, &(), &Place { at: last.created_at, id: last.id.0 })
        };
        let (coupons, next_page_token) = size.cut(found.await?, token);
        let coupons = coupons.iter().map(Into::into).collect();
        Ok(Response::new(ListCouponsResponse { coupons, next_page_token }))
    }

    async fn issue_coupon(
        &self,
        request: Request<IssueCouponRequest>,
    ) -> Result<Response<IssueCouponResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let (coupon, user) = (CouponId(request.coupon_id), UserId(request.user_id));
        let key = request_key(&request.request_id, user.0, ISSUE)?;
        let content = IssueCouponRequest { request_id: String::new(), ..request };
        let hash = content_hash(ENCODING, &content);
        let known = self.users.contains(user).await?;
        let heard = if known { self.sold_out.heard_by(coupon).await } else { None };
        // Drawn here, for the lane's own transaction must not wait for another one.
        let id = IssuedId(self.issued_ids.next().await.map_err(|error| refuse_db(&error))?);
        let op = Op::Issue { coupon, user, known, sold_out: heard.is_some(), id };
        let told = self.writes.request(coupon.0, key, hash, op).await?;
        match heard {
            Some(heard) if !is_replayed(&told) => heard.confirmed(&told),
            _ => self.sold_out.learn(coupon, &told),
        }
        answer(told)
    }

    async fn get_issued_coupon(
        &self,
        request: Request<GetIssuedCouponRequest>,
    ) -> Result<Response<GetIssuedCouponResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let id = IssuedId(request.issued_coupon_id);
        let found =
            self.read(async move |conn: &mut Conn| store::find_issued(conn, id).await).await?;
        let issued = found.ok_or(Refused::IssuedNotFound(id)).map_err(Refusal::from)?;
        Ok(Response::new(GetIssuedCouponResponse { issued_coupon: Some((&issued).into()) }))
    }

    async fn list_issued_coupons(
        &self,
        request: Request<ListIssuedCouponsRequest>,
    ) -> Result<Response<ListIssuedCouponsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let user = UserId(request.user_id);
        let size = PageSize::from_request(request.page_size);
        let before = PageToken::decode(ISSUED_COUPONS, &user.0, &request.page_token)?;
        let before = before.unwrap_or_else(Place::newest);
        let rows = size.rows_to_read();
        let found =
            self.read(async move |conn: &mut Conn| store::page_of(conn, user, before, rows).await);
        let token = |last: &domain::Issued| {
            let place = Place { at: last.issued_at, id: last.id.0 };
            PageToken::encode(ISSUED_COUPONS, &user.0, &place)
        };
        let (issued, next_page_token) = size.cut(found.await?, token);
        let issued_coupons = issued.iter().map(Into::into).collect();
        Ok(Response::new(ListIssuedCouponsResponse { issued_coupons, next_page_token }))
    }
}

impl Coupon {
    async fn read<T, F>(&self, work: F) -> Result<T, Status>
    where
        F: for<'c> SendAsyncFn<&'c mut Conn, db::Result<T>, Fut: Send> + Send,
    {
        self.db.read(work).await.map_err(|error| refuse_db(&error))
    }
}

fn is_replayed(told: &Told) -> bool {
    matches!(told, Told::Done { replayed: true, .. } | Told::Rejected { replayed: true, .. })
}

/// Makes a campaign, in the transaction of its request id.
async fn create(conn: &mut Conn, id: CouponId, terms: Terms, trace: &Trace) -> db::Result<Verdict> {
    let moment = Moment { at: db::now_micros(), saga: None, trace };
    let coupon = domain::Coupon::create(id, terms, moment.at);
    let mut writes = Script::default();
    store::insert(&mut writes, &coupon)?;
    outbox::append(&mut writes, &[wire::created(&coupon, &moment)])?;
    writes.run(conn).await?;
    let reply = CreateCouponResponse { coupon: Some((&coupon).into()) };
    Ok(Verdict::Done(reply.encode_to_vec()))
}
