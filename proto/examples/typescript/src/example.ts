// A shopper's and the back office's calls, and what makes them safe when the server restarts:
// errors by their reason, repeats with the same request_id, and a stream of events with a cursor.
//
// Usage: node dist/example.js PUBLIC ADMIN        (HOST:PORT each; ORDERS=30 in the environment)

import assert from "node:assert/strict";
import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { client, connect, refusal } from "./client.js";
import { UserEvents } from "./events.js";
import { CheckoutServiceDefinition, CheckoutState, PlaceOrderRequest } from "./gen/commerce/checkout/v1/checkout_service.js";
import { CouponAdminServiceDefinition } from "./gen/commerce/coupon/v1/coupon_admin_service.js";
import { CancelPolicy, CouponServiceDefinition } from "./gen/commerce/coupon/v1/coupon_service.js";
import { EventServiceDefinition } from "./gen/commerce/events/v1/event_service.js";
import { OrderServiceDefinition, OrderState } from "./gen/commerce/order/v1/order_service.js";
import { ProductAdminServiceDefinition } from "./gen/commerce/product/v1/product_admin_service.js";
import { WalletServiceDefinition, WalletTransaction } from "./gen/commerce/wallet/v1/wallet_service.js";

const [publicAddress, adminAddress] = process.argv.slice(2);
assert(publicAddress && adminAddress, "usage: example.js PUBLIC ADMIN");
const orderCount = Number(process.env.ORDERS ?? 30);

const shop = connect(publicAddress);
const wallets = client(WalletServiceDefinition, shop);
const coupons = client(CouponServiceDefinition, shop);
const checkouts = client(CheckoutServiceDefinition, shop);
const orders = client(OrderServiceDefinition, shop);

const backOffice = connect(adminAddress);
const productAdmin = client(ProductAdminServiceDefinition, backOffice);
const couponAdmin = client(CouponAdminServiceDefinition, backOffice);
const events = client(EventServiceDefinition, backOffice);

const price = 10_000;
const charge = (orderCount + 2) * price;
const userId = randomInt(1, 2 ** 47);
const placed = new Set<number>(); // The ids of the orders that were answered as placed.
const received = new UserEvents(userId);

/** Sends a request that has a new id, and waits for its end. */
async function placeOrder(order: Omit<PlaceOrderRequest, "requestId">) {
  const request = { ...order, requestId: randomUUID() };
  for (;;) {
    const answer = await checkouts.placeOrder(request);
    if (answer.state === CheckoutState.SUCCEEDED && answer.order) return answer.order;
    // RUNNING: the deadline came before the end. The same request joins the checkout.
  }
}

const buy = (userId: number, productId: number, quantity: number, couponId?: number) =>
  placeOrder({ userId, lines: [{ productId, quantity }], couponId, expectedTotalWon: undefined });

async function firstOrder() {
  const stock = orderCount + 2;
  const { product } = await productAdmin.createProduct({ requestId: randomUUID(), name: "Tea", priceWon: price, stock });
  const { coupon } = await couponAdmin.createCoupon({
    requestId: randomUUID(), name: "Opening day", percent: { percent: 10 }, quota: 100, validityDays: 7, cancelPolicy: CancelPolicy.RESTORE,
  });
  assert(product && coupon);
  const { productId } = product, { couponId } = coupon;
  console.log(`created product ${productId} and coupon ${couponId}`);

  await wallets.createWallet({ requestId: randomUUID(), userId });
  const chargeId = randomUUID();
  const charged = await wallets.chargeWallet({ requestId: chargeId, userId, amountWon: charge });
  console.log(`charged the wallet of user ${userId}: ${charged.wallet?.balanceWon} won`);

  const { issuedCoupon } = await coupons.issueCoupon({ requestId: randomUUID(), userId, couponId });
  console.log(`issued coupon ${issuedCoupon?.issuedCouponId}`);

  const order = await buy(userId, productId, 2, couponId);
  placed.add(order.orderId);
  assert.deepEqual([order.totalWon, order.discountWon, order.paidWon], [20_000, 2_000, 18_000]);
  console.log(`placed order ${order.orderId}: ${order.totalWon} - ${order.discountWon} = ${order.paidWon} won`);

  const read = await orders.getOrder({ orderId: order.orderId, userId });
  assert.equal(read.order?.state, OrderState.CONFIRMED);
  console.log(`read order ${order.orderId}: ${OrderState[read.order.state]}`);

  const ledger: WalletTransaction[] = [];
  for (let pageToken = ""; ; ) {
    const page = await wallets.listWalletTransactions({ userId, pageSize: 1, pageToken });
    ledger.push(...page.transactions);
    pageToken = page.nextPageToken;
    if (!pageToken) break;
  }
  assert.deepEqual(ledger.map((entry) => entry.amountWon), [-18_000, charge]);
  console.log(`listed ${ledger.length} wallet transactions, one a page`);
  return { productId, couponId, chargeId };
}

