//! A program that gives a verdict and does nothing else: what a packet costs whatever judges it.

use anyhow::{Context as _, Result};
use nke::hook::Hook;
use nke::place;
use nke::sys::link;
use nke::sys::program;

use super::Laid;
use crate::bench::stage::Stage;

pub(in crate::bench::filter) fn lay(stage: &mut Stage<'_>, verdict: u32) -> Result<Laid> {
    let cable = stage.cable()?;
    let row = Hook::INTERFACE_XDP.row();
    let loaded = program::load(&program::Load {
        program_type: row.program_type as u32,
        expected_attach_type: row.expected_attach_type,
        attach_btf_id: 0,
        flags: 0,
        name: "verdict",
        license: c"GPL",
        instructions: &place::constant(verdict.cast_signed()),
        btf: None,
        func_info: &[],
        line_info: &[],
    });
    let program = loaded
        .map_err(|refused| refused.error)
        .context("cannot load a program")?;
    let link = link::create(&program, cable.inside_index, row.attach_type, 0)
        .context("cannot attach a program")?;
    Ok(Laid {
        cable,
        root: Some(program),
        counts: None,
        link: Some(link),
    })
}
