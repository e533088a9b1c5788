//! The record of node ports in use: upstream's `RangeAllocation`, changed by compare-and-swap, so
//! that several API servers on one store agree.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::network::PortRange;

/// Where the record is stored.
pub(super) const KEY: &str = "/registry/ranges/servicenodeports";

/// What is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PortRecord {
    pub(super) used: BTreeSet<u16>,
}

impl PortRecord {
    /// From the stored form. What cannot be read counts as empty: the repair works it out anew.
    pub(super) fn decode(stored: &[u8]) -> Self {
        let stored: Value = serde_json::from_slice(stored).unwrap_or_default();
        let text = |field: &str| stored[field].as_str().unwrap_or_default();
        let first: Option<usize> =
            text("range").split_once('-').and_then(|(first, _)| first.parse().ok());
        let (Some(first), Ok(bits)) = (first, STANDARD.decode(text("data"))) else {
            tracing::warn!("the record of node ports cannot be read");
            return Self::default();
        };
        // One big number, the lowest bit last, stands for the first port.
        let used = bits.iter().rev().enumerate().flat_map(|(i, byte)| {
            (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| first + i * 8 + bit)
        });
        Self { used: used.filter_map(|port| u16::try_from(port).ok()).collect() }
    }

    /// The stored form.
    pub(super) fn encode(&self, range: &PortRange) -> Vec<u8> {
        let offsets = || {
            let inside = self.used.iter().filter(|port| range.contains(**port));
            inside.map(|port| usize::from(port - range.first()))
        };
        let mut bits = vec![0u8; offsets().next_back().map_or(0, |last| last / 8 + 1)];
        let len = bits.len();
        for offset in offsets() {
            bits[len - 1 - offset / 8] |= 1 << (offset % 8);
        }
        let record = json!({
            "kind": "RangeAllocation",
            "apiVersion": "v1",
            "metadata": {},
            "range": range.to_string(),
            "data": STANDARD.encode(bits),
        });
        record.to_string().into_bytes()
    }
}
