//! How packets go to the far end of a connection: by which interfaces, and in whose frames. It only asks.

use std::{io, net::IpAddr};

use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};

use crate::{
    filter::Mac,
    interface::Namespace,
    netlink::{self, Message},
};

/// How packets go to a peer.
pub(super) struct Route {
    /// The interfaces that they go by: that of the route, and those below it.
    pub(super) interfaces: Vec<u32>,
    /// Whose frames they go by: the peer's own, or those of the router in front of it.
    next: IpAddr,
    links: Vec<LinkMessage>,
}

impl Route {
    /// The kernel's choice.
    pub(super) fn to(namespace: &Namespace, peer: IpAddr) -> io::Result<Self> {
        let mut question = RouteMessage::default();
        (
            question.header.address_family,
            question.header.destination_prefix_length,
        ) = match peer {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        question.attributes = vec![RouteAttribute::Destination(peer.into())];
        let answers = netlink::order(namespace, Message::GetRoute(question), 0)?;
        let (mut found, mut next) = (Vec::new(), peer);
        for answer in answers {
            let Message::NewRoute(route) = answer else {
                continue;
            };
            for attribute in route.attributes {
                if let RouteAttribute::Oif(index) = attribute {
                    found.push(index);
                } else if let RouteAttribute::Gateway(RouteAddress::Inet(router)) = attribute {
                    next = router.into();
                } else if let RouteAttribute::Gateway(RouteAddress::Inet6(router)) = attribute {
                    next = router.into();
                }
            }
        }
        let links = netlink::dump(namespace, Message::GetLink(LinkMessage::default()))?;
        let links: Vec<_> = links.into_iter().filter_map(link).collect();
        let pairs: Vec<_> = links.iter().map(pair_of_link).collect();
        let mut at = 0;
        while let Some(&upper) = found.get(at) {
            for (index, controller, link) in &pairs {
                // What it is made of: the ports of a bridge, the device under a VLAN.
                let below = match () {
                    () if *controller == Some(upper) => Some(*index),
                    () if *index == upper => *link,
                    () => None,
                };
                found.extend(below.filter(|below| !found.contains(below)));
            }
            at += 1;
        }
        Ok(Self {
            interfaces: found,
            next,
            links,
        })
    }

    /// The hardware addresses of whose frames these are, and of the interface that takes them; nothing where there are
    /// none, or the host does not know that of the other (yet).
    pub(super) fn hardware(&self, namespace: &Namespace) -> Option<(Mac, Mac)> {
        let own = self.interfaces.first()?;
        let own = self.links.iter().find(|link| link.header.index == *own)?;
        let own = own.attributes.iter().find_map(|attribute| {
            let LinkAttribute::Address(bytes) = attribute else {
                return None;
            };
            mac(bytes)
        });
        let next = NeighbourAttribute::Destination(match self.next {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        });
        let question = Message::GetNeighbour(NeighbourMessage::default());
        let neighbours = netlink::dump(namespace, question).ok()?;
        let far = neighbours.into_iter().find_map(|answer| {
            let Message::NewNeighbour(neighbour) = answer else {
                return None;
            };
            let all = neighbour.attributes;
            let address = all.iter().find_map(|attribute| {
                let NeighbourAttribute::LinkLayerAddress(bytes) = attribute else {
                    return None;
                };
                mac(bytes)
            });
            address.filter(|_| all.contains(&next))
        });
        far.zip(own)
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn link(answer: Message) -> Option<LinkMessage> {
    let Message::NewLink(link) = answer else {
        return None;
    };
    Some(link)
}

/// An interface's index, its controller's, and that of the one it sits on.
fn pair_of_link(link: &LinkMessage) -> (u32, Option<u32>, Option<u32>) {
    let (mut controller, mut below) = (None, None);
    let mut elsewhere = false;
    for attribute in &link.attributes {
        if let LinkAttribute::Controller(index) = attribute {
            controller = Some(*index);
        } else if let LinkAttribute::Link(index) = attribute {
            below = Some(*index);
        } else if let LinkAttribute::LinkNetNsId(_) = attribute {
            // A veth's other end, whose index is another namespace's.
            elsewhere = true;
        }
    }
    (link.header.index, controller, below.filter(|_| !elsewhere))
}
