//! The packets of a capture: a file of `tcpdump -w` or Wireshark, pcap or pcapng.
//!
//! Whatever the link of the capture, what comes out begins with an Ethernet header. This only reads,
//! a block at a time; a file is never in memory as a whole.

use std::io::Read;

use pcap_parser::{
    Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGOption, create_reader,
    traits::{PcapNGPacketBlock as _, PcapReaderIterator},
};

use crate::filter::InterfaceName;

/// Larger blocks than this are no packets.
const LARGEST_BLOCK: usize = 1 << 24;

/// Why a capture cannot be read on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no capture.
    #[error("it is no capture: neither pcap nor pcapng")]
    Foreign,
    /// Its link is of another kind.
    #[error("its packets are of link type {0}; Ethernet, raw IP and Linux cooked are read")]
    Link(i32),
    /// It ends in the middle.
    #[error("it ends in the middle of packet {packet}")]
    Cut {
        /// Its number, from 1.
        packet: usize,
    },
    /// There is no sense in it.
    #[error("packet {packet} is malformed")]
    Malformed {
        /// Its number, from 1.
        packet: usize,
    },
    /// It cannot be read.
    #[error("it cannot be read")]
    Io,
}

/// A packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its number, from 1.
    pub number: usize,
    /// Its bytes, from an Ethernet header on, as many as were captured.
    pub bytes: Vec<u8>,
    /// By which interface it came, if the capture says so.
    pub interface: Option<InterfaceName>,
    /// Whether the capture has less of it than there was.
    pub cut: bool,
}

/// A capture that is being read.
pub struct Capture<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    capacity: usize,
    /// Each interface of the section.
    interfaces: Vec<Interface>,
    packets: usize,
}

/// What packets were captured from.
#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    name: Option<InterfaceName>,
}

/// What a block comes to.
enum Said {
    Nothing,
    Interfaces(Vec<Interface>),
    Interface(Interface),
    Packet {
        interface: usize,
        bytes: Vec<u8>,
        length: u32,
    },
}

impl<'a> Capture<'a> {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// [`Unreadable::Foreign`] if it is no capture.
    pub fn new(reader: impl Read + Send + 'a) -> Result<Self, Unreadable> {
        let capacity = 1 << 16;
        let reader = create_reader(capacity, reader).map_err(|error| {
            if error == PcapError::ReadError {
                Unreadable::Io
            } else {
                Unreadable::Foreign
            }
        })?;
        Ok(Self {
            reader,
            capacity,
            interfaces: Vec::new(),
            packets: 0,
        })
    }

    /// The next packet; nothing at the end.
    ///
    /// # Errors
    ///
    /// [`Unreadable`], which names the packet. There is none behind it.
    pub fn next_packet(&mut self) -> Result<Option<Captured>, Unreadable> {
        loop {
            let packet = self.packets + 1;
            let (offset, read) = match self.reader.next() {
                Ok((offset, block)) => (offset, read(block)),
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                    self.refill(packet)?;
                    continue;
                }
                Err(PcapError::BufferTooSmall) => {
                    self.grow(packet)?;
                    continue;
                }
                Err(PcapError::ReadError) => return Err(Unreadable::Io),
                Err(_) => return Err(Unreadable::Malformed { packet }),
            };
            self.reader.consume(offset);
            match read {
                Said::Nothing => {}
                Said::Interfaces(all) => self.interfaces = all,
                Said::Interface(one) => self.interfaces.push(one),
                Said::Packet {
                    interface,
                    bytes,
                    length,
                } => {
                    self.packets = packet;
                    let interface = self.interfaces.get(interface);
                    let Interface { link, name } =
                        *interface.ok_or(Unreadable::Malformed { packet })?;
                    let cut = bytes.len() < usize::try_from(length).unwrap_or(usize::MAX);
                    return Ok(Some(Captured {
                        number: packet,
                        bytes: on_ethernet(link, bytes)?,
                        interface: name,
                        cut,
                    }));
                }
            }
        }
    }

    fn refill(&mut self, packet: usize) -> Result<(), Unreadable> {
        if self.reader.reader_exhausted() {
            return Err(Unreadable::Cut { packet });
        }
        match self.reader.refill() {
            Ok(()) => Ok(()),
            Err(PcapError::BufferTooSmall) => self.grow(packet),
            Err(_) => Err(Unreadable::Io),
        }
    }

    fn grow(&mut self, packet: usize) -> Result<(), Unreadable> {
        self.capacity *= 2;
        if self.capacity > LARGEST_BLOCK || !self.reader.grow(self.capacity) {
            return Err(Unreadable::Malformed { packet });
        }
        self.reader.refill().map_err(|_| Unreadable::Io)
    }
}

fn read(block: PcapBlockOwned<'_>) -> Said {
    match block {
        PcapBlockOwned::LegacyHeader(header) => Said::Interfaces(vec![Interface {
            link: header.network,
            name: None,
        }]),
        PcapBlockOwned::Legacy(packet) => Said::Packet {
            interface: 0,
            bytes: packet.data.to_vec(),
            length: packet.origlen,
        },
        PcapBlockOwned::NG(Block::SectionHeader(_)) => Said::Interfaces(Vec::new()),
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => Said::Interface(Interface {
            link: interface.linktype,
            name: name_of(&interface.options),
        }),
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => Said::Packet {
            interface: usize::try_from(packet.if_id).unwrap_or(usize::MAX),
            bytes: packet.packet_data().to_vec(),
            length: packet.origlen,
        },
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => Said::Packet {
            interface: 0,
            bytes: packet.packet_data().to_vec(),
            length: packet.origlen,
        },
        PcapBlockOwned::NG(_) => Said::Nothing,
    }
}

