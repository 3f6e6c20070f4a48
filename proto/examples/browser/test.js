// Opens the page in Chromium, once from an origin that the shop allows and once from another, and checks what it could do.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";

/** Far more than Chromium takes to start and the page to end. */
const PATIENCE_MS = 60_000;

const [shop, allowed, chromium] = process.argv.slice(2);

const bundle = await build({
  entryPoints: ["page.js"],
  bundle: true,
  format: "esm",
  target: "es2022",
  write: false,
});
const files = {
  "/": ["text/html", '<!doctype html><script type="module" src="/page.js"></script>'],
  "/page.js": ["text/javascript", bundle.outputFiles[0].text],
};

/** Waits for the outcomes that the page at this origin sends back to where it came from. */
async function open(origin) {
  let resolve, reject;
  const outcomes = new Promise((...both) => ([resolve, reject] = both));
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, origin);
    if (request.method === "POST" && pathname === "/outcomes") {
      let body = "";
      for await (const chunk of request) body += chunk;
      response.end();
      resolve(JSON.parse(body));
      return;
    }
    const [type, text] = files[pathname] ?? [];
    response.writeHead(text ? 200 : 404, { "content-type": type ?? "text/plain" });
    response.end(text);
  });
  const { hostname, port } = new URL(origin);
  server.listen(Number(port), hostname);
  await once(server, "listening");
  const here = port === "0" ? `http://${hostname}:${server.address().port}` : origin;

  const profile = await mkdtemp(join(tmpdir(), "browser-"));
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
  const page = `${here}/?shop=${encodeURIComponent(shop)}`;
  const browser = spawn(chromium, [...flags, `--user-data-dir=${profile}`, page], { stdio: "ignore" });
  browser.once("error", reject);
  browser.once("exit", (code) => reject(new Error(`chromium ended with ${code} before the page did`)));
  const late = setTimeout(() => reject(new Error(`${here} said nothing in time`)), PATIENCE_MS);
  try {
    return [here, await outcomes];
  } finally {
    clearTimeout(late);
    const ended = browser.exitCode === null && once(browser, "exit");
    browser.kill();
    await ended;
    server.closeAllConnections();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

function print(origin, outcomes) {
  console.log(`a page of ${origin}:`);
  for (const [name, outcome] of Object.entries(outcomes)) console.log(`  ${name}: ${JSON.stringify(outcome)}`);
}

const [home, outcomes] = await open(allowed);
print(home, outcomes);
const { list, missing, invalid } = outcomes;
assert(Array.isArray(list.ok), "products are listed");
assert.equal(list.traceId, "a-page-in-a-browser", "the page reads the headers of answers");
assert.equal(missing.code, "NotFound");
assert.equal(missing.reason, "PRODUCT_NOT_FOUND");
assert.equal(missing.domain, "commerce-core.dev");
assert.equal(missing.metadata.product_ids, String(Number.MAX_SAFE_INTEGER));
assert.equal(invalid.code, "InvalidArgument");
assert.equal(invalid.reason, "INVALID_FIELD");
assert.equal(invalid.metadata.field, "product_id");

const [away, refused] = await open("http://127.0.0.1:0");
print(away, refused);
for (const [name, outcome] of Object.entries(refused)) {
  assert(!("ok" in outcome), `${name}: a foreign page was answered`);
  assert.equal(outcome.reason, undefined, `${name}: a foreign page reads nothing, not even why`);
}
// It was refused for its origin, and for nothing else.
const preflight = await fetch(new URL("/commerce.product.v1.ProductService/ListProducts", shop), {
  method: "OPTIONS",
  headers: { origin: away, "access-control-request-method": "POST" },
});
assert.equal(preflight.status, 403);
console.log("ok: the page of the allowed origin was served, the other was refused");
