// The flow of a shopper in a sale, as an open model: best sellers, one product of the list, a second's thought, one order.
// ghz/k6 runs it. RATE multiplies the profile's rates, TIME the length of its stages.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import { Rate } from 'k6/metrics';

const ADDRESS = __ENV.ADDRESS || '127.0.0.1:50051';
const USERS = Number(__ENV.USERS || 10000);
const RATE = Number(__ENV.RATE || 1);
const TIME = Number(__ENV.TIME || 1);

const rate = (iterations) => Math.round(iterations * RATE);
const seconds = (length) => `${Math.max(1, Math.round(length * TIME))}s`;

// An iteration lasts little more than its second of thought, so this is more than half again what the profile needs.
const vus = Math.ceil(500 * RATE);

export const options = {
  scenarios: {
    sale: {
      executor: 'ramping-arrival-rate',
      startRate: rate(50),
      timeUnit: '1s',
      preAllocatedVUs: vus,
      maxVUs: 2 * vus,
      stages: [
        { target: rate(100), duration: seconds(45) },
        { target: rate(300), duration: seconds(60) },
        { target: rate(300), duration: seconds(90) },
        { target: 0, duration: seconds(30) },
      ],
    },
  },
  thresholds: {
    grpc_req_duration: ['p(95)<500'],
    'grpc_req_duration{kind:read}': ['p(95)<400'],
    'grpc_req_duration{kind:order}': ['p(95)<800'],
    failed: ['rate<0.05'],
    // Orders alone, or the reads would hide them.
    'failed{kind:order}': ['rate<0.05'],
    // An order that is still running when its call is answered is no error, but no order yet either.
    checks: ['rate>0.95'],
    dropped_iterations: ['count==0'],
  },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
};

const failed = new Rate('failed');
const client = new grpc.Client();
client.load(
  ['../proto'],
  'commerce/checkout/v1/checkout_service.proto',
  'commerce/product/v1/product_service.proto',
  'commerce/ranking/v1/ranking_service.proto',
);
let connected = false;
// A shopper tells the first error alone.
let warned = false;

function call(kind, method, message) {
  const params = { timeout: '10s', tags: { kind } };
  const answer = client.invoke(`commerce.${method}`, message, params);
  const good = answer !== null && answer.status === grpc.StatusOK;
  failed.add(!good, { kind });
  if (!good && !warned) console.warn(`${method}: ${JSON.stringify(answer && answer.error)}`);
  warned ||= !good;
  return good ? answer.message : null;
}

function bestSellers() {
  const list = call('read', 'ranking.v1.RankingService/ListTopProducts', {});
  return list === null ? [] : list.products;
}

function connect() {
  if (!connected) client.connect(ADDRESS, { plaintext: true });
  connected = true;
}

// The list is fed by events, shortly after the orders that fill it.
export function setup() {
  const method = 'commerce.ranking.v1.RankingService/ListTopProducts';
  client.connect(ADDRESS, { plaintext: true });
  for (let tries = 0; tries < 60; tries += 1) {
    const answer = client.invoke(method, {}, { tags: { kind: 'setup' } });
    if (answer.status === grpc.StatusOK && answer.message.products.length > 0) {
      client.close();
      return;
    }
    sleep(0.5);
  }
  exec.test.abort('the list of best sellers is empty after 30 s: the shop needs orders first, as ghz/k6 makes them');
}

export default function shopper() {
  connect();
  let list = bestSellers();
  if (Math.random() < 0.1) list = bestSellers();
  if (!check(list, { 'there are best sellers': (it) => it.length > 0 })) return;
  const { productId } = list[Math.floor(Math.random() * list.length)];
  call('read', 'product.v1.ProductService/GetProduct', { product_id: productId });
  sleep(1);
  const order = call('order', 'checkout.v1.CheckoutService/PlaceOrder', {
    request_id: crypto.randomUUID(),
    user_id: 1 + Math.floor(Math.random() * USERS),
    lines: [{ product_id: productId, quantity: 1 + Math.floor(Math.random() * 3) }],
  });
  check(order, { 'order succeeded': (it) => it !== null && it.state === 'CHECKOUT_STATE_SUCCEEDED' });
}
