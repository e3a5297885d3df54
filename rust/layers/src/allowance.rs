//! How much the layers of one image may unpack to, together: a few kilobytes can inflate to petabytes.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, Result};

#[derive(Debug)]
pub struct Allowance {
    total: u64,
    used: AtomicU64,
}

impl Default for Allowance {
    /// No limit.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Allowance {
    /// `total`: bytes of uncompressed tar.
    pub fn new(total: u64) -> Self {
        Self {
            total,
            used: AtomicU64::new(0),
        }
    }

    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Error::TooLarge when there were more bytes than it allows.
    pub fn take(&self, bytes: u64) -> Result<()> {
        let before = self.used.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.total {
            return Err(Error::TooLarge(format!(
                "the image unpacks to more than the {} bytes that are allowed",
                self.total
            )));
        }
        Ok(())
    }
}
