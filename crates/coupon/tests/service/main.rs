//! The coupon service on a real database: its calls, the rush, and its steps in sagas.

mod calls;
mod harness;
mod rush;
mod steps;
