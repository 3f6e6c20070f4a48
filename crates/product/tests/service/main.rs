//! The product service on a real database: its calls, and its steps in sagas.

mod calls;
mod harness;
mod steps;
