// Command shop is a small client of the shop. It charges a wallet, issues a coupon, places orders
// and follows their events, and carries on when the server restarts. Usage: shop PUBLIC ADMIN.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	checkoutv1 "example.com/shop/gen/commerce/checkout/v1"
	couponv1 "example.com/shop/gen/commerce/coupon/v1"
	eventsv1 "example.com/shop/gen/commerce/events/v1"
	orderv1 "example.com/shop/gen/commerce/order/v1"
	productv1 "example.com/shop/gen/commerce/product/v1"
	walletv1 "example.com/shop/gen/commerce/wallet/v1"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: shop PUBLIC ADMIN, each as HOST:PORT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	public, admin := connect(os.Args[1]), connect(os.Args[2])
	wallets := walletv1.NewWalletServiceClient(public)
	coupons := couponv1.NewCouponServiceClient(public)
	checkouts := checkoutv1.NewCheckoutServiceClient(public)
	orders := orderv1.NewOrderServiceClient(public)
	products := productv1.NewProductAdminServiceClient(admin)
	campaigns := couponv1.NewCouponAdminServiceClient(admin)

	// The back office creates two products and a coupon.
	mug := must(answered(ctx, products.CreateProduct, &productv1.CreateProductRequest{
		RequestId: uuid.NewString(), Name: "Mug", PriceWon: 1_500, Stock: 1_000,
	})).Product
	teapot := must(answered(ctx, products.CreateProduct, &productv1.CreateProductRequest{
		RequestId: uuid.NewString(), Name: "Teapot", PriceWon: 40_000, Stock: 3,
	})).Product
	coupon := must(answered(ctx, campaigns.CreateCoupon, &couponv1.CreateCouponRequest{
		RequestId:    uuid.NewString(),
		Name:         "Opening day",
		Discount:     &couponv1.CreateCouponRequest_Percent{Percent: &couponv1.PercentDiscount{Percent: 10}},
		Quota:        100,
		ValidityDays: 7,
		CancelPolicy: couponv1.CancelPolicy_CANCEL_POLICY_RESTORE,
	})).Coupon
	fmt.Printf("created products %d and %d, coupon %d\n", mug.ProductId, teapot.ProductId, coupon.CouponId)

	// A user opens a wallet and charges it. The client chooses the user's id. The same request_id is
	// the same request, however often it is sent: the money is added once.
	user := randomUser()
	must(answered(ctx, wallets.CreateWallet, &walletv1.CreateWalletRequest{
		RequestId: uuid.NewString(), UserId: user,
	}))
	charge := &walletv1.ChargeWalletRequest{RequestId: uuid.NewString(), UserId: user, AmountWon: 1_000_000}
	for range 2 {
		var trailer metadata.MD
		wallet := must(answered(ctx, wallets.ChargeWallet, charge, grpc.Trailer(&trailer))).Wallet
		replayed := len(trailer.Get("idempotency-replayed")) > 0
		fmt.Printf("charged wallet %d: balance %d won, replayed: %v\n", user, wallet.BalanceWon, replayed)
		check(wallet.BalanceWon == 1_000_000, "the charge was booked twice")
	}

	// The user gets the coupon and orders with it.
	issued := must(answered(ctx, coupons.IssueCoupon, &couponv1.IssueCouponRequest{
		RequestId: uuid.NewString(), UserId: user, CouponId: coupon.CouponId,
	})).IssuedCoupon
	fmt.Printf("issued coupon %d, valid until %s\n", issued.IssuedCouponId, issued.ValidUntilDate)
	order := func(couponID *int64, lines ...*checkoutv1.CheckoutLine) (*checkoutv1.PlacedOrder, error) {
		return placeOrder(ctx, checkouts, &checkoutv1.PlaceOrderRequest{
			RequestId: uuid.NewString(), UserId: user, CouponId: couponID, Lines: lines,
		})
	}
	first := must(order(&coupon.CouponId, line(mug, 2)))
	fmt.Printf("placed order %d: total %d, discount %d, paid %d won\n",
		first.OrderId, first.TotalWon, first.DiscountWon, first.PaidWon)
	check(first.TotalWon == 3_000 && first.DiscountWon == 300 && first.PaidWon == 2_700, "wrong sums")
	stored := must(answered(ctx, orders.GetOrder, &orderv1.GetOrderRequest{
		OrderId: first.OrderId, UserId: user,
	})).Order
	fmt.Printf("read order %d: %v, paid %d won\n", stored.OrderId, stored.State, stored.PaidWon)
	check(stored.PaidWon == first.PaidWon, "the order reads back differently")
	page := &walletv1.ListWalletTransactionsRequest{UserId: user, PageSize: 1}
	for more := true; more; more = page.PageToken != "" {
		list := must(answered(ctx, wallets.ListWalletTransactions, page))
		for _, it := range list.Transactions {
			fmt.Printf("transaction %d: %v, %+d won\n", it.Seq, it.Kind, it.AmountWon)
		}
		page.PageToken = list.NextPageToken
	}

	// Errors are told apart by their reason, never by their text.
	_, err := order(nil, line(mug, 900))
	expect(err, "INSUFFICIENT_BALANCE")
	_, err = order(nil, line(mug, 5_000), line(teapot, 4))
	expect(err, "INSUFFICIENT_STOCK")
	for _, it := range detail[*errdetails.PreconditionFailure](err).GetViolations() {
		fmt.Printf("  %s: %s\n", it.Subject, it.Description)
	}
	_, err = answered(ctx, coupons.IssueCoupon, &couponv1.IssueCouponRequest{
		RequestId: uuid.NewString(), UserId: user, CouponId: coupon.CouponId,
	})
	expect(err, "COUPON_ALREADY_ISSUED")
	_, err = answered(ctx, wallets.ChargeWallet, &walletv1.ChargeWalletRequest{
		RequestId: charge.RequestId, UserId: user, AmountWon: 2_000,
	})
	expect(err, "REQUEST_ID_REUSED")
	_, err = answered(ctx, products.CreateProduct, &productv1.CreateProductRequest{
		RequestId: uuid.NewString(), Name: "", PriceWon: -1,
	})
	expect(err, "INVALID_FIELD")
	for _, it := range detail[*errdetails.BadRequest](err).GetFieldViolations() {
		fmt.Printf("  %s %s\n", it.Field, it.Description)
	}
	_, err = answered(ctx, wallets.GetWallet, &walletv1.GetWalletRequest{UserId: randomUser()})
	expect(err, "WALLET_NOT_FOUND")

	// Orders go on, and so does the stream of their events, while the server restarts.
	events := make(chan *eventsv1.EventEnvelope, 1_000)
	go follow(ctx, eventsv1.NewEventServiceClient(admin), events)
	fmt.Println("READY")
	count := 30
	if text := os.Getenv("ORDERS"); text != "" {
		count = must(strconv.Atoi(text))
	}
	placed := map[int64]bool{first.OrderId: true}
	for i := range count {
		next := must(order(nil, line(mug, 1)))
		placed[next.OrderId] = true
		fmt.Printf("order %d of %d: %d\n", i+1, count, next.OrderId)
	}

	// Every order exists once, is paid once and has one event.
	check(len(placed) == count+1, "two requests were answered with the same order")
	listed := 0
	list := &orderv1.ListOrdersRequest{UserId: user, PageSize: 10}
	for more := true; more; more = list.PageToken != "" {
		response := must(answered(ctx, orders.ListOrders, list))
		for _, it := range response.Orders {
			check(placed[it.OrderId], "an order that was not asked for: %d", it.OrderId)
		}
		listed += len(response.Orders)
		list.PageToken = response.NextPageToken
	}
	check(listed == len(placed), "%d orders are listed, %d were placed", listed, len(placed))
	wallet := must(answered(ctx, wallets.GetWallet, &walletv1.GetWalletRequest{UserId: user})).Wallet
	balance := 1_000_000 - first.PaidWon - int64(count)*mug.PriceWon
	check(wallet.BalanceWon == balance, "the balance is %d won, not %d", wallet.BalanceWon, balance)
	fmt.Printf("listed %d orders, balance %d won\n", listed, wallet.BalanceWon)
	checkEvents(ctx, events, user, placed)
	fmt.Printf("events of %d orders and their payments arrived, each once\n", len(placed))
	fmt.Println("OK")
}

// placeOrder places an order. RUNNING says that the deadline came before the end of the checkout:
// the same request joins it.
func placeOrder(
	ctx context.Context, checkouts checkoutv1.CheckoutServiceClient, request *checkoutv1.PlaceOrderRequest,
) (*checkoutv1.PlacedOrder, error) {
	for {
		response, err := answered(ctx, checkouts.PlaceOrder, request)
		if err != nil || response.State == checkoutv1.CheckoutState_CHECKOUT_STATE_SUCCEEDED {
			return response.GetOrder(), err
		}
	}
}

func line(product *productv1.Product, quantity int32) *checkoutv1.CheckoutLine {
	return &checkoutv1.CheckoutLine{ProductId: product.ProductId, Quantity: quantity}
}

// randomUser returns an id from the range that the contract allows: positive and below 2^53.
func randomUser() int64 { return rand.Int64N(1<<53-1) + 1 }
