package example;

import static example.Client.answered;

import dev.commercecore.checkout.v1.CheckoutLine;
import dev.commercecore.checkout.v1.CheckoutServiceGrpc;
import dev.commercecore.checkout.v1.CheckoutState;
import dev.commercecore.checkout.v1.PlaceOrderRequest;
import dev.commercecore.checkout.v1.PlacedOrder;
import dev.commercecore.coupon.v1.CancelPolicy;
import dev.commercecore.coupon.v1.CouponAdminServiceGrpc;
import dev.commercecore.coupon.v1.CouponServiceGrpc;
import dev.commercecore.coupon.v1.CreateCouponRequest;
import dev.commercecore.coupon.v1.IssueCouponRequest;
import dev.commercecore.coupon.v1.IssuedCoupon;
import dev.commercecore.coupon.v1.PercentDiscount;
import dev.commercecore.events.v1.EventServiceGrpc;
import dev.commercecore.order.v1.GetOrderRequest;
import dev.commercecore.order.v1.ListOrdersRequest;
import dev.commercecore.order.v1.Order;
import dev.commercecore.order.v1.OrderServiceGrpc;
import dev.commercecore.order.v1.OrderState;
import dev.commercecore.product.v1.CreateProductRequest;
import dev.commercecore.product.v1.ProductAdminServiceGrpc;
import dev.commercecore.wallet.v1.ChargeWalletRequest;
import dev.commercecore.wallet.v1.CreateWalletRequest;
import dev.commercecore.wallet.v1.GetWalletRequest;
import dev.commercecore.wallet.v1.ListWalletTransactionsRequest;
import dev.commercecore.wallet.v1.WalletServiceGrpc;
import dev.commercecore.wallet.v1.WalletTransaction;
import io.grpc.Channel;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.LongStream;

/**
 * A shopper's and a back office's calls, and what makes them safe when the server restarts: errors by
 * their reason, repeats with the same request_id, and a stream of events with a cursor.
 *
 * <p>Arguments: PUBLIC ADMIN, each HOST:PORT. Environment: ORDERS, 30 if not set.
 */
public final class Example {
    private static final long PRICE = 10_000;

    private final WalletServiceGrpc.WalletServiceBlockingStub wallets;
    private final CouponServiceGrpc.CouponServiceBlockingStub coupons;
    private final CheckoutServiceGrpc.CheckoutServiceBlockingStub checkouts;
    private final OrderServiceGrpc.OrderServiceBlockingStub orders;
    private final ProductAdminServiceGrpc.ProductAdminServiceBlockingStub productAdmin;
    private final CouponAdminServiceGrpc.CouponAdminServiceBlockingStub couponAdmin;
    private final EventServiceGrpc.EventServiceBlockingStub events;

    private final int orderCount;
    private final long charge;
    private final long userId = newId();
    private final String chargeId = newRequestId();
    private long productId;
    private long couponId;

    /** The ids of the orders that were answered as placed. */
    private final Set<Long> placed = new TreeSet<>();

    private final UserEvents received = new UserEvents(userId);

    private Example(Channel shop, Channel backOffice, int orderCount) {
        wallets = WalletServiceGrpc.newBlockingStub(shop);
        coupons = CouponServiceGrpc.newBlockingStub(shop);
        checkouts = CheckoutServiceGrpc.newBlockingStub(shop);
        orders = OrderServiceGrpc.newBlockingStub(shop);
        productAdmin = ProductAdminServiceGrpc.newBlockingStub(backOffice);
        couponAdmin = CouponAdminServiceGrpc.newBlockingStub(backOffice);
        events = EventServiceGrpc.newBlockingStub(backOffice);
        this.orderCount = orderCount;
        charge = (orderCount + 2) * PRICE;
    }

    public static void main(String[] args) {
        CompletableFuture.delayedExecutor(120, TimeUnit.SECONDS)
                .execute(() -> fail(new IllegalStateException("gave up after 120 s")));
        try {
            Path serviceConfig = Path.of("../../service_config.json");
            int orderCount = Integer.parseInt(System.getenv().getOrDefault("ORDERS", "30"));
            var example = new Example(
                    Client.connect(args[0], serviceConfig), Client.connect(args[1], serviceConfig), orderCount);
            example.placeFirstOrder();
            example.showErrors();
            CompletableFuture.runAsync(() -> example.received.follow(example.events)).exceptionally(Example::fail);
            System.out.println("READY");
            example.placeOrders();
            example.check();
            System.out.println("OK");
            System.exit(0);
        } catch (Exception error) {
            fail(error);
        }
    }

