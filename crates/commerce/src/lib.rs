//! The program `commerce`: any role of the shop, and the tools around it.

pub mod config;
pub mod replay;
