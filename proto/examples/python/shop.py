"""A small client of the shop. It charges a wallet, issues a coupon, places orders and follows their
events, and carries on when the server restarts. Usage: shop.py PUBLIC ADMIN
"""

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import grpc
from commerce.checkout.v1.checkout_service_pb2 import (
    CHECKOUT_STATE_SUCCEEDED,
    CheckoutLine,
    PlacedOrder,
    PlaceOrderRequest,
)
from commerce.checkout.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from commerce.coupon.v1.coupon_admin_service_pb2 import CreateCouponRequest
from commerce.coupon.v1.coupon_admin_service_pb2_grpc import CouponAdminServiceStub
from commerce.coupon.v1.coupon_service_pb2 import (
    CANCEL_POLICY_RESTORE,
    IssueCouponRequest,
    PercentDiscount,
)
from commerce.coupon.v1.coupon_service_pb2_grpc import CouponServiceStub
from commerce.events.v1.event_service_pb2_grpc import EventServiceStub
from commerce.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest, OrderState
from commerce.order.v1.order_service_pb2_grpc import OrderServiceStub
from commerce.product.v1.product_admin_service_pb2 import CreateProductRequest
from commerce.product.v1.product_admin_service_pb2_grpc import ProductAdminServiceStub
from commerce.wallet.v1.wallet_service_pb2 import (
    ChargeWalletRequest,
    CreateWalletRequest,
    GetWalletRequest,
    ListWalletTransactionsRequest,
    WalletTransactionKind,
)
from commerce.wallet.v1.wallet_service_pb2_grpc import WalletServiceStub
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure

from client import answered, check, connect, detail, fail, reason, refused
from events import Events, check_events, follow


