package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	eventsv1 "example.com/shop/gen/commerce/events/v1"
	orderv1 "example.com/shop/gen/commerce/order/v1"
	walletv1 "example.com/shop/gen/commerce/wallet/v1"
)

// follow sends events to the channel until the context ends. When the stream ends, it asks again
// with the last cursor, and so misses none.
func follow(ctx context.Context, service eventsv1.EventServiceClient, events chan<- *eventsv1.EventEnvelope) {
	request := &eventsv1.StreamEventsRequest{
		Sources: []eventsv1.EventSource{
			eventsv1.EventSource_EVENT_SOURCE_ORDER, eventsv1.EventSource_EVENT_SOURCE_WALLET,
		},
		Types: []string{
			string(proto.MessageName(&orderv1.OrderConfirmed{})),
			string(proto.MessageName(&walletv1.WalletDebited{})),
		},
	}
	for {
		stream, err := service.StreamEvents(ctx, request)
		for err == nil {
			var response *eventsv1.StreamEventsResponse
			if response, err = stream.Recv(); err == nil {
				// A response without an event only moves the cursor on.
				if response.Event != nil {
					events <- response.Event
				}
				request.Cursor = response.Cursor
			}
		}
		check(isTemporary(err) || ctx.Err() != nil, "following events: %v", err)
		fmt.Printf("stream of events ended (%v %s), asking again\n", status.Code(err), reason(err))
		if !pause(ctx, err) {
			return
		}
	}
}

// checkEvents reads events until those of all these orders of the user have arrived, and then for one
// more second, to notice doubled ones.
func checkEvents(ctx context.Context, events <-chan *eventsv1.EventEnvelope, user int64, orders map[int64]bool) {
	ids := map[string]bool{}      // of all events
	confirmed := map[int64]bool{} // orders
	var debits, lastSeq int64     // the user's payments; the last one's place in the ledger
	complete := func() bool { return len(confirmed) == len(orders) && int(debits) == len(orders) }
	for {
		var event *eventsv1.EventEnvelope
		var quiet <-chan time.Time
		if complete() {
			quiet = time.After(time.Second)
		}
		select {
		case event = <-events:
		case <-quiet:
			return
		case <-ctx.Done():
			fail("events of %d of %d orders and %d payments arrived", len(confirmed), len(orders), debits)
		}
		check(!ids[event.EventId], "event %s arrived twice", event.EventId)
		ids[event.EventId] = true
		// The payload is one of the types that were asked for.
		switch payload := must(event.Payload.UnmarshalNew()).(type) {
		case *orderv1.OrderConfirmed:
			if payload.UserId != user {
				continue
			}
			check(orders[payload.OrderId], "an event of an order that was not placed: %d", payload.OrderId)
			check(!confirmed[payload.OrderId], "order %d has two events", payload.OrderId)
			confirmed[payload.OrderId] = true
		case *walletv1.WalletDebited:
			if payload.UserId != user {
				continue
			}
			check(lastSeq == 0 || payload.Seq == lastSeq+1, "debit %d follows %d", payload.Seq, lastSeq)
			lastSeq = payload.Seq
			debits++
		}
	}
}
