//! The pictures' quota: what waits for the centre may take so many bytes; then the oldest pictures leave, never events.
//!
//! A full node commits at its full rate for days, so neither the sum nor the oldest picture is looked up at every commit:
//! an upper bound of the sum is kept, and where the search for the oldest may begin. Both only save work; the rows decide.

use rusqlite::{OptionalExtension, Transaction};

use super::commit::tell_dropped;
use super::sqlite::fault;
use crate::base::{Result, Stamp};
use crate::wire::event::Origin;

const DOING: &str = "cannot keep the pictures within their quota";

/// What is known of the waiting pictures without asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pictures {
    /// They take no more than this.
    bytes: u64,
    /// They take just this.
    exact: bool,
    /// No outbox row before this one is a picture that may be dropped.
    from: i64,
}

impl Default for Pictures {
    fn default() -> Self {
        Self { bytes: u64::MAX, exact: false, from: 0 }
    }
}

impl Pictures {
    /// Pictures left: the sum is an upper bound from now on.
    pub(super) fn fewer(&mut self) {
        self.exact = false;
    }

    /// Rows that were on their way wait again, and may be dropped again.
    pub(super) fn back_again(&mut self) {
        self.from = 0;
    }

    /// A picture of `bytes` came. Drops the oldest pictures that are not on their way until the rest fits into `quota`;
    /// where one was its event's picture, a revision says so. Returns how many.
    pub(super) fn keep_within(
        &mut self,
        tx: &Transaction<'_>,
        origin: &Origin,
        (came, quota): (u64, u64),
        now: Stamp,
    ) -> Result<u32> {
        self.bytes = self.bytes.saturating_add(came);
        let mut dropped = 0;
        while self.bytes > quota {
            if !self.exact {
                self.bytes = sum(tx)?;
                self.exact = true;
                continue;
            }
            let Some((row, event, sha256)) = oldest(tx, self.from)? else { break };
            self.from = row;
            let freed: Option<u64> = tx
                .execute("DELETE FROM outbox WHERE id = ?1", [row])
                .and_then(|_| {
                    tx.prepare_cached("DELETE FROM snapshot WHERE event = ?1 AND sha256 = ?2 RETURNING bytes")?
                        .query_row([&event, &sha256], |r| r.get(0))
                        .optional()
                })
                .map_err(|e| fault(DOING, e))?;
            self.bytes = self.bytes.saturating_sub(freed.unwrap_or(0));
            dropped += 1;
            tell_dropped(tx, origin, &event, &sha256, now)?;
        }
        Ok(dropped)
    }
}

fn sum(tx: &Transaction<'_>) -> Result<u64> {
    tx.prepare_cached("SELECT COALESCE(SUM(bytes), 0) FROM snapshot")
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| fault(DOING, e))
}

fn oldest(tx: &Transaction<'_>, from: i64) -> Result<Option<(i64, String, String)>> {
    tx.prepare_cached(
        "SELECT id, event, sha256 FROM outbox WHERE id >= ?1 AND kind = 'snapshot' AND state <> 'sent'
         ORDER BY id LIMIT 1",
    )
    .and_then(|mut s| s.query_row([from], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).optional())
    .map_err(|e| fault(DOING, e))
}
