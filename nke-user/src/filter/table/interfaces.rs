//! Where the interfaces are that rules ask for, by their names.
//!
//! It never remembers an index: interfaces come and go.

use crate::{error, filter::InterfaceName, interface::Namespace};

/// Where the interfaces are that rules ask for.
pub(super) enum Interfaces {
    /// Nowhere.
    Unknown,
    /// In this network namespace.
    Of(Namespace),
    /// In this network namespace; those that are not there are nowhere.
    OrNone(Namespace),
    /// Packets are the kernel's test runs, and taken for packets of this one.
    Tried(InterfaceName),
}

/// What the kernel takes for a test comes by the loopback device, which every network namespace has as its first.
const LOOPBACK: u32 = 1;
/// No interface has this index.
const NOWHERE: u32 = u32::MAX;

impl Interfaces {
    pub(super) fn index(&self, name: InterfaceName) -> Option<u32> {
        match self {
            Self::Unknown => None,
            Self::Of(namespace) => namespace.index(name.as_str()).ok(),
            Self::OrNone(namespace) => match namespace.index(name.as_str()) {
                Ok(index) => Some(index),
                Err(error::Error::NoInterface { .. }) => Some(NOWHERE),
                // That it cannot be asked for is another thing.
                Err(_) => None,
            },
            Self::Tried(one) if *one == name => Some(LOOPBACK),
            Self::Tried(_) => Some(NOWHERE),
        }
    }

    /// Whether there is an interface of this index, as far as that can be asked.
    pub(super) fn has(&self, index: u32) -> bool {
        match self {
            Self::Of(namespace) | Self::OrNone(namespace) => namespace.interface(index).is_some(),
            Self::Unknown | Self::Tried(_) => true,
        }
    }

    pub(super) fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Of(namespace) | Self::OrNone(namespace) => Some(namespace),
            Self::Unknown | Self::Tried(_) => None,
        }
    }
}
