//! The reasons of all errors: stable names that clients may branch on.

use tonic::Code;

/// One line a reason: its variant, name, code, the resource that it is about with the metadata key
/// that identifies it, and its text, in which `{key}` stands for the metadata of that key.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $code:ident, $resource:expr, $text:literal;)+) => {
        /// Why a call was refused. Each has one gRPC code, and travels as `google.rpc.ErrorInfo`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on the wire, in `UPPER_SNAKE`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The gRPC code of an error with this reason.
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)+ }
            }

            /// What the reason is about, and the metadata key that says which.
            pub(crate) const fn resource(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => $resource,)+ }
            }

            /// The text, in which `{key}` stands for the metadata of that key.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The reason with this name on the wire.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

const WALLET: (&str, &str) = ("wallet", "user_id");
const PRODUCT: (&str, &str) = ("product", "product_ids");
const COUPON: (&str, &str) = ("coupon", "coupon_id");
const ISSUED_COUPON: (&str, &str) = ("issued_coupon", "issued_coupon_id");
const ORDER: (&str, &str) = ("order", "order_id");
const CHECKOUT: (&str, &str) = ("checkout", "checkout_id");
const SAGA: (&str, &str) = ("saga", "saga_id");
const REQUEST: (&str, &str) = ("request", "field");
const EVENTS: (&str, &str) = ("events", "source");
const SERVICE: (&str, &str) = ("service", "service");

