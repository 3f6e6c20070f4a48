// What a page does with the shop: it lists products, and reads why calls fail.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ProductService } from "./gen/commerce/product/v1/product_service_pb.js";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

const baseUrl = new URLSearchParams(location.search).get("shop");
const products = createClient(ProductService, createGrpcWebTransport({ baseUrl }));

/** How a call ended, in words that JSON can hold. */
async function outcome(call) {
  let traceId;
  const options = {
    timeoutMs: 10_000,
    headers: { "x-trace-id": "a-page-in-a-browser" },
    onHeader: (headers) => (traceId = headers.get("x-trace-id")),
  };
  try {
    return { ok: await call(options), traceId };
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    const [info] = error.findDetails(ErrorInfoSchema);
    const { reason, domain, metadata } = info ?? {};
    return { code: Code[error.code], message: error.rawMessage, reason, domain, metadata };
  }
}

const outcomes = {
  list: await outcome(async (options) => {
    const { products: listed } = await products.listProducts({ pageSize: 10 }, options);
    return listed.map((product) => `${product.productId} ${product.name}`);
  }),
  missing: await outcome((options) =>
    products.getProduct({ productId: BigInt(Number.MAX_SAFE_INTEGER) }, options),
  ),
  invalid: await outcome((options) => products.getProduct({ productId: 0n }, options)),
};
await fetch("/outcomes", { method: "POST", body: JSON.stringify(outcomes) });
