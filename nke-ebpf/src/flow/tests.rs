//! Packets whose flows are known.

use super::*;
use crate::{Direction, Frame};

/// A frame with these tags in front of this kind.
fn frame(tags: &[u16], kind: u16, packet: &[u8]) -> [u8; 200] {
    let mut bytes = [0; 200];
    let mut at = 12;
    for tag in tags {
        bytes[at..at + 2].copy_from_slice(&tag.to_be_bytes());
        at += 4;
    }
    bytes[at..at + 2].copy_from_slice(&kind.to_be_bytes());
    bytes[at + 2..at + 2 + packet.len()].copy_from_slice(packet);
    bytes
}

fn flow(bytes: &[u8]) -> Flow {
    Flow::of(&Frame::new(bytes, Direction::In)).unwrap()
}

/// UDP from port 1 to port 2, behind headers of which the first is `next`.
fn ipv6(next: u8, extensions: &[[u8; 8]]) -> [u8; 140] {
    let mut packet = [0; 140];
    packet[0] = 0x60;
    packet[6] = next;
    packet[8] = 0xfd;
    packet[39] = 9;
    for (place, extension) in packet[40..].chunks_mut(8).zip(extensions) {
        place.copy_from_slice(extension);
    }
    let at = 40 + extensions.len() * 8;
    packet[at..at + 4].copy_from_slice(&[0, 1, 0, 2]);
    packet
}

#[test]
fn tags_are_stepped_over_up_to_two() {
    const V4: [u8; 24] = [
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2,
    ];
    for tags in [[].as_slice(), &[0x8100], &[0x88a8, 0x8100]] {
        let flow = flow(&frame(tags, 0x0800, &V4));
        assert_eq!((flow.family(), flow.protocol()), (Family::V4, Some(17)));
        assert_eq!(
            (flow.source_v4(), flow.destination_v4()),
            ([10, 0, 0, 1], [10, 0, 0, 2])
        );
        assert_eq!(
            (flow.source_port(), flow.destination_port()),
            (Some(1), Some(2))
        );
        assert_eq!(flow.ports(), abi::ports(1, 2));
    }
    let flow = flow(&frame(&[0x8100; 3], 0x0800, &V4));
    assert_eq!((flow.family(), flow.is_cut()), (Family::Other, false));
}

#[test]
fn extension_headers_are_stepped_over() {
    // Destination options, a first fragment, then UDP.
    let flow = flow(&frame(
        &[],
        0x86dd,
        &ipv6(60, &[[44; 8], [17, 0, 0, 1, 0, 0, 0, 0]])[..],
    ));
    // 44 * 8 + 8 bytes of options: the rest lies behind the frame.
    assert_eq!(
        (flow.family(), flow.protocol(), flow.is_cut()),
        (Family::V6, None, true)
    );

    let headers = [[44, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 1, 0, 0, 0, 0]];
    let flow = self::flow(&frame(&[], 0x86dd, &ipv6(60, &headers)));
    assert_eq!(
        (flow.protocol(), flow.destination_port()),
        (Some(17), Some(2))
    );
    assert_eq!((flow.source_v6()[0], flow.destination_v6()[15]), (0xfd, 9));

    let headers = [[44, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 8, 0, 0, 0, 0]];
    let flow = self::flow(&frame(&[], 0x86dd, &ipv6(60, &headers)));
    assert_eq!((flow.protocol(), flow.destination_port()), (Some(17), None));
}

#[test]
fn too_many_extension_headers_obscure() {
    for (count, shown) in [(8, true), (9, false)] {
        let mut headers = [[60, 0, 0, 0, 0, 0, 0, 0]; 9];
        headers[count - 1][0] = 17;
        let bytes = frame(&[], 0x86dd, &ipv6(60, &headers[..count]));
        let found = Flow::of(&Frame::new(&bytes, Direction::Out));
        let expected = if shown { Ok(Some(2)) } else { Err(Obscured) };
        assert_eq!(
            found.map(|flow| flow.destination_port()),
            expected,
            "{count}"
        );
    }
}

#[test]
fn what_is_cut_is_not_there() {
    let whole = frame(&[], 0x86dd, &ipv6(17, &[]));
    for (length, family, ports) in [
        (21, Family::Other, None),
        (53, Family::Other, None),
        (57, Family::V6, None),
    ] {
        let flow = flow(&whole[..length]);
        assert_eq!(
            (flow.family(), flow.destination_port()),
            (family, ports),
            "{length}"
        );
        assert!(flow.is_cut(), "{length}");
    }
    assert_eq!(flow(&whole[..58]).destination_port(), Some(2));
}

#[test]
fn without_a_link_header_the_packet_is_the_ip_packet() {
    let v4 = [
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2,
    ];
    let v6 = ipv6(60, &[[17, 0, 0, 0, 0, 0, 0, 0]]);
    for (bytes, family) in [(&v4[..], Family::V4), (&v6, Family::V6)] {
        let flow = Flow::of(&Frame::without_link(bytes, Direction::Forward)).unwrap();
        assert_eq!((flow.family(), flow.protocol()), (family, Some(17)));
        assert_eq!(flow.ports(), abi::ports(1, 2));
        let flow = Flow::of(&Frame::without_link(&bytes[..19], Direction::Out)).unwrap();
        assert_eq!((flow.family(), flow.is_cut()), (Family::Other, true));
    }
    assert_eq!(facts::direction(Direction::In), facts::IN);
    assert_eq!(facts::direction(Direction::Out), facts::OUT);
    assert_eq!(facts::direction(Direction::Forward), facts::IN | facts::OUT);
}

/// Whatever the packet, the straight way tells what the long one tells, or nothing.
#[test]
fn both_ways_tell_the_same() {
    let v4 = [
        0x45, 0xb8, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2,
    ];
    let v6 = ipv6(17, &[]);
    let starts: [(&[u16], u16, &[u8]); 4] = [
        (&[], 0x0800, &v4),
        (&[], 0x86dd, &v6),
        (&[0x8100], 0x0800, &v4),
        (&[], 0x0806, &v4),
    ];
    let mut random = 1u64;
    let mut draw = |below: usize| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) as usize % below
    };
    let mut straight = 0;
    for (tags, kind, packet) in starts {
        for _ in 0..20_000 {
            let mut bytes = frame(tags, kind, packet);
            for _ in 0..draw(3) {
                bytes[12 + draw(60)] = [0, 1, 4, 6, 17, 44, 0x20, 0x46, 0x60, 0xff][draw(10)];
            }
            let length = if draw(2) == 0 { bytes.len() } else { draw(80) };
            let packet = Frame::new(&bytes[..length], Direction::In);
            for more in [false, true] {
                let found = Flow::straight(&packet, more);
                straight += u32::from(found.is_some());
                let any = Flow::any(&packet);
                let any = any.map(|any| if more { any.with_more(&packet) } else { any });
                assert_eq!(Flow::asked(&packet, more), any, "{:x?}", &bytes[..length]);
            }
        }
    }
    assert!(straight > 10_000, "only {straight}");
}
