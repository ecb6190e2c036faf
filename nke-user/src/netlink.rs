//! Questions and orders to the kernel over netlink (man 7 netlink), one at a time.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
pub(crate) use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER, protocols::NETLINK_ROUTE};

use crate::interface::Namespace;

/// Asks the routing netlink (man 7 rtnetlink) for all of something: an answer for each.
pub(crate) fn dump(namespace: &Namespace, message: Message) -> io::Result<Vec<Message>> {
    exchange(namespace, NETLINK_ROUTE, message, NLM_F_DUMP)
}

/// Asks netfilter for all of something, likewise.
pub(crate) fn dump_netfilter<M>(namespace: &Namespace, message: M) -> io::Result<Vec<M>>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    exchange(namespace, NETLINK_NETFILTER, message, NLM_F_DUMP)
}

/// Orders something of the routing netlink, with more `NLM_F_…` flags, or asks for one thing.
pub(crate) fn order(
    namespace: &Namespace,
    message: Message,
    flags: u16,
) -> io::Result<Vec<Message>> {
    exchange(namespace, NETLINK_ROUTE, message, NLM_F_ACK | flags)
}

fn exchange<M>(namespace: &Namespace, protocol: isize, message: M, flags: u16) -> io::Result<Vec<M>>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    let mut socket = namespace
        .within(|| Socket::new(protocol))
        .map_err(io::Error::other)??;
    socket.bind_auto()?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;

    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<M>::deserialize(rest).map_err(io::Error::other)?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if let NetlinkPayload::InnerMessage(message) = answer.payload {
                answers.push(message);
            } else if let NetlinkPayload::Error(error) = answer.payload {
                return if error.code.is_some() {
                    Err(error.to_io())
                } else {
                    Ok(answers)
                };
            } else if let NetlinkPayload::Done(_) = answer.payload {
                return Ok(answers);
            }
        }
    }
}
