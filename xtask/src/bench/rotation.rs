//! Packets in turn: thousands of them, so that neither caches nor branch predictors know the next.
//!
//! The program that sends them, or has another judge them, copies 64 bytes for each, which is a part of what
//! is measured: compare with a program that only drops, in the same rotation.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nke::sys::map::{self, Shape};
use nke::sys::program::{TEST_XDP_LIVE_FRAMES, TestRun, XDP_HAS_FRAGS, test_run};

use super::live::BATCH;
use super::stage::Stage;

/// Bytes of a packet.
pub(super) const SIZE: usize = 64;
/// A packet, as it is sent.
pub(super) type Frame = [u8; SIZE];

/// Packets of a page.
const PAGE: usize = 1024;
/// As often do packets take their turns; the quicker half of that counts.
const TRIES: usize = 8;

/// Packets that take turns, the program that sends them and the program that calls another for each.
pub(super) struct Rotation {
    count: usize,
    packets: OwnedFd,
    sender: OwnedFd,
    callers: [Caller; 2],
    _link: OwnedFd,
}

/// A program that has another judge each packet: the one that is in its map.
struct Caller {
    next: OwnedFd,
    program: OwnedFd,
    _link: OwnedFd,
}

impl Rotation {
    /// One of so many packets: a power of two, and whole pages of 1,024.
    pub(super) fn new(stage: &mut Stage<'_>, count: usize) -> Result<Self> {
        ensure!(
            count.is_power_of_two() && count.is_multiple_of(PAGE),
            "a rotation of {count} packets"
        );
        let pages = Shape {
            max_entries: (count / PAGE) as u32,
            ..Shape::array("packets", (PAGE * SIZE) as u32)
        };
        let create = |shape| map::create(shape).context("cannot make a map");
        let packets = create(pages)?;
        let cursor = create(Shape::array("cursor", 8))?;
        let begin = [0u32, count as u32 - 1].map(u32::to_ne_bytes).concat();
        map::update(&cursor, &0u32.to_ne_bytes(), &begin).context("cannot write a map")?;
        let maps = [("packets", &packets), ("cursor", &cursor)];
        let sender = stage.objects.load("rotating-sender", &maps)?;
        let link = stage.hang(&sender)?;
        // The kernel lets a program call only what was loaded as it was itself.
        let callers = [
            Caller::new(stage, &maps, 0)?,
            Caller::new(stage, &maps, XDP_HAS_FRAGS)?,
        ];
        Ok(Self {
            count,
            packets,
            sender,
            callers,
            _link: link,
        })
    }

    /// Puts other packets into the rotation, as many as it has.
    pub(super) fn fill(&self, frames: &[Frame]) -> Result<()> {
        let (count, wanted) = (frames.len(), self.count);
        ensure!(
            count == wanted,
            "{count} packets for a rotation of {wanted}"
        );
        for (index, page) in (0u32..).zip(frames.chunks(PAGE)) {
            map::update(&self.packets, &index.to_ne_bytes(), page.as_flattened())
                .context("cannot write packets")?;
        }
        Ok(())
    }

    /// Sends so many into where they say, on the thread of the sender's side that calls this.
    /// The result is the nanoseconds of a packet.
    pub(super) fn send(&self, packets: u32) -> Result<f64> {
        let run = TestRun {
            packet: &[0; SIZE],
            repeat: packets,
            flags: TEST_XDP_LIVE_FRAMES,
            batch: BATCH,
            ..TestRun::default()
        };
        let (_, nanoseconds) = test_run(&self.sender, &run).context("cannot send packets")?;
        Ok(f64::from(nanoseconds))
    }

    /// Has a program judge every packet. The result is the nanoseconds of a packet, or nothing for a program
    /// that the kernel does not let ours call.
    pub(super) fn judge(&self, program: &OwnedFd, verdict: u32) -> Result<Option<f64>> {
        let mut fits = self.callers.iter().filter(|caller| caller.takes(program));
        let Some(caller) = fits.next() else {
            return Ok(None);
        };
        let mut times = Vec::with_capacity(TRIES);
        for _ in 0..TRIES {
            let run = TestRun {
                packet: &[0; SIZE],
                repeat: self.count as u32,
                ..TestRun::default()
            };
            let (found, time) = test_run(&caller.program, &run).context("cannot run a program")?;
            times.push(time);
            ensure!(
                found == verdict,
                "a packet's verdict was {found}, not {verdict}"
            );
        }
        times.sort_unstable();
        let least = &times[..TRIES / 2];
        // The kernel tells whole nanoseconds and cuts off the rest, which is a half on average.
        Ok(Some(
            f64::from(least.iter().sum::<u32>()) / least.len() as f64 + 0.5,
        ))
    }
}

impl Caller {
    fn new(stage: &mut Stage<'_>, maps: &[(&str, &OwnedFd)], flags: u32) -> Result<Self> {
        let next = map::create(Shape::program_array("next")).context("cannot make a map")?;
        let all = [maps, &[("next", &next)]].concat();
        let program = stage.objects.load_with("rotating-caller", &all, flags)?;
        let link = stage.hang(&program)?;
        Ok(Self {
            next,
            program,
            _link: link,
        })
    }

    /// Whether it calls this program from now on.
    fn takes(&self, program: &OwnedFd) -> bool {
        let fd = program.as_raw_fd().to_ne_bytes();
        map::update(&self.next, &0u32.to_ne_bytes(), &fd).is_ok()
    }
}
