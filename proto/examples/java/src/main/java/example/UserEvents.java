package example;

import com.google.protobuf.InvalidProtocolBufferException;
import dev.commercecore.events.v1.EventEnvelope;
import dev.commercecore.events.v1.EventServiceGrpc.EventServiceBlockingStub;
import dev.commercecore.events.v1.EventSource;
import dev.commercecore.events.v1.StreamEventsRequest;
import dev.commercecore.order.v1.OrderConfirmed;
import dev.commercecore.wallet.v1.WalletDebited;
import io.grpc.StatusRuntimeException;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;

/** What happened to a user's orders and wallet, as the stream of events tells it. */
final class UserEvents {
    private final long userId;
    private final Set<Long> confirmed = ConcurrentHashMap.newKeySet();
    private final List<Long> debits = new CopyOnWriteArrayList<>();
    private final Set<String> ids = ConcurrentHashMap.newKeySet();
    private final List<String> repeated = new CopyOnWriteArrayList<>();

    UserEvents(long userId) {
        this.userId = userId;
    }

    /** The orders that were confirmed. */
    Set<Long> confirmed() {
        return confirmed;
    }

    /** The numbers of the wallet's entries that paid for orders, in the order of their arrival. */
    List<Long> debits() {
        return debits;
    }

    /** The ids of all events, of other users too. */
    Set<String> ids() {
        return ids;
    }

    /** The ids of events that came more than once. */
    List<String> repeated() {
        return repeated;
    }

    /** Follows orders and wallets from the oldest event on, without end and across restarts of the server. */
    void follow(EventServiceBlockingStub events) {
        var request = StreamEventsRequest.newBuilder()
                .addSources(EventSource.EVENT_SOURCE_ORDER).addSources(EventSource.EVENT_SOURCE_WALLET);
        while (true) {
            try {
                var responses = events.streamEvents(request.build());
                while (responses.hasNext()) {
                    var response = responses.next();
                    if (response.hasEvent()) {
                        record(response.getEvent());
                    }
                    request.setCursor(response.getCursor());
                }
            } catch (StatusRuntimeException error) {
                // STREAM_ENDED and UNAVAILABLE: nothing is lost, and the cursor says where to go on.
                if (!Client.isUnavailable(error)) {
                    throw error;
                }
                Client.pause(error);
            }
        }
    }

    private void record(EventEnvelope event) {
        if (!ids.add(event.getEventId())) {
            repeated.add(event.getEventId());
        }
        var payload = event.getPayload();
        try {
            if (payload.is(OrderConfirmed.class)) {
                var order = payload.unpack(OrderConfirmed.class);
                if (order.getUserId() == userId) {
                    confirmed.add(order.getOrderId());
                }
            } else if (payload.is(WalletDebited.class)) {
                var debit = payload.unpack(WalletDebited.class);
                if (debit.getUserId() == userId) {
                    debits.add(debit.getSeq());
                }
            }
            // Events of other types are not looked at.
        } catch (InvalidProtocolBufferException damaged) {
            throw new IllegalStateException(damaged);
        }
    }
}
