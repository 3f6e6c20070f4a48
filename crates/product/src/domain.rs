//! The rules of products and their stock.
//!
//! Every change of a stock makes exactly one [`Movement`]; a product counts its movements, so movements without gaps
//! and a stock that is their sum are the same statement.

use chrono::{DateTime, Utc};

mod reservation;
#[cfg(test)]
mod tests;

pub use reservation::{
    Line, NoRoom, PricedLine, Quantity, Quote, Reservation, Shelf, give_back, merge, reserve, units,
};

/// Adjustments keep a stock at or below this, in units.
///
/// Units that come back from a failed or cancelled order are not refused for it, so a stock may pass it by as much as was
/// out of it meanwhile. Only what passes [`i32::MAX`] cannot be kept: see [`NoRoom`].
pub const STOCK_LIMIT: i32 = 1_000_000_000;

/// A product's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductId(pub i64);

/// An order's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub i64);

/// Something that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its key.
    pub id: ProductId,
    /// Its name, byte for byte as it was given.
    pub name: String,
    /// Won for one unit.
    pub price: i64,
    /// Units that can be ordered: the sum of the movements.
    pub stock: i32,
    /// How many movements it has.
    pub movements: i64,
    /// How often name and price were set, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its name or price last changed.
    pub updated_at: DateTime<Utc>,
}

/// What a product is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// Won for one unit.
    pub price: i64,
    /// Units in stock at first.
    pub stock: i32,
}

/// A change of what a product is, not of how much of it there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The version that the change is based on; any where none is given.
    pub version: Option<i64>,
    /// The new name.
    pub name: Option<String>,
    /// The new price in won.
    pub price: Option<i64>,
}

/// Why a stock changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The product was made with this stock.
    Initial,
    /// Somebody counted, received or lost units, and may say why.
    Adjust {
        /// The note given with it; may be empty.
        reason: String,
    },
    /// Units were taken for an order.
    Reserve(OrderId),
    /// Units came back: the order's checkout failed.
    Release(OrderId),
    /// Units came back: the order was cancelled.
    Restock(OrderId),
}

/// One change of a product's stock; never changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The product.
    pub product: ProductId,
    /// 1, 2, 3 … without gaps.
    pub seq: i64,
    /// Why.
    pub cause: Cause,
    /// Units, signed: positive into the stock.
    pub delta: i32,
    /// The stock with this movement.
    pub stock_after: i32,
    /// When it was made.
    pub at: DateTime<Utc>,
}

/// A line that the stock cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The product.
    pub product: ProductId,
    /// Units there are.
    pub available: i32,
    /// Units that are wanted.
    pub required: i32,
}

/// Why the rules refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There are no such products.
    NotFound(Vec<ProductId>),
    /// Less in stock than wanted, of every product named.
    Short(Vec<Shortage>),
    /// The stock would pass [`STOCK_LIMIT`].
    StockLimit(ProductId),
    /// The lines do not cost what the client expects.
    PriceChanged {
        /// Won that the client expects.
        expected: i64,
        /// Won that they cost.
        actual: i64,
    },
    /// The product has another version than the change is based on.
    VersionMismatch {
        /// The version that the change is based on.
        expected: i64,
        /// The version that the product has.
        actual: i64,
    },
}

impl Cause {
    /// The order that took or returned the units.
    pub fn order(&self) -> Option<OrderId> {
        match self {
            Self::Initial | Self::Adjust { .. } => None,
            Self::Reserve(order) | Self::Release(order) | Self::Restock(order) => Some(*order),
        }
    }
}

impl Product {
    /// A new product, with the movement of its first stock, which may be none.
    pub fn create(id: ProductId, draft: Draft, at: DateTime<Utc>) -> (Self, Movement) {
        let Draft { name, price, stock } = draft;
        let product = Self {
            id,
            name,
            price,
            stock,
            movements: 1,
            version: 1,
            created_at: at,
            updated_at: at,
        };
        let movement = Movement {
            product: id,
            seq: 1,
            cause: Cause::Initial,
            delta: stock,
            stock_after: stock,
            at,
        };
        (product, movement)
    }

    /// Changes name, price or both.
    ///
    /// # Errors
    /// [`Refused::VersionMismatch`].
    pub fn update(&mut self, change: Change, at: DateTime<Utc>) -> Result<(), Refused> {
        let Change { version, name, price } = change;
        let actual = self.version;
        if let Some(expected) = version.filter(|expected| *expected != actual) {
            return Err(Refused::VersionMismatch { expected, actual });
        }
        self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
        self.price = price.unwrap_or(self.price);
        self.version += 1;
        self.updated_at = at;
        Ok(())
    }

    /// Adds units, or, where `delta` is negative, takes them away.
    ///
    /// # Errors
    /// [`Refused::Short`], [`Refused::StockLimit`].
    pub fn adjust(
        &mut self,
        delta: i32,
        reason: String,
        at: DateTime<Utc>,
    ) -> Result<Movement, Refused> {
        if let Some(short) = self.shortage(delta.saturating_neg()) {
            return Err(Refused::Short(vec![short]));
        }
        let limit = Refused::StockLimit(self.id);
        // Above the limit by what came back, a stock may still be lowered.
        if delta > 0 && self.stock.saturating_add(delta) > STOCK_LIMIT {
            return Err(limit);
        }
        self.move_stock(delta, Cause::Adjust { reason }, at).ok_or(limit)
    }

    fn shortage(&self, required: i32) -> Option<Shortage> {
        let available = self.stock;
        (required > available).then_some(Shortage { product: self.id, available, required })
    }

    /// `None` where the sum is no 32-bit number.
    fn move_stock(&mut self, delta: i32, cause: Cause, at: DateTime<Utc>) -> Option<Movement> {
        self.stock = self.stock.checked_add(delta)?;
        self.movements += 1;
        Some(Movement {
            product: self.id,
            seq: self.movements,
            cause,
            delta,
            stock_after: self.stock,
            at,
        })
    }
}
