use super::*;

const AT: DateTime<Utc> = DateTime::UNIX_EPOCH;
const ORDER: OrderId = OrderId(9);

fn product(id: i64, price: i64, stock: i32) -> Product {
    Product::create(ProductId(id), Draft { name: format!("product {id}"), price, stock }, AT).0
}

/// Products 1, 2 and 3 at 1,000, 2,000 and 3,000 won.
fn shelf(stocks: [i32; 3]) -> Shelf {
    (1..).zip(stocks).map(|(id, stock)| (ProductId(id), product(id, id * 1_000, stock))).collect()
}

fn line(product: i64, quantity: i32) -> Line {
    Line { product: ProductId(product), quantity: Quantity::new(quantity).unwrap() }
}

fn wanted(lines: &[Line]) -> Reservation {
    Reservation::new(ORDER, lines.iter().copied(), None).unwrap()
}

fn stocks(shelf: &Shelf) -> Vec<i32> {
    shelf.values().map(|product| product.stock).collect()
}

#[test]
fn a_product_begins_with_the_movement_of_its_stock_even_of_none() {
    for stock in [0, 7] {
        let draft = Draft { name: "tea".to_owned(), price: 10, stock };
        let (made, movement) = Product::create(ProductId(1), draft, AT);
        assert_eq!((made.stock, made.movements, made.version), (stock, 1, 1));
        assert_eq!((movement.seq, movement.delta, movement.stock_after), (1, stock, stock));
        assert_eq!(movement.cause, Cause::Initial);
    }
}

#[test]
fn a_reservation_takes_every_line_and_costs_their_sum() {
    let mut shelf = shelf([10, 20, 5]);
    let (quote, movements) = reserve(&mut shelf, &wanted(&[line(2, 5), line(1, 10)]), AT).unwrap();
    assert_eq!(quote.total, 20_000);
    let lines: Vec<_> = quote.lines.iter().map(|it| (it.line.product.0, it.unit_price)).collect();
    assert_eq!(lines, [(2, 2_000), (1, 1_000)]);
    assert_eq!(stocks(&shelf), [0, 15, 5]);
    let moved: Vec<_> = movements.iter().map(|it| (it.product.0, it.seq, it.delta)).collect();
    assert_eq!(moved, [(2, 2, -5), (1, 2, -10)]);
    assert!(movements.iter().all(|movement| movement.cause == Cause::Reserve(ORDER)));
}

#[test]
fn nobody_takes_less_than_one_unit() {
    assert_eq!(Quantity::new(0), None);
    assert_eq!(Quantity::new(-1), None);
    assert_eq!(Quantity::new(1).map(Quantity::get), Some(1));
}

#[test]
fn lines_of_one_product_are_added_up_at_the_first_place() {
    let merged = merge([line(2, 1), line(1, 4), line(2, 3)]);
    assert_eq!(merged, Some(vec![line(2, 4), line(1, 4)]));
    let mut shelf = shelf([5, 3, 0]);
    let short = reserve(&mut shelf, &wanted(&[line(2, 2), line(2, 2)]), AT).unwrap_err();
    let shortage = Shortage { product: ProductId(2), available: 3, required: 4 };
    assert_eq!(short, Refused::Short(vec![shortage]));
}

#[test]
fn missing_products_come_before_short_ones_and_short_ones_before_the_price() {
    let mut shelf = shelf([1, 1, 1]);
    let everything_wrong = [line(3, 2), line(8, 1), line(1, 2), line(7, 1)];
    let with = |lines: &[Line]| Reservation::new(ORDER, lines.iter().copied(), Some(1)).unwrap();
    assert_eq!(
        reserve(&mut shelf, &with(&everything_wrong), AT),
        Err(Refused::NotFound(vec![ProductId(8), ProductId(7)]))
    );
    let shortage = |id| Shortage { product: ProductId(id), available: 1, required: 2 };
    assert_eq!(
        reserve(&mut shelf, &with(&[line(3, 2), line(2, 1), line(1, 2)]), AT),
        Err(Refused::Short(vec![shortage(3), shortage(1)]))
    );
    assert_eq!(
        reserve(&mut shelf, &with(&[line(3, 1), line(2, 1)]), AT),
        Err(Refused::PriceChanged { expected: 1, actual: 5_000 })
    );
    assert_eq!(stocks(&shelf), [1, 1, 1], "a refusal takes nothing");
}

#[test]
fn the_expected_total_is_accepted_to_the_won() {
    let mut shelf = shelf([1, 1, 1]);
    let exact = Reservation::new(ORDER, [line(3, 1), line(2, 1)], Some(5_000)).unwrap();
    assert!(reserve(&mut shelf, &exact, AT).is_ok());
}