/** Makes calls that are refused. The reason decides what to do, never the text. */
async function errors(productId: number, couponId: number, chargeId: string) {
  const poorUserId = randomInt(1, 2 ** 47);
  await wallets.createWallet({ requestId: randomUUID(), userId: poorUserId });
  const calls = [
    () => buy(poorUserId, productId, 1),
    () => buy(userId, productId, 9999),
    () => coupons.issueCoupon({ requestId: randomUUID(), userId, couponId }),
    () => wallets.chargeWallet({ requestId: chargeId, userId, amountWon: charge + 1 }),
    () => orders.listOrders({ userId: 0, pageSize: -1 }),
    () => wallets.getWallet({ userId: randomInt(1, 2 ** 47) }),
  ];
  const reasons: string[] = [];
  for (const call of calls) {
    const { reason, metadata, violations, fields } = await call().then(() => assert.fail("the call was not refused"), refusal);
    reasons.push(reason);
    switch (reason) {
      case "INSUFFICIENT_BALANCE":
        console.log(`${reason}: ${metadata.available_won} of ${metadata.required_won} won`);
        break;
      case "INSUFFICIENT_STOCK":
        for (const it of violations) console.log(`${reason}: ${it.subject}: ${it.description}`);
        break;
      case "COUPON_ALREADY_ISSUED":
        console.log(`${reason}: ${metadata.issued_coupon_id}`);
        break;
      case "INVALID_FIELD":
        console.log(`${reason}: ${fields.map((it) => it.field).join(", ")}`);
        break;
      default:
        console.log(reason);
    }
  }
  assert.deepEqual(reasons, [
    "INSUFFICIENT_BALANCE", "INSUFFICIENT_STOCK", "COUPON_ALREADY_ISSUED", "REQUEST_ID_REUSED", "INVALID_FIELD", "WALLET_NOT_FOUND",
  ]);
}

/** Each order exists once, was paid once and was told once. */
async function check() {
  const listed: number[] = [];
  for (let pageToken = ""; ; ) {
    const page = await orders.listOrders({ userId, state: OrderState.CONFIRMED, pageSize: 10, pageToken });
    listed.push(...page.orders.map((order) => order.orderId));
    pageToken = page.nextPageToken;
    if (!pageToken) break;
  }
  const sorted = (ids: Iterable<number>) => [...ids].sort((a, b) => a - b);
  assert.equal(placed.size, 1 + orderCount);
  assert.deepEqual(sorted(listed), sorted(placed), "the orders are not those that were placed");
  console.log(`${listed.length} orders exist`);

  const { wallet } = await wallets.getWallet({ userId });
  assert.equal(wallet?.balanceWon, charge - 18_000 - orderCount * price, "the balance is wrong");
  console.log(`the balance is ${wallet.balanceWon} won`);

  while (received.confirmed.size < placed.size || received.debits.length < placed.size) await sleep(50);
  assert.deepEqual(sorted(received.confirmed), sorted(placed), "the events are not those of the orders");
  assert.deepEqual(received.repeated, [], "events came more than once");
  // Entry 1 is the charge, and each order has the next one.
  assert.deepEqual(received.debits, listed.map((_, index) => index + 2), "the ledger's events have a gap");
  console.log(`received ${received.ids.size} events, each once; those of the wallet have no gap`);
}

function fail(error: unknown) {
  console.error(error);
  process.exit(1);
}

setTimeout(() => fail("error: gave up after 120 s"), 120_000).unref();
try {
  const { productId, couponId, chargeId } = await firstOrder();
  await errors(productId, couponId, chargeId);
  received.follow(events).catch(fail);
  console.log("READY");
  for (let i = 0; i < orderCount; i++) {
    placed.add((await buy(userId, productId, 1)).orderId);
    console.log(`order ${i + 1} of ${orderCount}`);
    await sleep(100); // Leaves time for a restart of the server in the middle.
  }
  await check();
  console.log("OK");
  process.exit(0);
} catch (error) {
  fail(error);
}
