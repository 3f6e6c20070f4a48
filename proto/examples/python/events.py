"""Following the events of the shop."""

import queue

import grpc
from commerce.events.v1.envelope_pb2 import EventEnvelope
from commerce.events.v1.event_service_pb2 import (
    EVENT_SOURCE_ORDER,
    EVENT_SOURCE_WALLET,
    StreamEventsRequest,
)
from commerce.events.v1.event_service_pb2_grpc import EventServiceStub
from commerce.order.v1.events_pb2 import OrderConfirmed
from commerce.wallet.v1.events_pb2 import WalletDebited

from client import TEMPORARY, check, pause, reason

Events = queue.Queue[EventEnvelope | grpc.RpcError]


def follow(service: EventServiceStub, events: Events) -> None:
    """Puts events into the queue. When the stream ends, it asks again with the last cursor, and so
    misses none.
    """
    request = StreamEventsRequest(
        sources=[EVENT_SOURCE_ORDER, EVENT_SOURCE_WALLET],
        types=[OrderConfirmed.DESCRIPTOR.full_name, WalletDebited.DESCRIPTOR.full_name],
    )
    while True:
        try:
            for response in service.StreamEvents(request):
                # A response without an event only moves the cursor on.
                if response.HasField("event"):
                    events.put(response.event)
                request.cursor = response.cursor
        except grpc.RpcError as error:
            if error.code() not in TEMPORARY:
                events.put(error)
                return
            print(f"stream of events ended ({error.code().name} {reason(error)}), asking again")
            pause(error)


def check_events(events: Events, user: int, placed: set[int]) -> None:
    """Reads events until those of all these orders have arrived, and then for one more second, to
    notice doubled ones.
    """
    ids: set[str] = set()
    confirmed: set[int] = set()
    debits: list[int] = []
    while True:
        complete = len(confirmed) == len(debits) == len(placed)
        try:
            event = events.get(timeout=1 if complete else None)
        except queue.Empty:
            return
        if isinstance(event, grpc.RpcError):
            raise event
        check(event.event_id not in ids, f"event {event.event_id} arrived twice")
        ids.add(event.event_id)
        order, debit = OrderConfirmed(), WalletDebited()
        if event.payload.Unpack(order) and order.user_id == user:
            check(order.order_id in placed, f"order {order.order_id} was not placed")
            check(order.order_id not in confirmed, f"order {order.order_id} has two events")
            confirmed.add(order.order_id)
        elif event.payload.Unpack(debit) and debit.user_id == user:
            check(not debits or debit.seq == debits[-1] + 1, f"debit {debit.seq} follows {debits}")
            debits.append(debit.seq)
