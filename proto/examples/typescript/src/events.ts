// What happened to a user's orders and wallet, as the stream of events tells it.

import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "nice-grpc";

import { isUnavailable } from "./client.js";
import { EventEnvelope } from "./gen/commerce/events/v1/envelope.js";
import { EventServiceDefinition, EventSource } from "./gen/commerce/events/v1/event_service.js";
import { OrderConfirmed } from "./gen/commerce/order/v1/events.js";
import { WalletDebited } from "./gen/commerce/wallet/v1/events.js";

export class UserEvents {
  /** The orders that were confirmed. */
  readonly confirmed = new Set<number>();
  /** The numbers of the wallet's entries that paid for orders, in the order of their arrival. */
  readonly debits: number[] = [];
  /** The ids of all events, of other users too. */
  readonly ids = new Set<string>();
  /** The ids of events that came more than once. */
  readonly repeated: string[] = [];

  constructor(private readonly userId: number) {}

  /** Follows orders and wallets from the oldest event on, without end and across restarts of the server. */
  async follow(events: Client<EventServiceDefinition>) {
    const sources = [EventSource.ORDER, EventSource.WALLET];
    let cursor = "";
    for (;;) {
      try {
        for await (const response of events.streamEvents({ sources, cursor })) {
          if (response.event) this.record(response.event);
          cursor = response.cursor;
        }
      } catch (error) {
        // STREAM_ENDED and UNAVAILABLE: nothing is lost, and the cursor says where to go on.
        if (!isUnavailable(error)) throw error;
        await sleep(200);
      }
    }
  }

  private record({ eventId, payload }: EventEnvelope) {
    if (this.ids.has(eventId)) this.repeated.push(eventId);
    this.ids.add(eventId);
    switch (payload?.typeUrl) {
      case `type.googleapis.com/${OrderConfirmed.$type}`: {
        const event = OrderConfirmed.decode(payload.value);
        if (event.userId === this.userId) this.confirmed.add(event.orderId);
        break;
      }
      case `type.googleapis.com/${WalletDebited.$type}`: {
        const event = WalletDebited.decode(payload.value);
        if (event.userId === this.userId) this.debits.push(event.seq);
        break;
      }
      // Events of other types are not looked at.
    }
  }
}
