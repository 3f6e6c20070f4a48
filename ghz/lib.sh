# What the load tests share: the tools, and a shop of their own with users, products, coupons and orders.
# Sourced, not run; it takes them to the top of the project.
# shellcheck shell=bash

# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"

ghz_version=v0.121.0
k6_version=v1.8.1
USERS=${USERS:-10000} PRODUCTS=${PRODUCTS:-1000}
users=$USERS products=$PRODUCTS
coupons=100
orders=1000
address=${LISTEN:-127.0.0.1:50151}
admin=${address%:*}:$((${address##*:} + 2))
proto=proto/commerce

# tool NAME PACKAGE VERSION: builds a pinned tool into deploy/.cache once, and tells in $tool where it is.
tool() {
  local folder
  folder=$PWD/deploy/.cache/$1-$3
  tool=$folder/$1
  [ -x "$tool" ] && return
  has go || die "there is no Go to build $1 with: install one from https://go.dev/dl, then run this again"
  say "building $1 $3 (some minutes)"
  GOBIN=$folder go install "$2@$3" || die "$1 $3 could not be built: see above"
}

find_ghz() {
  local tool
  tool ghz github.com/bojand/ghz/cmd/ghz "$ghz_version"
  ghz=$tool
}

find_k6() {
  local tool
  tool k6 go.k6.io/k6 "$k6_version"
  k6=$tool
}

find_commerce() {
  commerce=$(realpath -m -- "${COMMERCE:-$(commerce_program)}")
  [ -x "$commerce" ] || die "there is no program $commerce: cargo build --release --package commerce, or set COMMERCE"
}

# A whole number of at least 1: a setting of the environment.
positive() { [[ ${!1} =~ ^[1-9][0-9]*$ ]] || die "$1 is ${!1}, and must be a whole number of at least 1"; }

# Ends the shop of this script, and takes its data away unless KEEP=1.
end_shop() {
  [ -z "${shop:-}" ] || kill -TERM "$shop" 2>/dev/null || true
  [ -z "${shop:-}" ] || wait "$shop" 2>/dev/null || true
  shop=
  [ -n "${data:-}" ] || return 0
  if [ "${KEEP:-0}" = 1 ]; then say "the shop's data is kept in $data"; else rm -rf "$data"; fi
}

# Starts a new shop on $address and waits until it serves.
start_shop() {
  local host=${address%:*} port=${address##*:} quarters=0
  ! listens "$address" || die "something listens on $address already: end it, or set LISTEN"
  data=$(mktemp -d)
  trap end_shop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  COMMERCE_DATA_DIR=$data COMMERCE_LISTEN_PUBLIC=$address COMMERCE_LISTEN_PARTICIPANT=$host:$((port + 1)) \
    COMMERCE_LISTEN_ADMIN=$admin "$commerce" up >"$data/shop.log" 2>&1 </dev/null &
  shop=$!
  until listens "$address"; do
    kill -0 "$shop" 2>/dev/null || { tail -n 20 "$data/shop.log" >&2; die "the shop ended before it was ready"; }
    [ "$quarters" -lt 1200 ] || die "nothing listens on $address after 5 minutes"
    quarters=$((quarters + 1))
    sleep 0.25
  done
}

# fill CALL COUNT CONCURRENCY DATA: sends a call that must succeed each time; those of the back office to $admin.
fill() {
  local out to=$address
  [[ $1 != *_admin_service ]] || to=$admin
  out=$("$ghz" --insecure --proto "$proto/$1.proto" --import-paths proto --call "$2" -n "$3" -c "$4" -t 20s -d "$5" \
    "$to" 2>&1) || die "$2 failed: $out"
  grep -q "\[OK\] *$3 responses" <<<"$out" || die "preparing the shop, $2 did not succeed each time: $out"
}

# Users 1 to $users with a wallet of 10^9 won, products and coupons from 1, and one order each of the first $orders users.
prepare_shop() {
  local checkout=commerce.checkout.v1.CheckoutService/PlaceOrder
  local wallets=commerce.wallet.v1.WalletService user='{{add .RequestNumber 1}}'
  say "preparing: $users users, $products products, $coupons coupons, $orders orders"
  fill wallet/v1/wallet_service $wallets/CreateWallet "$users" 64 '{"request_id":"{{newUUID}}","user_id":"'"$user"'"}'
  fill wallet/v1/wallet_service $wallets/ChargeWallet "$users" 64 \
    '{"request_id":"{{newUUID}}","user_id":"'"$user"'","amount_won":1000000000}'
  fill product/v1/product_admin_service commerce.product.v1.ProductAdminService/CreateProduct "$products" 16 \
    '{"request_id":"{{newUUID}}","name":"product '"$user"'","price_won":1000,"stock":1000000000}'
  # The last one is for the rush: it has half as many as there are users.
  fill coupon/v1/coupon_admin_service commerce.coupon.v1.CouponAdminService/CreateCoupon $((coupons - 1)) 1 "$(coupon 10000000)"
  fill coupon/v1/coupon_admin_service commerce.coupon.v1.CouponAdminService/CreateCoupon 1 1 "$(coupon $((users / 2)))"
  # One at a time, so that order n is user n's.
  fill checkout/v1/checkout_service $checkout "$orders" 1 \
    '{"request_id":"00000000-0000-4000-8000-{{printf `%012d` .RequestNumber}}","user_id":"'"$user"'",
      "lines":[{"product_id":"{{add (mod .RequestNumber 5) 1}}","quantity":1}]}'
}

coupon() {
  printf '{"request_id":"{{newUUID}}","name":"load","fixed":{"amount_won":1},"quota":%d,"validity_days":7,"cancel_policy":1}' "$1"
}

# Every won, unit and coupon, after the load.
audit_shop() {
  say "commerce audit"
  COMMERCE_DATA_DIR=$data "$commerce" audit
}

# What the figures were measured on, in Markdown.
conditions() {
  printf -- '- commit %s, %s\n' "$(git rev-parse --short HEAD)" "$(date -u '+%F %H:%M UTC')"
  printf -- '- %s cores: %s; %s memory; Linux %s; load average before: %s\n' "$(nproc)" \
    "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
    "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)" "$(uname -r)" "$(cut -d' ' -f1-3 /proc/loadavg)"
  printf -- '- %s; %s\n' "$(PATH=$PATH:/usr/sbin mariadbd --version | sed 's/.*Ver //')" "$(redis-server --version | cut -d' ' -f1-3)"
  printf -- '- ghz %s, k6 %s; the shop, its servers and the load on the same machine\n' "$ghz_version" "$k6_version"
}
