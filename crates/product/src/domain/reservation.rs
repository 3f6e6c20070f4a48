//! What orders take off the shelf and put back.

use super::{Cause, Movement, OrderId, Product, ProductId, Refused, Shortage};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt;

/// Units of a product that change hands: 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i32);

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

/// The products at hand.
pub type Shelf = BTreeMap<ProductId, Product>;

/// Why units cannot come back: nobody may be told that they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The product that they were taken from is not there.
    NoProduct(ProductId),
    /// With them the stock would pass [`i32::MAX`]: they come back once somebody has lowered it.
    Full(ProductId),
}

/// Adds up lines of the same product, each at its first place; `None` for a sum beyond 32 bits, which the ranges of a
/// request keep out of reach.
pub fn merge(lines: impl IntoIterator<Item = Line>) -> Option<Vec<Line>> {
    let mut places = BTreeMap::new();
    let mut merged: Vec<Line> = Vec::new();
    for line in lines {
        let place = *places.entry(line.product).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(first) => first.quantity = first.quantity.plus(line.quantity)?,
            None => merged.push(line),
        }
    }
    Some(merged)
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

/// Puts the units of an order, one line a product, back on the shelf: all of them, or none. No business rule refuses it.
///
/// # Errors
/// [`NoRoom`] of the first product that cannot take its units.
pub fn give_back(
    shelf: &mut Shelf,
    lines: &[Line],
    cause: &Cause,
    at: DateTime<Utc>,
) -> Result<Vec<Movement>, NoRoom> {
    for line in lines {
        let product = shelf.get(&line.product).ok_or(NoRoom::NoProduct(line.product))?;
        let stock = product.stock.checked_add(line.quantity.get());
        stock.ok_or(NoRoom::Full(line.product))?;
    }
    let moved = lines.iter().map(|line| {
        let product = shelf.get_mut(&line.product).ok_or(NoRoom::NoProduct(line.product))?;
        let movement = product.move_stock(line.quantity.get(), cause.clone(), at);
        movement.ok_or(NoRoom::Full(line.product))
    });
    moved.collect()
}

/// The units of all lines together; `None` beyond 32 bits, which the ranges of a request keep out of reach.
pub fn units(lines: &[Line]) -> Option<i32> {
    lines.iter().try_fold(0_i32, |sum, line| sum.checked_add(line.quantity.get()))
}

impl Quantity {
    /// This many units; `None` below 1.
    pub fn new(units: i32) -> Option<Self> {
        (units >= 1).then_some(Self(units))
    }

    /// The number of units.
    pub fn get(self) -> i32 {
        self.0
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl Reservation {
    /// What an order wants, and what the client expects it to cost; `None` where [`merge`] has none.
    pub fn new(
        order: OrderId,
        lines: impl IntoIterator<Item = Line>,
        expected_total: Option<i64>,
    ) -> Option<Self> {
        Some(Self { order, lines: merge(lines)?, expected_total })
    }

    /// The order.
    pub fn order(&self) -> OrderId {
        self.order
    }

    /// The lines, one a product.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn priced(&self, products: &Shelf) -> Result<Quote, Refused> {
        let found: Vec<(Line, &Product)> = self
            .lines
            .iter()
            .filter_map(|line| products.get(&line.product).map(|product| (*line, product)))
            .collect();
        if found.len() < self.lines.len() {
            let missing = self.lines.iter().map(|line| line.product);
            return Err(Refused::NotFound(
                missing.filter(|id| !products.contains_key(id)).collect(),
            ));
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

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProduct(id) => write!(f, "product {} does not exist", id.0),
            Self::Full(id) => {
                write!(f, "the stock of product {} is full: lower it with AdjustStock", id.0)
            }
        }
    }
}

impl PricedLine {
    fn amount(&self) -> i64 {
        i64::from(self.line.quantity.get()).saturating_mul(self.unit_price)
    }
}
