//! Programs that leave their number in the packet: what a packet went through, and in which order.
//!
//! A trail frame carries a sequence number and a list, to which every `trail` program that it
//! meets adds its own number. So one packet at the end of the wire says exactly which chain it
//! has seen: a node that ran twice, or not at all, is in black and white.

use crate::{Hook, World, frame::Frame, stranger};

/// The experimental Ethernet type of trail frames.
pub const KIND: u16 = 0x88b5;
/// Where the list's length stands: behind the header and the sequence number.
const COUNT: usize = 14 + 8;
/// How long the list can be.
const ROOM: usize = 41;

/// A program that adds its number and goes on; it has a program for XDP and one for TC.
#[must_use]
pub fn object(number: u8) -> String {
    stranger::object(
        "trail.c",
        &format!("trail{number}"),
        &[&format!("-DID={number}")],
    )
}

/// The same for packets of several fragments.
#[must_use]
pub fn frags(number: u8) -> String {
    let flags = [&format!("-DID={number}")[..], "-DXDP_SECTION=\"xdp.frags\""];
    stranger::object("trail.c", &format!("frags{number}"), &flags)
}

/// A program that adds its number and drops.
#[must_use]
pub fn dropper(number: u8) -> String {
    let flags = [&format!("-DID={number}")[..], "-DDROPS"];
    stranger::object("trail.c", &format!("drop{number}"), &flags)
}

/// A fresh trail frame, for the inside.
#[must_use]
pub fn frame(sequence: u64) -> Vec<u8> {
    make(Frame::from_outside(), sequence)
}

/// A fresh trail frame, from the inside.
#[must_use]
pub fn frame_out(sequence: u64) -> Vec<u8> {
    make(Frame::from_inside(), sequence)
}

fn make(header: Frame, sequence: u64) -> Vec<u8> {
    let mut payload = sequence.to_be_bytes().to_vec();
    payload.resize(8 + 1 + ROOM, 0);
    header.of(KIND, &payload)
}

/// A trail frame's sequence number and list; none when it is another frame.
#[must_use]
pub fn read(frame: &[u8]) -> Option<(u64, Vec<u8>)> {
    if frame.get(12..14)? != KIND.to_be_bytes() {
        return None;
    }
    let sequence = u64::from_be_bytes(frame.get(14..COUNT)?.try_into().ok()?);
    let count = usize::from(*frame.get(COUNT)?);
    Some((sequence, frame.get(COUNT + 1..)?.get(..count)?.to_vec()))
}

/// Adds a number to a trail frame's list, as a `trail` program does; leaves other frames alone.
pub(crate) fn add(frame: &mut [u8], number: u8) {
    let Some((_, seen)) = read(frame) else { return };
    if seen.len() < ROOM && frame.len() > COUNT + ROOM {
        frame[COUNT + 1 + seen.len()] = number;
        frame[COUNT] += 1;
    }
}

/// What one packet met, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The numbers of the programs, in order.
    pub seen: Vec<u8>,
    /// The chain's answer.
    pub answer: u32,
}

impl World {
    /// Sends one packet through what the kernel calls at a hook, without the wire.
    #[track_caller]
    #[must_use]
    pub fn trail(&self, hook: Hook) -> Trail {
        let Some(run) = self.run(hook, &frame(0)) else {
            return Trail {
                seen: Vec::new(),
                answer: hook.pass(),
            };
        };
        let (_, seen) = read(&run.packet).expect("a trail frame stays one");
        Trail {
            seen,
            answer: run.answer,
        }
    }

    /// The chain of a hook must run exactly these `trail` programs, and let the packet through.
    #[track_caller]
    pub fn assert_trail(&self, hook: Hook, seen: &[u8]) {
        let answer = hook.pass();
        assert_eq!(
            self.trail(hook),
            Trail {
                seen: seen.to_vec(),
                answer
            }
        );
    }
}
