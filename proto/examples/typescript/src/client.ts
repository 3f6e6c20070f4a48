// How this program calls: gRPC's own retries and deadlines from the service config, more repeats for
// outages that last longer, and errors with their details.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { Channel, ClientError, CompatServiceDefinition, Status, createChannel, createClientFactory } from "nice-grpc";
import { RetryOptions, retryMiddleware } from "nice-grpc-client-middleware-retry";
import { BadRequest, ErrorInfo, PreconditionFailure, RichClientError, errorDetailsClientMiddleware } from "nice-grpc-error-details";

const serviceConfig = readFileSync(new URL("../../../service_config.json", import.meta.url), "utf8");

/** Connects to HOST:PORT. */
export function connect(address: string): Channel {
  return createChannel(address, undefined, {
    "grpc.service_config": serviceConfig,
    "grpc.service_config_disable_resolution": 1,
    // A stream has no deadline: PINGs tell when the server is gone.
    "grpc.keepalive_time_ms": 20_000,
    // The longest pause between attempts to connect.
    "grpc.max_reconnect_backoff_ms": 2_000,
  });
}

// Every call may be repeated: reads change nothing, and the others carry a request_id. The middleware
// repeats calls whose `idempotency_level` in the contract says so, which are all but streams.
const retries: RetryOptions = {
  retryMaxAttempts: Infinity,
  retryBaseDelayMs: 200,
  retryMaxDelayMs: 2_000,
  retryableStatuses: [Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.DEADLINE_EXCEEDED],
  onRetryableError: (error) => console.error(`${error.path}: ${Status[error.code]}, repeated`),
};

const factory = createClientFactory().use(errorDetailsClientMiddleware).use(retryMiddleware);

/** Makes a client of a service. */
export function client<Service extends CompatServiceDefinition>(service: Service, channel: Channel) {
  return factory.create(service, channel, { "*": retries });
}

/** Whether the server could not be reached or ended the call for the moment. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof ClientError && retries.retryableStatuses!.includes(error.code);
}

/** Reads why a call was refused. Any other error is thrown. */
export function refusal(error: unknown) {
  if (!(error instanceof RichClientError)) throw error;
  const info = error.extra.find((it): it is ErrorInfo => it.$type === ErrorInfo.$type);
  assert.equal(info?.domain, "commerce-core.dev");
  const violations = error.extra.filter((it): it is PreconditionFailure => it.$type === PreconditionFailure.$type);
  const fields = error.extra.filter((it): it is BadRequest => it.$type === BadRequest.$type);
  return {
    reason: info.reason,
    metadata: info.metadata,
    violations: violations.flatMap((it) => it.violations),
    fields: fields.flatMap((it) => it.fieldViolations),
  };
}