#[test]
fn units_come_back_with_movements_of_their_own() {
    let mut shelf = shelf([1, 2, 3]);
    let lines = [line(1, 1), line(3, 2)];
    reserve(&mut shelf, &wanted(&lines), AT).unwrap();
    let movements = give_back(&mut shelf, &lines, &Cause::Release(ORDER), AT).unwrap();
    assert_eq!(stocks(&shelf), [1, 2, 3]);
    let moved: Vec<_> = movements.iter().map(|it| (it.seq, it.delta, it.stock_after)).collect();
    assert_eq!(moved, [(3, 1, 1), (3, 2, 3)]);
}

#[test]
fn no_limit_keeps_units_from_coming_back() {
    let mut shelf = shelf([STOCK_LIMIT, 0, 0]);
    assert!(give_back(&mut shelf, &[line(1, 5)], &Cause::Restock(ORDER), AT).is_ok());
    assert_eq!(stocks(&shelf), [STOCK_LIMIT + 5, 0, 0]);
    let lowered = shelf.get_mut(&ProductId(1)).unwrap().adjust(-1, String::new(), AT);
    assert_eq!(lowered.unwrap().stock_after, STOCK_LIMIT + 4);
}

#[test]
fn what_cannot_come_back_as_a_whole_comes_back_not_at_all() {
    let mut shelf = shelf([1, i32::MAX, 3]);
    for (lines, no_room) in [
        ([line(1, 1), line(7, 1)], NoRoom::NoProduct(ProductId(7))),
        ([line(1, 1), line(2, 1)], NoRoom::Full(ProductId(2))),
    ] {
        assert_eq!(give_back(&mut shelf, &lines, &Cause::Restock(ORDER), AT), Err(no_room));
    }
    assert_eq!(stocks(&shelf), [1, i32::MAX, 3]);
}

#[test]
fn a_full_stock_takes_units_back_once_it_was_lowered() {
    let mut shelf = shelf([i32::MAX - 1, 0, 0]);
    let lines = [line(1, 2)];
    let full = Err(NoRoom::Full(ProductId(1)));
    assert_eq!(give_back(&mut shelf, &lines, &Cause::Release(ORDER), AT), full);
    shelf.get_mut(&ProductId(1)).unwrap().adjust(-1, String::new(), AT).unwrap();
    assert!(give_back(&mut shelf, &lines, &Cause::Release(ORDER), AT).is_ok());
    assert_eq!(stocks(&shelf), [i32::MAX, 0, 0]);
}

#[test]
fn the_most_units_cost_more_than_32_bits_hold() {
    let mut tea = product(1, 1_000_000_000, 0);
    tea.stock = i32::MAX;
    let mut shelf = Shelf::from([(tea.id, tea)]);
    let (quote, movements) = reserve(&mut shelf, &wanted(&[line(1, i32::MAX)]), AT).unwrap();
    assert_eq!(quote.total, 2_147_483_647_000_000_000);
    assert_eq!((movements[0].delta, movements[0].stock_after), (-i32::MAX, 0));
}

#[test]
fn units_beyond_32_bits_have_no_sum() {
    assert_eq!(merge([line(1, i32::MAX), line(1, 1)]), None);
    assert_eq!(Reservation::new(ORDER, [line(1, i32::MAX), line(1, 1)], None), None);
    assert_eq!(units(&[line(1, i32::MAX), line(2, 1)]), None);
    assert_eq!(units(&[line(1, i32::MAX - 1), line(2, 1)]), Some(i32::MAX));
}

#[test]
fn a_stock_stays_between_nothing_and_the_limit() {
    let mut tea = product(1, 10, 5);
    let shortage = Shortage { product: ProductId(1), available: 5, required: 6 };
    assert_eq!(tea.adjust(-6, String::new(), AT), Err(Refused::Short(vec![shortage])));
    let over = tea.adjust(STOCK_LIMIT - 4, String::new(), AT);
    assert_eq!(over, Err(Refused::StockLimit(ProductId(1))));
    assert_eq!((tea.stock, tea.movements), (5, 1));
    assert_eq!(tea.adjust(-5, String::new(), AT).unwrap().stock_after, 0);
    assert_eq!(tea.adjust(STOCK_LIMIT, String::new(), AT).unwrap().seq, 3);
    for delta in [i32::MIN, i32::MAX] {
        assert!(tea.adjust(delta, String::new(), AT).is_err());
    }
    assert_eq!((tea.stock, tea.movements), (STOCK_LIMIT, 3));
}

#[test]
fn a_change_names_the_version_that_it_is_based_on() {
    let mut tea = product(1, 10, 5);
    let cheaper = |version| Change { version, price: Some(9), ..Change::default() };
    tea.update(cheaper(Some(1)), AT).unwrap();
    assert_eq!((tea.price, tea.version, tea.name.as_str()), (9, 2, "product 1"));
    let stale = Refused::VersionMismatch { expected: 1, actual: 2 };
    assert_eq!(tea.update(cheaper(Some(1)), AT), Err(stale));
    let renamed = Change { name: Some("green tea".to_owned()), ..Change::default() };
    tea.update(renamed, AT).unwrap();
    assert_eq!((tea.price, tea.version, tea.name.as_str()), (9, 3, "green tea"));
}
