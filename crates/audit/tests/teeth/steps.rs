//! Barrier rows and watermarks, which every participant has.

use crate::bench::Corruption;
use crate::history::History;

/// A participant's step in a checkout and in a cancel.
struct Participant {
    steps: &'static str,
    saga_op: &'static str,
    saga_watermark: &'static str,
    name: &'static str,
    of_checkout: i64,
    of_cancel: i64,
}

const PARTICIPANTS: [Participant; 4] = [
    Participant {
        steps: "product-steps",
        saga_op: "product.saga_op",
        saga_watermark: "product.saga_watermark",
        name: "product",
        of_checkout: 1,
        of_cancel: 3,
    },
    Participant {
        steps: "coupon-steps",
        saga_op: "coupon.saga_op",
        saga_watermark: "coupon.saga_watermark",
        name: "coupon",
        of_checkout: 2,
        of_cancel: 4,
    },
    Participant {
        steps: "wallet-steps",
        saga_op: "wallet.saga_op",
        saga_watermark: "wallet.saga_watermark",
        name: "wallet",
        of_checkout: 3,
        of_cancel: 2,
    },
    Participant {
        steps: "order-steps",
        saga_op: "order.saga_op",
        saga_watermark: "order.saga_watermark",
        name: "order",
        of_checkout: 4,
        of_cancel: 5,
    },
];

const NEW: &str = "X'F00000000000700080000000000000AA'";
const NEW_NAME: &str = "saga f0000000-0000-7000-8000-0000000000aa";

pub(crate) fn corruptions(history: &History) -> Vec<Corruption> {
    let mut all: Vec<Corruption> =
        PARTICIPANTS.iter().flat_map(|participant| participant.corruptions(history)).collect();
    let undone = |table, step: i64| {
        Corruption::new(
            table,
            "done again",
            format!(
                "UPDATE saga_op SET state = 1 WHERE saga_id = {} AND step = {step}",
                history.failed.hex
            ),
        )
        .breaks("failed-leaves-nothing", &history.failed.name)
    };
    all.push(undone("product.saga_op", 1).breaks("product-steps", &history.failed.name));
    all
}

impl Participant {
    fn corruptions(&self, history: &History) -> Vec<Corruption> {
        let History { with_coupon, cancel, issued, .. } = history;
        // A coupon does not name its saga: what broke is told of the coupon.
        let told = |saga: &str| match self.name {
            "coupon" => format!("issued coupon {issued}"),
            _ => saga.to_owned(),
        };
        let row = |hex: &str, step: i64| format!("saga_id = {hex} AND step = {step}");
        let of_checkout = row(&with_coupon.hex, self.of_checkout);
        let mut corruptions = vec![
            Corruption::new(
                self.saga_op,
                "removed",
                format!("DELETE FROM saga_op WHERE {of_checkout}"),
            )
            .breaks(self.steps, told(&with_coupon.name))
            .breaks("checkout-stands", &with_coupon.name),
            Corruption::new(
                self.saga_op,
                "said to be undone",
                format!("UPDATE saga_op SET state = 3 WHERE {of_checkout}"),
            )
            .breaks(self.steps, told(&with_coupon.name))
            .breaks("checkout-stands", &with_coupon.name),
            Corruption::new(
                self.saga_op,
                "in no state",
                format!("UPDATE saga_op SET state = 9 WHERE {of_checkout}"),
            )
            .breaks(self.steps, &with_coupon.name),
            Corruption::new(
                self.saga_watermark,
                "raised above everything",
                "UPDATE saga_watermark SET watermark = X'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF'",
            )
            .breaks("journal-watermarks", format!("watermark of {}", self.name)),
        ];
        let removed = Corruption::new(
            self.saga_op,
            "removed after the pivot",
            format!("DELETE FROM saga_op WHERE {}", row(&cancel.hex, self.of_cancel)),
        )
        .breaks("cancel-stands", &cancel.name);
        let doubled = Corruption::new(
            self.saga_op,
            "doubled",
            format!(
                "INSERT INTO saga_op SELECT {NEW}, step, state, request_hash, reply, \
                created_at FROM saga_op WHERE {of_checkout}"
            ),
        )
        .breaks("saga-known", NEW_NAME);
        let replied = Corruption::new(
            self.saga_op,
            "another reply",
            format!("UPDATE saga_op SET reply = X'' WHERE {of_checkout}"),
        )
        .breaks(self.steps, told(&with_coupon.name));
        corruptions.push(match self.name {
            // What the pivot replied is compared with its order alone.
            "order" => replied,
            _ => replied.breaks("checkout-stands", &with_coupon.name),
        });
        corruptions.push(match self.name {
            // The coupon of the cancelled order was used again: it has two uses and no restoring.
            "coupon" => removed.breaks(self.steps, format!("issued coupon {}", issued + 1)),
            _ => removed.breaks(self.steps, &cancel.name),
        });
        corruptions.push(match self.name {
            "coupon" => doubled.breaks(self.steps, format!("issued coupon {issued}")),
            _ => doubled.breaks(self.steps, NEW_NAME),
        });
        corruptions
    }
}