    private static Void fail(Throwable error) {
        error.printStackTrace();
        System.exit(1);
        return null;
    }

    private void placeFirstOrder() {
        var newProduct = CreateProductRequest.newBuilder()
                .setRequestId(newRequestId()).setName("Tea").setPriceWon(PRICE).setStock(orderCount + 2).build();
        productId = answered(() -> productAdmin.createProduct(newProduct)).getProduct().getProductId();
        var newCoupon = CreateCouponRequest.newBuilder()
                .setRequestId(newRequestId()).setName("Opening day").setPercent(PercentDiscount.newBuilder().setPercent(10))
                .setQuota(100).setValidityDays(7).setCancelPolicy(CancelPolicy.CANCEL_POLICY_RESTORE).build();
        couponId = answered(() -> couponAdmin.createCoupon(newCoupon)).getCoupon().getCouponId();
        System.out.printf("created product %d and coupon %d%n", productId, couponId);

        createWallet(userId);
        var charged = answered(() -> wallets.chargeWallet(chargeOf(charge)));
        System.out.printf("charged the wallet of user %d: %d won%n", userId, charged.getWallet().getBalanceWon());

        var issued = issueCoupon();
        System.out.printf("issued coupon %d%n", issued.getIssuedCouponId());

        var order = placeOrder(userId, 2, couponId);
        placed.add(order.getOrderId());
        require(order.getTotalWon() == 20_000 && order.getDiscountWon() == 2_000 && order.getPaidWon() == 18_000,
                "the amounts are wrong: " + order);
        System.out.printf("placed order %d: %d - %d = %d won%n",
                order.getOrderId(), order.getTotalWon(), order.getDiscountWon(), order.getPaidWon());

        var read = GetOrderRequest.newBuilder().setOrderId(order.getOrderId()).setUserId(userId).build();
        var state = answered(() -> orders.getOrder(read)).getOrder().getState();
        require(state == OrderState.ORDER_STATE_CONFIRMED, "the order is " + state);
        System.out.printf("read order %d: %s%n", order.getOrderId(), state);

        var ledger = new ArrayList<WalletTransaction>();
        var page = ListWalletTransactionsRequest.newBuilder().setUserId(userId).setPageSize(1);
        do {
            var answer = answered(() -> wallets.listWalletTransactions(page.build()));
            ledger.addAll(answer.getTransactionsList());
            page.setPageToken(answer.getNextPageToken());
        } while (!page.getPageToken().isEmpty());
        require(ledger.stream().map(WalletTransaction::getAmountWon).toList().equals(List.of(-18_000L, charge)),
                "the ledger is wrong: " + ledger);
        System.out.printf("listed %d wallet transactions, one a page%n", ledger.size());
    }

    /** Makes calls that are refused. The reason decides what to do, never the text. */
    private void showErrors() {
        long poorUserId = newId();
        createWallet(poorUserId);
        var invalid = ListOrdersRequest.newBuilder().setUserId(0).setPageSize(-1).build();
        var unknown = GetWalletRequest.newBuilder().setUserId(newId()).build();
        List<Supplier<?>> calls = List.of(
                () -> placeOrder(poorUserId, 1, null),
                () -> placeOrder(userId, 9999, null),
                this::issueCoupon,
                () -> answered(() -> wallets.chargeWallet(chargeOf(charge + 1))),
                () -> answered(() -> orders.listOrders(invalid)),
                () -> answered(() -> wallets.getWallet(unknown)));
        var reasons = new ArrayList<String>();
        for (var call : calls) {
            try {
                call.get();
            } catch (StatusRuntimeException error) {
                var refusal = Client.Refusal.of(error);
                var values = refusal.metadata();
                reasons.add(refusal.reason());
                System.out.println(refusal.reason() + switch (refusal.reason()) {
                    case "INSUFFICIENT_BALANCE" ->
                        ": " + values.get("available_won") + " of " + values.get("required_won") + " won";
                    case "INSUFFICIENT_STOCK" -> ": " + String.join("; ", refusal.violations().stream()
                            .map(it -> it.getSubject() + ": " + it.getDescription()).toList());
                    case "COUPON_ALREADY_ISSUED" -> ": " + values.get("issued_coupon_id");
                    case "INVALID_FIELD" -> ": " + String.join(", ", refusal.fields().stream()
                            .map(it -> it.getField()).toList());
                    default -> "";
                });
            }
        }
        require(reasons.equals(List.of("INSUFFICIENT_BALANCE", "INSUFFICIENT_STOCK", "COUPON_ALREADY_ISSUED",
                "REQUEST_ID_REUSED", "INVALID_FIELD", "WALLET_NOT_FOUND")), "the reasons are " + reasons);
    }