reasons! {
    /// No such user: every user has a wallet. Metadata: `user_id`.
    WalletNotFound = "WALLET_NOT_FOUND", NotFound, WALLET, "user {user_id} has no wallet";
    /// No such products. Metadata: `product_ids`, separated by commas.
    ProductNotFound = "PRODUCT_NOT_FOUND", NotFound, PRODUCT, "no product {product_ids}";
    /// No such coupon campaign. Metadata: `coupon_id`.
    CouponNotFound = "COUPON_NOT_FOUND", NotFound, COUPON, "no coupon {coupon_id}";
    /// No such issued coupon. Metadata: `issued_coupon_id`, or `coupon_id` and `user_id`.
    IssuedCouponNotFound = "ISSUED_COUPON_NOT_FOUND", NotFound, ISSUED_COUPON,
        "no such coupon was issued";
    /// No such order of this user. Metadata: `order_id`.
    OrderNotFound = "ORDER_NOT_FOUND", NotFound, ORDER, "no order {order_id} of this user";
    /// No such checkout. Metadata: `checkout_id`, if it was named by that.
    CheckoutNotFound = "CHECKOUT_NOT_FOUND", NotFound, CHECKOUT, "no such checkout";
    /// No such saga. Metadata: `saga_id`.
    SagaNotFound = "SAGA_NOT_FOUND", NotFound, SAGA, "no saga {saga_id}";

    /// A charge of too little. Metadata: `field`, `minimum`.
    ChargeAmountBelowMinimum = "CHARGE_AMOUNT_BELOW_MINIMUM", InvalidArgument, REQUEST,
        "a charge is at least {minimum} won";
    /// A line's quantity is out of range. Metadata: `field`, and `minimum` or `maximum`.
    InvalidQuantity = "INVALID_QUANTITY", InvalidArgument, REQUEST, "{field} is out of range";
    /// An order without lines. Metadata: `field`, `minimum`.
    EmptyOrder = "EMPTY_ORDER", InvalidArgument, REQUEST, "an order has at least one line";
    /// An order with too many lines. Metadata: `field`, `maximum`.
    TooManyLines = "TOO_MANY_LINES", InvalidArgument, REQUEST,
        "an order has at most {maximum} lines";
    /// The page token is none that this call gave out for these filters. Metadata: `field`.
    InvalidPageToken = "INVALID_PAGE_TOKEN", InvalidArgument, REQUEST,
        "the page token does not belong to this call and its filters";
    /// A field is outside its documented range. Metadata: `field`, the path of the first.
    InvalidField = "INVALID_FIELD", InvalidArgument, REQUEST, "{field} is invalid";
    /// A mutating call came without a request id. Metadata: `field`.
    RequestIdRequired = "REQUEST_ID_REQUIRED", InvalidArgument, REQUEST, "{field} is required";
    /// The request id was used before, with other content. Metadata: `request_id`.
    RequestIdReused = "REQUEST_ID_REUSED", InvalidArgument, ("request", "request_id"),
        "request id {request_id} was used before with other content";
    /// The bytes are no message of the call.
    MalformedRequest = "MALFORMED_REQUEST", InvalidArgument, REQUEST,
        "the request is not a message of this call";
    /// The message exceeds the limit. Metadata: `maximum`, in bytes.
    MessageTooLarge = "MESSAGE_TOO_LARGE", InvalidArgument, REQUEST,
        "a message is at most {maximum} bytes";
    /// The headers of the call exceed the limit. Metadata: `maximum`, in bytes as HTTP/2 counts
    /// them: names, values and 32 for each.
    HeadersTooLarge = "HEADERS_TOO_LARGE", InvalidArgument, REQUEST,
        "the headers of a call are at most {maximum} bytes";
    /// The content type is not that of gRPC with protobuf: nothing ran. Metadata: `content_type`.
    ContentTypeNotSupported = "CONTENT_TYPE_NOT_SUPPORTED", InvalidArgument, REQUEST,
        "the content type is application/grpc, not {content_type}";
    /// The page that calls is of an origin that is not allowed: nothing ran. Metadata: `origin`.
    OriginNotAllowed = "ORIGIN_NOT_ALLOWED", PermissionDenied, REQUEST,
        "pages of {origin} may not call";

    /// Less in stock than wanted. Metadata: `product_ids`, `available`, `required`, each a list
    /// separated by commas, in the same order.
    InsufficientStock = "INSUFFICIENT_STOCK", FailedPrecondition, PRODUCT,
        "not enough in stock of product {product_ids}: {available} of {required}";
    /// A stock would exceed its limit. Metadata: `product_ids`, `limit`.
    StockLimitExceeded = "STOCK_LIMIT_EXCEEDED", FailedPrecondition, PRODUCT,
        "the stock of product {product_ids} would exceed {limit}";
    /// Less money than wanted. Metadata: `available_won`, `required_won`.
    InsufficientBalance = "INSUFFICIENT_BALANCE", FailedPrecondition, WALLET,
        "the balance is {available_won} won, {required_won} are needed";
    /// A balance would reach its limit. Metadata: `limit_won`.
    BalanceLimitExceeded = "BALANCE_LIMIT_EXCEEDED", FailedPrecondition, WALLET,
        "the balance must stay below {limit_won} won";
    /// The lines do not cost what the client expects. Metadata: `expected_won`, `actual_won`.
    PriceChanged = "PRICE_CHANGED", FailedPrecondition, PRODUCT,
        "the total is {actual_won} won, not the expected {expected_won}";
    /// The coupon is used, forfeited or expired, or would take nothing off this order: `state` is
    /// `USED`, `FORFEITED`, `EXPIRED` or `DISCOUNT_IS_ZERO`. Metadata: `issued_coupon_id`, `state`.
    CouponNotUsable = "COUPON_NOT_USABLE", FailedPrecondition, ISSUED_COUPON,
        "coupon {issued_coupon_id} cannot be used: {state}";
    /// The whole quota is issued. Metadata: `coupon_id`, `quota`.
    CouponSoldOut = "COUPON_SOLD_OUT", FailedPrecondition, COUPON, "coupon {coupon_id} is sold out";
    /// Not the time in which the coupon is issued. Metadata: `coupon_id`, and those of
    /// `issuable_from` and `issuable_until` that it has.
    CouponNotIssuable = "COUPON_NOT_ISSUABLE", FailedPrecondition, COUPON,
        "coupon {coupon_id} is not issued at this time";
    /// The order is cancelled, or being cancelled by another request. Metadata: `order_id`,
    /// `state`, `saga_id` of that cancel.
    OrderNotCancellable = "ORDER_NOT_CANCELLABLE", FailedPrecondition, ORDER,
        "order {order_id} cannot be cancelled: it is {state}";
    /// The saga has ended. Metadata: `saga_id`, `state`.
    SagaAlreadyEnded = "SAGA_ALREADY_ENDED", FailedPrecondition, SAGA,
        "saga {saga_id} has ended: it is {state}";
    /// The saga's pivot is open, or a step that may have been sent has no row. Metadata:
    /// `saga_id`, `step`.
    SagaNotResolvable = "SAGA_NOT_RESOLVABLE", FailedPrecondition, SAGA,
        "saga {saga_id} cannot be resolved while {step} is open";
    /// This process does not have the role whose events were asked for. Metadata: `source`.
    EventsNotHere = "EVENTS_NOT_HERE", FailedPrecondition, EVENTS,
        "the events of {source} are not served here: ask a process with the role {source}";
    /// Events that follow the place were deleted, their retention being over: begin again without
    /// `cursor`. Metadata: `source`, `shard`, `position`, and `oldest`, the first position of the
    /// shard that is retained, or `none`.
    EventsPurged = "EVENTS_PURGED", OutOfRange, EVENTS,
        "events after {position} of shard {shard} of {source} are deleted, the oldest is {oldest}: begin again without `cursor`";

    /// The user has the coupon by another request. Metadata: `issued_coupon_id`.
    CouponAlreadyIssued = "COUPON_ALREADY_ISSUED", AlreadyExists, ISSUED_COUPON,
        "the user has this coupon: {issued_coupon_id}";
    /// The user has a wallet by another request. Metadata: `user_id`.
    WalletAlreadyExists = "WALLET_ALREADY_EXISTS", AlreadyExists, WALLET,
        "user {user_id} has a wallet";

    /// The checkout was ended by its own deadline, an operator, or a step that can never work.
    /// Metadata: `cause`, such as `DEADLINE_EXCEEDED` or `OPERATOR`.
    SagaAborted = "SAGA_ABORTED", Aborted, CHECKOUT, "the checkout was aborted: {cause}";
    /// The product has another version than expected. Metadata: `expected`, `actual`.
    VersionMismatch = "VERSION_MISMATCH", Aborted, PRODUCT,
        "the version is {actual}, not the expected {expected}";

    /// Too much to do; nothing happened. Metadata: `retry_after_ms`.
    Overloaded = "OVERLOADED", ResourceExhausted, SERVICE,
        "overloaded, nothing was done: try again in {retry_after_ms} ms";

    /// The service cannot be reached or cannot say what happened: repeat the same request id.
    Unavailable = "UNAVAILABLE", Unavailable, SERVICE,
        "unavailable for the moment: repeat the same request";
    /// The server ended a stream as planned: ask again with the last cursor. Metadata: `cause`, which is
    /// `SHUTDOWN` or `MAX_AGE`.
    StreamEnded = "STREAM_ENDED", Unavailable, EVENTS,
        "the stream has ended ({cause}): ask again with the last cursor";
    /// The call's deadline passed before its outcome was known: repeat the same request id.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, SERVICE,
        "the deadline passed before the outcome was known: repeat the same request";
    /// The caller went away.
    Cancelled = "CANCELLED", Cancelled, SERVICE, "the caller cancelled the call";
    /// No such call, or not offered here.
    Unimplemented = "UNIMPLEMENTED", Unimplemented, SERVICE, "this call is not offered here";
    /// Messages in this encoding are not read here. Metadata: `encoding`, and `accepted`, separated by
    /// commas.
    EncodingNotSupported = "ENCODING_NOT_SUPPORTED", Unimplemented, REQUEST,
        "messages are encoded as one of {accepted}, not as {encoding}";
    /// A fault of the service itself.
    Internal = "INTERNAL", Internal, SERVICE, "the service failed";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_its_own_and_parses_back() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("NO_SUCH_REASON"), None);
    }
}