def main(public: grpc.Channel, admin: grpc.Channel) -> None:
    wallets = WalletServiceStub(public)
    coupons = CouponServiceStub(public)
    checkouts = CheckoutServiceStub(public)
    orders = OrderServiceStub(public)
    products = ProductAdminServiceStub(admin)
    campaigns = CouponAdminServiceStub(admin)

    # The back office creates two products and a coupon.
    mug = answered(
        products.CreateProduct,
        CreateProductRequest(request_id=new_id(), name="Mug", price_won=1_500, stock=1_000),
    ).product
    teapot = answered(
        products.CreateProduct,
        CreateProductRequest(request_id=new_id(), name="Teapot", price_won=40_000, stock=3),
    ).product
    coupon = answered(
        campaigns.CreateCoupon,
        CreateCouponRequest(
            request_id=new_id(),
            name="Opening day",
            percent=PercentDiscount(percent=10),
            quota=100,
            validity_days=7,
            cancel_policy=CANCEL_POLICY_RESTORE,
        ),
    ).coupon
    print(f"created products {mug.product_id} and {teapot.product_id}, coupon {coupon.coupon_id}")

    # A user opens a wallet and charges it. The client chooses the user's id. The same request_id is
    # the same request, however often it is sent: the money is added once.
    user = random_user()
    answered(wallets.CreateWallet, CreateWalletRequest(request_id=new_id(), user_id=user))
    charge = ChargeWalletRequest(request_id=new_id(), user_id=user, amount_won=1_000_000)
    for _ in range(2):
        response, call = answered(wallets.ChargeWallet.with_call, charge)
        balance = response.wallet.balance_won
        replayed = "idempotency-replayed" in dict(call.trailing_metadata())
        print(f"charged wallet {user}: balance {balance} won, replayed: {replayed}")
        check(balance == 1_000_000, "the charge was booked twice")

    # The user gets the coupon and orders with it.
    issue = IssueCouponRequest(request_id=new_id(), user_id=user, coupon_id=coupon.coupon_id)
    issued = answered(coupons.IssueCoupon, issue).issued_coupon
    print(f"issued coupon {issued.issued_coupon_id}, valid until {issued.valid_until_date}")

    def order(*lines: CheckoutLine, coupon_id: int | None = None) -> PlaceOrderRequest:
        """A new attempt to order takes a new request_id."""
        return PlaceOrderRequest(
            request_id=new_id(), user_id=user, lines=lines, coupon_id=coupon_id
        )

    first = place_order(checkouts, order(line(mug, 2), coupon_id=coupon.coupon_id))
    sums = first.total_won, first.discount_won, first.paid_won
    print("placed order {}: total {}, discount {}, paid {} won".format(first.order_id, *sums))
    check(sums == (3_000, 300, 2_700), "wrong sums")
    stored = answered(orders.GetOrder, GetOrderRequest(order_id=first.order_id, user_id=user)).order
    state = OrderState.Name(stored.state)
    print(f"read order {stored.order_id}: {state}, paid {stored.paid_won} won")
    check(stored.paid_won == first.paid_won, "the order reads back differently")
    ledger = ListWalletTransactionsRequest(user_id=user, page_size=1)
    for page in pages(wallets.ListWalletTransactions, ledger):
        for it in page.transactions:
            kind = WalletTransactionKind.Name(it.kind)
            print(f"transaction {it.seq}: {kind}, {it.amount_won:+} won")

    # Errors are told apart by their reason, never by their text.
    refused("INSUFFICIENT_BALANCE", checkouts.PlaceOrder, order(line(mug, 900)))
    error = refused(
        "INSUFFICIENT_STOCK", checkouts.PlaceOrder, order(line(mug, 5_000), line(teapot, 4))
    )
    for short in detail(error, PreconditionFailure).violations:
        print(f"  {short.subject}: {short.description}")
    refused(
        "COUPON_ALREADY_ISSUED",
        coupons.IssueCoupon,
        IssueCouponRequest(request_id=new_id(), user_id=user, coupon_id=coupon.coupon_id),
    )
    refused(
        "REQUEST_ID_REUSED",
        wallets.ChargeWallet,
        ChargeWalletRequest(request_id=charge.request_id, user_id=user, amount_won=2_000),
    )
    error = refused(
        "INVALID_FIELD",
        products.CreateProduct,
        CreateProductRequest(request_id=new_id(), name="", price_won=-1),
    )
    for wrong in detail(error, BadRequest).field_violations:
        print(f"  {wrong.field} {wrong.description}")
    refused("WALLET_NOT_FOUND", wallets.GetWallet, GetWalletRequest(user_id=random_user()))

    # Orders go on, and so does the stream of their events, while the server restarts.
    events: Events = Events(maxsize=1_000)
    threading.Thread(target=follow, args=(EventServiceStub(admin), events), daemon=True).start()
    print("READY")
    count = int(os.environ.get("ORDERS", "30"))
    placed = {first.order_id}
    for number in range(1, count + 1):
        order_id = place_order(checkouts, order(line(mug, 1))).order_id
        placed.add(order_id)
        print(f"order {number} of {count}: {order_id}")

    # Every order exists once, is paid once and has one event.
    check(len(placed) == count + 1, "two requests were answered with the same order")
    history = pages(orders.ListOrders, ListOrdersRequest(user_id=user, page_size=10))
    listed = [it.order_id for page in history for it in page.orders]
    check(sorted(listed) == sorted(placed), f"listed are {listed}, placed were {placed}")
    balance = answered(wallets.GetWallet, GetWalletRequest(user_id=user)).wallet.balance_won
    check(balance == 1_000_000 - 2_700 - count * 1_500, f"the balance is {balance} won")
    print(f"listed {len(listed)} orders, balance {balance} won")
    check_events(events, user, placed)
    print(f"events of {len(placed)} orders and their payments arrived, each once")
    print("OK")


def place_order(checkouts: CheckoutServiceStub, request: PlaceOrderRequest) -> PlacedOrder:
    """Places an order. RUNNING says that the deadline came before the end of the checkout: the same
    request joins it.
    """
    while True:
        response = answered(checkouts.PlaceOrder, request)
        if response.state == CHECKOUT_STATE_SUCCEEDED:
            return response.order


def pages(call: Callable[[Any], Any], request: Any) -> Iterator[Any]:
    """Yields the pages of a list."""
    while True:
        page = answered(call, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def line(product: Any, quantity: int) -> CheckoutLine:
    return CheckoutLine(product_id=product.product_id, quantity=quantity)


def new_id() -> str:
    return str(uuid4())


def random_user() -> int:
    """Returns an id from the range that the contract allows: positive and below 2^53."""
    return random.randrange(1, 2**53)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        fail("usage: shop.py PUBLIC ADMIN, each as HOST:PORT")
    signal.signal(signal.SIGALRM, lambda *_: fail("not done after 120 s"))
    signal.alarm(120)
    with connect(sys.argv[1]) as public, connect(sys.argv[2]) as admin:
        try:
            main(public, admin)
        except grpc.RpcError as error:
            fail(f"{reason(error) or error.code().name}: {error.details()}")
