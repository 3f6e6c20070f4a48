//! The rules of products and their stock.
//!
//! Every change of a stock makes exactly one [`Movement`]; a product counts its movements, so movements without gaps
//! and a stock that is their sum are the same statement.

use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// A stock stays at or below this by AdjustStock, in units. What comes back from a failed or cancelled order is never
/// refused, so a stock may pass it by as much as was out of it meanwhile.
pub const STOCK_LIMIT: i64 = 1_000_000_000;

/// A product's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductId(pub i64);

/// An order's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub i64);

/// Units of a product that change hands: 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i64);

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
    pub stock: i64,
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
    pub stock: i64,
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
    pub delta: i64,
    /// The stock with this movement.
    pub stock_after: i64,
    /// When it was made.
    pub at: DateTime<Utc>,
}

/// Units of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub product: ProductId,
    /// How many.
    pub quantity: Quantity,
}

/// What an order wants to take: one line a product, in the order in which it was first named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    order: OrderId,
    lines: Vec<Line>,
    expected_total: Option<i64>,
}

/// A line with the price at which it was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricedLine {
    /// What is taken.
    pub line: Line,
    /// Won for one unit.
    pub unit_price: i64,
}

/// What a reservation costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The reservation's lines, in their order.
    pub lines: Vec<PricedLine>,
    /// Won for all of them.
    pub total: i64,
}

/// A line that the stock cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The product.
    pub product: ProductId,
    /// Units there are.
    pub available: i64,
    /// Units that are wanted.
    pub required: i64,
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

/// The products at hand.
pub type Shelf = BTreeMap<ProductId, Product>;

/// Adds up lines of the same product, each at its first place.
pub fn merge(lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
    let mut places = BTreeMap::new();
    let mut merged: Vec<Line> = Vec::new();
    for line in lines {
        let place = *places.entry(line.product).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(first) => first.quantity = first.quantity.plus(line.quantity),
            None => merged.push(line),
        }
    }
    merged
}

/// Takes all lines of a reservation from the shelf, or none.
///
/// # Errors
/// The first that applies: [`Refused::NotFound`] with all missing products, [`Refused::Short`] with all short lines,
/// [`Refused::PriceChanged`].
pub fn reserve(
    shelf: &mut Shelf,
    reservation: &Reservation,
    at: DateTime<Utc>,
) -> Result<(Quote, Vec<Movement>), Refused> {
    let quote = reservation.priced(shelf)?;
    let moved = reservation.lines.iter().filter_map(|line| {
        let product = shelf.get_mut(&line.product)?;
        product.move_stock(-line.quantity.get(), Cause::Reserve(reservation.order), at)
    });
    let movements = moved.collect();
    Ok((quote, movements))
}

/// Puts the units of an order back on the shelf. No limit refuses it; `None`, with the shelf as it was, where a product
/// is not there or a sum is no 64-bit number.
pub fn give_back(
    shelf: &mut Shelf,
    lines: &[Line],
    cause: &Cause,
    at: DateTime<Utc>,
) -> Option<Vec<Movement>> {
    let fits = |line: &Line| {
        shelf
            .get(&line.product)
            .is_some_and(|it| it.stock.checked_add(line.quantity.get()).is_some())
    };
    if !lines.iter().all(fits) {
        return None;
    }
    let moved = lines.iter().map(|line| {
        shelf.get_mut(&line.product)?.move_stock(line.quantity.get(), cause.clone(), at)
    });
    moved.collect()
}

impl Quantity {
    /// This many units; `None` below 1.
    pub fn new(units: i64) -> Option<Self> {
        (units >= 1).then_some(Self(units))
    }

    /// The number of units.
    pub fn get(self) -> i64 {
        self.0
    }

    /// A sum beyond all numbers is as short as any other that no stock can serve.
    fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Reservation {
    /// What an order wants, and what the client expects it to cost.
    pub fn new(
        order: OrderId,
        lines: impl IntoIterator<Item = Line>,
        expected_total: Option<i64>,
    ) -> Self {
        Self { order, lines: merge(lines), expected_total }
    }

    /// The order.
    pub fn order(&self) -> OrderId {
        self.order
    }

    /// The lines, one a product.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn priced(&self, shelf: &Shelf) -> Result<Quote, Refused> {
        let found: Vec<(Line, &Product)> = self
            .lines
            .iter()
            .filter_map(|line| shelf.get(&line.product).map(|product| (*line, product)))
            .collect();
        if found.len() < self.lines.len() {
            let missing = self.lines.iter().map(|line| line.product);
            return Err(Refused::NotFound(missing.filter(|id| !shelf.contains_key(id)).collect()));
        }
        let short: Vec<Shortage> = found
            .iter()
            .filter_map(|(line, product)| product.shortage(line.quantity.get()))
            .collect();
        if !short.is_empty() {
            return Err(Refused::Short(short));
        }
        let lines: Vec<PricedLine> = found
            .iter()
            .map(|(line, product)| PricedLine { line: *line, unit_price: product.price })
            .collect();
        // In stock are 10^9 units and a little more, at 10^9 won at most, and an order has at most a hundred lines: the
        // sum saturates in no world where the columns hold what they may hold.
        let total = lines.iter().fold(0_i64, |sum, it| sum.saturating_add(it.amount()));
        match self.expected_total {
            Some(expected) if expected != total => {
                Err(Refused::PriceChanged { expected, actual: total })
            }
            _ => Ok(Quote { lines, total }),
        }
    }
}

impl PricedLine {
    fn amount(&self) -> i64 {
        self.line.quantity.get().saturating_mul(self.unit_price)
    }
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
        delta: i64,
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

    fn shortage(&self, required: i64) -> Option<Shortage> {
        let available = self.stock;
        (required > available).then_some(Shortage { product: self.id, available, required })
    }

    /// `None` where the sum is no 64-bit number.
    fn move_stock(&mut self, delta: i64, cause: Cause, at: DateTime<Utc>) -> Option<Movement> {
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