    private void placeOrders() {
        for (int i = 0; i < orderCount; i++) {
            placed.add(placeOrder(userId, 1, null).getOrderId());
            System.out.printf("order %d of %d%n", i + 1, orderCount);
            Client.pause(100); // Leaves time for a restart of the server in the middle.
        }
    }

    /** Each order exists once, was paid once and was told once. */
    private void check() {
        var listed = new ArrayList<Long>();
        var page = ListOrdersRequest.newBuilder()
                .setUserId(userId).setState(OrderState.ORDER_STATE_CONFIRMED).setPageSize(10);
        do {
            var answer = answered(() -> orders.listOrders(page.build()));
            answer.getOrdersList().stream().map(Order::getOrderId).forEach(listed::add);
            page.setPageToken(answer.getNextPageToken());
        } while (!page.getPageToken().isEmpty());
        require(placed.size() == 1 + orderCount && listed.size() == placed.size() && placed.containsAll(listed),
                "the orders are not those that were placed: " + listed);
        System.out.printf("%d orders exist%n", listed.size());

        var own = GetWalletRequest.newBuilder().setUserId(userId).build();
        long balance = answered(() -> wallets.getWallet(own)).getWallet().getBalanceWon();
        require(balance == charge - 18_000 - orderCount * PRICE, "the balance is wrong: " + balance);
        System.out.printf("the balance is %d won%n", balance);

        while (received.confirmed().size() < placed.size() || received.debits().size() < placed.size()) {
            Client.pause(50);
        }
        require(received.confirmed().equals(placed), "the events are not those of the orders: " + received.confirmed());
        require(received.repeated().isEmpty(), "events came more than once: " + received.repeated());
        // Entry 1 is the charge, and each order has the next one.
        var entries = LongStream.range(2, 2 + placed.size()).boxed().toList();
        require(received.debits().equals(entries), "the ledger's events have a gap: " + received.debits());
        System.out.printf("received %d events, each once; those of the wallet have no gap%n", received.ids().size());
    }

    /** Sends a request that has a new id, and waits for its end. */
    private PlacedOrder placeOrder(long userId, int quantity, Long couponId) {
        var request = PlaceOrderRequest.newBuilder().setRequestId(newRequestId()).setUserId(userId)
                .addLines(CheckoutLine.newBuilder().setProductId(productId).setQuantity(quantity));
        if (couponId != null) {
            request.setCouponId(couponId);
        }
        while (true) {
            var answer = answered(() -> checkouts.placeOrder(request.build()));
            if (answer.getState() == CheckoutState.CHECKOUT_STATE_SUCCEEDED) {
                return answer.getOrder();
            }
            // RUNNING: the deadline came before the end. The same request joins the checkout.
        }
    }

    private void createWallet(long userId) {
        var request = CreateWalletRequest.newBuilder().setRequestId(newRequestId()).setUserId(userId).build();
        answered(() -> wallets.createWallet(request));
    }

    private ChargeWalletRequest chargeOf(long amountWon) {
        return ChargeWalletRequest.newBuilder().setRequestId(chargeId).setUserId(userId).setAmountWon(amountWon).build();
    }

    private IssuedCoupon issueCoupon() {
        var request = IssueCouponRequest.newBuilder()
                .setRequestId(newRequestId()).setUserId(userId).setCouponId(couponId).build();
        return answered(() -> coupons.issueCoupon(request)).getIssuedCoupon();
    }

    private static String newRequestId() {
        return UUID.randomUUID().toString();
    }

    private static long newId() {
        return ThreadLocalRandom.current().nextLong(1, 1L << 53);
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }
}
