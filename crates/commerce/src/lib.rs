//! The program `commerce`: any role of the shop, and the tools around it.

pub mod bench;
mod carrier;
pub mod cli;
pub mod clients;
pub mod config;
pub mod durability;
pub mod output;
pub mod private;
pub mod process;
pub mod replay;
pub mod roles;
pub mod shop;
