//! Measurements. Nothing here is a test.

use anyhow::{Result, bail};

/// Runs the measurement that the arguments name.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    bail!("there is nothing to measure yet")
}
