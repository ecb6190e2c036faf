//! Packets that rules match, whole: with lengths and checksums that every receiver takes.

use nke::filter::shapes::{Dice, Drawn, packet};

use crate::bench::rotation::{Frame, SIZE};

const ETHERNET: usize = 14;
const TRANSPORT: usize = ETHERNET + 20;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// So many packets into the cable whose sender's interface has this index; each is matched by a rule that is
/// drawn anew.
pub(super) fn matching(rules: &[Drawn], dice: &mut Dice, count: usize, outside: u32) -> Vec<Frame> {
    let one = |_| {
        let rule = &rules[dice.below(rules.len() as u64) as usize];
        whole(&rule.packet(dice), outside)
    };
    (0..count).map(one).collect()
}

/// A packet like one that a rule matches, but for so many bits of its addresses and ports.
pub(super) fn beside(rules: &[Drawn], dice: &mut Dice, bits: usize, outside: u32) -> Frame {
    let rule = &rules[dice.below(rules.len() as u64) as usize];
    let mut bytes = rule.packet(dice);
    for _ in 0..bits {
        // Both addresses, and both ports behind them.
        bytes[ETHERNET + 12 + dice.below(12) as usize] ^= 1 << dice.below(8);
    }
    whole(&bytes, outside)
}

/// A UDP packet from an address.
pub(super) fn from(source: u32, dice: &mut Dice, outside: u32) -> Frame {
    let to = dice.roll();
    let bytes = packet(false, source.into(), to.into(), UDP, to as u16 | 1024, 53);
    whole(&bytes, outside)
}

/// An IPv4 packet's headers, made into a frame that can be sent.
fn whole(bytes: &[u8], outside: u32) -> Frame {
    let mut frame = [0; SIZE];
    let known = bytes.len().min(SIZE);
    frame[..known].copy_from_slice(&bytes[..known]);
    // Where to, for the generator.
    frame[8..12].copy_from_slice(&outside.to_ne_bytes());
    let length = (SIZE - ETHERNET) as u16;
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&frame[ETHERNET..TRANSPORT], 0);
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());

    let protocol = frame[ETHERNET + 9];
    let length = (SIZE - TRANSPORT) as u16;
    let place = match protocol {
        TCP => {
            // Five words of header; SYN.
            frame[TRANSPORT + 4..TRANSPORT + 20].fill(0);
            frame[TRANSPORT + 12..TRANSPORT + 14].copy_from_slice(&[0x50, 0x02]);
            TRANSPORT + 16
        }
        UDP => {
            frame[TRANSPORT + 4..TRANSPORT + 6].copy_from_slice(&length.to_be_bytes());
            TRANSPORT + 6
        }
        _ => return frame,
    };
    // The pseudo header: both addresses, the protocol, the length.
    let begin = u32::from(protocol) + u32::from(length);
    let sum = checksum(&frame[ETHERNET + 12..], begin);
    frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The Internet checksum, of an even number of bytes and what was added up before.
fn checksum(bytes: &[u8], begin: u32) -> u16 {
    let words = bytes.chunks_exact(2);
    let mut sum = words.fold(begin, |sum, word| {
        sum + u32::from(u16::from_be_bytes([word[0], word[1]]))
    });
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use nke::filter::shapes::Shape;

    use super::*;

    #[test]
    fn a_frame_is_whole_and_says_what_the_rule_asks_for() {
        let mut dice = Dice::new(3);
        for rule in Shape::Fw.draw(&mut dice, 200, false) {
            let bytes = rule.packet(&mut dice);
            let frame = whole(&bytes, 7);
            let (addresses, ports) = (ETHERNET + 12..TRANSPORT, TRANSPORT..TRANSPORT + 4);
            assert_eq!(frame[addresses.clone()], bytes[addresses]);
            assert_eq!(frame[ports.clone()], bytes[ports]);
            assert_eq!(checksum(&frame[ETHERNET..TRANSPORT], 0), 0);
            let protocol = frame[ETHERNET + 9];
            let begin = u32::from(protocol) + (SIZE - TRANSPORT) as u32;
            assert_eq!(checksum(&frame[ETHERNET + 12..], begin), 0);
        }
    }
}
