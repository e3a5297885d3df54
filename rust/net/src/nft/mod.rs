//! NAT and filtering by nftables, spoken directly over netlink (linux/netfilter/nf_tables.h).
//!
//! One table `ip pyd-<bridge>` holds everything, so that removing it leaves nothing. Its rules never change: published
//! ports are elements of two maps, each with the id of its container as a comment, so that adding and removing one
//! container is one transaction that touches no other.

mod expression;
mod foreign;
mod ports;
mod table;
mod transaction;

pub use foreign::{admit, obstacles};
pub use ports::{forget, publish, withdraw};
pub use table::{ensure as ensure_table, remove as remove_table};

/// Name of the table that belongs to a bridge.
pub fn table_name(bridge: &str) -> String {
    format!("{TABLE_PREFIX}{bridge}")
}

pub const TABLE_PREFIX: &str = "pyd-";
/// Published on every address of the host: proto . port -> container address . port
pub const MAP_ANY: &str = "publish";
/// Published on one address: address . proto . port -> container address . port
pub const MAP_ONE: &str = "publish-on";