/// The name that an interface has; nothing if it says none, or stands for all of them.
fn name_of(options: &[PcapNGOption<'_>]) -> Option<InterfaceName> {
    let mut options = options.iter();
    let name = options.find(|option| option.code == OptionCode::IfName)?;
    let name = name.as_str().ok()?.trim_end_matches('\0');
    name.parse().ok().filter(|_| name != "any")
}

/// The packet behind an Ethernet header, which is made where the link has another.
fn on_ethernet(link: Linktype, bytes: Vec<u8>) -> Result<Vec<u8>, Unreadable> {
    const COOKED: usize = 16;
    const COOKED_2: usize = 20;
    let (kind, start) = match link {
        Linktype::ETHERNET => return Ok(bytes),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => {
            let is_v6 = bytes.first().is_some_and(|byte| byte >> 4 == 6);
            (if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] }, 0)
        }
        // The ethertype lies at the end of one, and at the beginning of the other.
        Linktype::LINUX_SLL => (two(&bytes, COOKED - 2), COOKED),
        Linktype(276) => (two(&bytes, 0), COOKED_2),
        Linktype(other) => return Err(Unreadable::Link(other)),
    };
    let rest = bytes.get(start..).unwrap_or_default();
    Ok([&[0; 12][..], &kind, rest].concat())
}

fn two(bytes: &[u8], at: usize) -> [u8; 2] {
    let pair = bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok());
    pair.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file of pcap, little end first.
    fn pcap(link: u32, packets: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, link] {
            file.extend(u32::to_le_bytes(word));
        }
        for packet in packets {
            let length = u32::try_from(packet.len()).unwrap();
            for word in [1, 2, length, length + 4] {
                file.extend(word.to_le_bytes());
            }
            file.extend(*packet);
        }
        file
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    }

    /// A file of pcapng with an interface of each link.
    fn pcapng(packets: &[(u16, &[u8])]) -> Vec<u8> {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let mut file = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
        for (link, _) in packets {
            file.extend(block(1, &words(&[(*link).into(), 0])));
        }
        for (interface, (_, packet)) in (0..).zip(packets) {
            let length = u32::try_from(packet.len()).unwrap();
            let body = [&words(&[interface, 0, 0, length, length])[..], packet].concat();
            file.extend(block(6, &body));
        }
        file
    }

    fn all(file: &[u8]) -> Result<Vec<Captured>, Unreadable> {
        let mut capture = Capture::new(file)?;
        let mut all = Vec::new();
        while let Some(packet) = capture.next_packet()? {
            all.push(packet);
        }
        Ok(all)
    }

    #[test]
    fn both_formats_are_read() {
        let long = vec![7; 100_000];
        let read = all(&pcap(1, &[&[1; 20], &long])).unwrap();
        assert_eq!(
            (read[0].number, read[0].bytes.len(), read[0].cut),
            (1, 20, true)
        );
        assert_eq!(read[1].bytes, long);
        let cooked = [&[0; 14][..], &[0x08, 0x06, 9, 9]].concat();
        let read = all(&pcapng(&[(1, &[3; 15]), (101, &[0x60, 5]), (113, &cooked)])).unwrap();
        assert_eq!((&read[0].bytes[..], read[0].cut), (&[3; 15][..], false));
        assert_eq!(read[1].bytes[12..], [0x86, 0xdd, 0x60, 5]);
        assert_eq!(read[2].bytes[12..], [0x08, 0x06, 9, 9]);
        assert!(read.iter().all(|packet| packet.interface.is_none()));
    }

    #[test]
    fn interfaces_are_named_by_the_capture() {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let mut file = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
        let names: [&[u8]; 4] = [b"eth0", b"any", b"\\Device\\NPF_{0011-2233}", b"br-lan.7\0"];
        for name in names {
            let mut options = name.to_vec();
            options.resize(name.len().next_multiple_of(4), 0);
            let length = u16::try_from(name.len()).unwrap();
            let head = [2u16.to_le_bytes(), length.to_le_bytes()].concat();
            let body = [&words(&[1, 0])[..], &head, &options, &[0; 4]].concat();
            file.extend(block(1, &body));
        }
        for interface in 0..4 {
            file.extend(block(6, &words(&[interface, 0, 0, 4, 4, 7])));
        }
        let read = all(&file).unwrap();
        let names: Vec<_> = read.iter().map(|packet| packet.interface).collect();
        assert_eq!(
            names,
            ["eth0", "", "", "br-lan.7"].map(|name| name.parse().ok())
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(
            all(b"#!/bin/sh\necho this is no capture at all").unwrap_err(),
            Unreadable::Foreign
        );
        assert_eq!(all(b"").unwrap_err(), Unreadable::Foreign);
        assert_eq!(
            all(&pcap(105, &[&[1; 20]])).unwrap_err(),
            Unreadable::Link(105)
        );
        let whole = pcap(1, &[&[1; 20], &[2; 20]]);
        let cut = &whole[..whole.len() - 1];
        assert_eq!(all(cut).unwrap_err(), Unreadable::Cut { packet: 2 });
        assert_eq!(all(&pcap(1, &[])), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_capture_or_not(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..300usize,
        ) {
            for mut file in [pcap(1, &[&[1; 20], &[2; 99]]), pcapng(&[(1, &[3; 15]), (1, &[])])] {
                let _: Result<_, _> = all(&file);
                let at = at.min(file.len());
                file.splice(at..(at + bytes.len() % 9).min(file.len()), bytes.iter().copied());
                let _: Result<_, _> = all(&file);
            }
        }
    }
}
