//! The calls of the back office.

use crate::domain::{self, CouponId, Terms};
use crate::{Coupon, ENCODING, store, wire};
use ::participant::{Moment, Name, Trace, Verdict, content_hash};
use ::service::{answer, refuse_db, request_key, trace};
use api::Check;
use api::coupon::v1::coupon_admin_service_server::CouponAdminService;
use api::coupon::v1::{CreateCouponRequest, CreateCouponResponse};
use db::{Conn, Script};
use events::outbox;
use prost::Message;
use tonic::{Request, Response, Status};

/// The number of `CreateCoupon` in idempotency rows; it never changes. `IssueCoupon` has 2.
const CREATE: i8 = 1;

#[tonic::async_trait]
impl CouponAdminService for Coupon {
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
