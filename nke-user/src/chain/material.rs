//! What a node is made of: its program, its own maps, and the marks of the sockets that may meet it.
//!
//! Reads what is there and makes maps; never changes a chain.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use super::{Chain, Fresh, MARKS, Role, Workshop, build::made};
use crate::{
    error::{Error, Result},
    hook::Hook,
    loader::Maps,
    object::Linked,
    place, sys,
};

/// A node's program before it is placed, and whose it is by which name.
pub(super) fn link<'a>(
    shop: &Workshop<'_, '_>,
    fresh: &'a Fresh,
    own: &Maps,
) -> Result<(Linked, &'a str, &'a str)> {
    Ok(match &fresh.role {
        Role::Extension { name, symbol, .. } => {
            let source = (shop.source)(&fresh.role)?.ok_or_else(|| Error::NotLoaded {
                name: name.clone(),
                stage: "find its object",
            })?;
            if fresh.enabled {
                (source.link(symbol, own, None)?, name, symbol)
            } else {
                (off(shop, source.object.takes_frags(symbol)), name, symbol)
            }
        }
        Role::DropPolicy => {
            let drop = shop.ground.hook().row().drop.unwrap_or_default();
            (Linked::bare(place::constant(drop)), "nke", "nke_drop")
        }
        Role::Claim { extension } => {
            let marks = own.get(MARKS).map_or(-1, OwnedFd::as_raw_fd);
            let claim = place::claim(extension, marks);
            (Linked::bare(claim), "nke", "nke_claim")
        }
    })
}

/// Whether rules alone say what a node's program does.
pub(super) fn is_judged_by_rules(shop: &Workshop<'_, '_>, fresh: &Fresh) -> Result<bool> {
    let source = (shop.source)(&fresh.role)?;
    Ok(source.is_some_and(|source| source.object.manifest().judged_by_rules))
}

/// The body of an attachment that is disabled: it only goes on. The chain need not change how it takes
/// packets of several buffers.
fn off(shop: &Workshop<'_, '_>, frags: bool) -> Linked {
    let pass = shop.ground.hook().row().pass;
    let mut off = Linked::bare(place::constant(pass));
    off.frags = frags;
    off
}

/// The maps that a node has of its own: those it is given, those of the node whose place it takes,
/// or new ones.
pub(super) fn own_maps(
    shop: &Workshop<'_, '_>,
    fresh: &Fresh,
    inherited: Option<&Path>,
) -> Result<Maps> {
    if let Some(given) = &fresh.maps {
        let copy = |(name, map): (&String, &OwnedFd)| Ok((name.clone(), shop.state.copy(map)?));
        return given.iter().map(copy).collect();
    }
    if let Some(directory) = inherited {
        return shop.state.maps(&directory.join("maps"));
    }
    match (&fresh.role, (shop.source)(&fresh.role)?) {
        (Role::Claim { .. }, _) => {
            let marks = sys::map::create_socket_storage("nke_marks");
            Ok(Maps::from([(MARKS.to_owned(), made(MARKS, marks)?)]))
        }
        (role, Some(source)) => source.make_attachment_maps((shop.beside)(role)?),
        (_, None) => Ok(Maps::new()),
    }
}

/// Where the sockets are marked that alone meet a node, which is what a claim of the same cgroup
/// has.
pub(super) fn marks(shop: &Workshop<'_, '_>, fresh: &Fresh) -> Result<Option<OwnedFd>> {
    let (Role::Extension { name, .. }, true) = (&fresh.role, fresh.opt_in && fresh.enabled) else {
        return Ok(None);
    };
    let missing = || Error::NotLoaded {
        name: name.clone(),
        stage: "find the claim of its socket option",
    };
    let chain = Chain::read(shop.state, Hook::SETSOCKOPT, shop.ground.target())?;
    let chain = chain.ok_or_else(missing)?;
    let mut claims = chain.claims();
    let claim = claims.find(|(extension, _)| extension == name);
    let (_, claim) = claim.ok_or_else(missing)?;
    chain.marks(shop.state, claim).map(Some)
}
