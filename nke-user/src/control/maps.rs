//! Maps of loaded extensions, found by name: those that all attachments of an extension share, and
//! those of one attachment or target.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::{Control, Scope};
use crate::{
    chain::{Chain, Node},
    error::{Error, Result},
    extension::{Extension, Source},
    filter::{SETS_MAP, Sets},
    maps::{Map, MapStatus, Owner},
    order::Selector,
    sys,
};

impl Control {
    /// The maps of an extension: its own, and those of its attachments as far as the scope goes. The
    /// extension is meant by name, by kmid, or by an attachment's id.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`].
    pub fn maps(&self, selector: &Selector, scope: &Scope) -> Result<Vec<MapStatus>> {
        let (extension, source) = self.extension_of(selector, "list the maps of")?;
        let manifest = source.object.manifest();
        let mut maps = Vec::new();
        for (name, fd) in source.maps() {
            let map = open(extension, &source, name, fd)?;
            maps.push(map.status(Owner::Extension, Vec::new()));
        }
        let place = scope.resolve()?;
        let mut own: BTreeMap<(&String, u32), (OwnedFd, Vec<u32>)> = BTreeMap::new();
        let meant = |node: &Node| match selector {
            Selector::Id(id) => *id == node.record.id || *id == extension.kmid,
            Selector::Name(_) => true,
        };
        let uses = self.uses(extension.kmid);
        for (chain, node) in uses.filter(|(chain, node)| place.has(chain) && meant(node)) {
            for name in manifest.own_maps() {
                let fd = self.own_map(chain, node, name)?;
                let id = self.id_of(extension, name, &fd)?;
                let (_, attachments) = own.entry((name, id)).or_insert((fd, Vec::new()));
                attachments.push(node.record.id);
            }
        }
        for ((name, _), (fd, attachments)) in own {
            let owner = match manifest.target_maps.contains(name) {
                true => Owner::Target,
                false => Owner::Attachment,
            };
            maps.push(open(extension, &source, name, &fd)?.status(owner, attachments));
        }
        Ok(maps)
    }

    /// One map of an extension, by name. One that attachments or targets have of their own is that
    /// of the attachment which the selector means in the scope.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::NoMap`], [`Error::NoAttachment`],
    /// [`Error::ManyAttachments`] where it is not clear whose is meant.
    pub fn map(&self, selector: &Selector, scope: &Scope, name: &str) -> Result<Map> {
        const STAGE: &str = "find map";
        let (extension, source) = self.extension_of(selector, STAGE)?;
        let manifest = source.object.manifest();
        if let Some(fd) = source.map(name) {
            return open(extension, &source, name, fd);
        }
        if !manifest.own_maps().any(|own| own == name) {
            let shared = source.maps().map(|(name, _)| name.to_owned());
            return Err(Error::NoMap {
                extension: extension.name.clone(),
                stage: STAGE,
                map: name.to_owned(),
                has: shared.chain(manifest.own_maps().cloned()).collect(),
            });
        }
        // A kmid means all attachments of its extension.
        let selector = match selector {
            Selector::Id(id) if *id == extension.kmid => &Selector::Name(extension.name.clone()),
            selector @ (Selector::Id(_) | Selector::Name(_)) => selector,
        };
        let found = self.attachments(selector, scope, STAGE)?;
        let mut maps = BTreeMap::new();
        for (at, node) in &found {
            let chain = &self.chains[*at];
            let fd = self.own_map(chain, &chain.nodes[*node], name)?;
            maps.insert(self.id_of(extension, name, &fd)?, fd);
        }
        match (maps.pop_first(), maps.is_empty()) {
            (Some((_, fd)), true) => open(extension, &source, name, &fd),
            _ => Err(self.ambiguous(selector, STAGE, &found)),
        }
    }

    /// The named sets that all attachments of an extension share, which is loaded.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`]; [`Error::NoMap`] if it has none.
    pub fn sets(&self, extension: &str) -> Result<Sets> {
        const STAGE: &str = "find sets";
        let selector = Selector::Name(extension.to_owned());
        let extension = self.extension_meant(&selector, STAGE)?;
        // Its object has nothing to say about them, and takes a while to read.
        let mut maps = extension.maps(&self.state)?;
        let map = maps.remove(SETS_MAP).ok_or_else(|| Error::NoMap {
            extension: extension.name.clone(),
            stage: STAGE,
            map: SETS_MAP.to_owned(),
            has: maps.into_keys().collect(),
        })?;
        Ok(Sets::new(map))
    }

    /// The extension that is meant by name, by kmid, or by an attachment's id.
    pub(super) fn extension_of(
        &self,
        selector: &Selector,
        stage: &'static str,
    ) -> Result<(&Extension, Rc<Source>)> {
        let extension = self.extension_meant(selector, stage)?;
        Ok((extension, self.source_of(extension.kmid)?))
    }

    fn extension_meant(&self, selector: &Selector, stage: &'static str) -> Result<&Extension> {
        let attached = || {
            let nodes = self.chains.iter().flat_map(Chain::attachments);
            let mut meant = nodes.filter(|node| selector.is(node.record.id, ""));
            let kmid = meant.next()?.record.role.kmid()?;
            self.extensions.iter().find(|e| e.kmid == kmid)
        };
        let named = self
            .extensions
            .iter()
            .find(|e| selector.is(e.kmid, &e.name));
        let not_loaded = || Error::NotLoaded {
            name: selector.to_string(),
            stage,
        };
        named.or_else(attached).ok_or_else(not_loaded)
    }

    fn own_map(&self, chain: &Chain, node: &Node, name: &str) -> Result<OwnedFd> {
        let directory = chain.node_directory(node).join("maps");
        let mut maps = self.state.maps(&directory)?;
        maps.remove(name).ok_or_else(|| Error::NoMap {
            extension: node.record.id.to_string(),
            stage: "find map",
            map: name.to_owned(),
            has: maps.into_keys().collect(),
        })
    }

    fn id_of(&self, extension: &Extension, name: &str, fd: &OwnedFd) -> Result<u32> {
        let described = sys::map::describe(fd).map_err(|source| Error::Kernel {
            object: format!("{}: map {name}", extension.name),
            stage: "query",
            source,
            remedy: "try again",
        })?;
        Ok(described.id)
    }
}

fn open(extension: &Extension, source: &Source, name: &str, fd: &OwnedFd) -> Result<Map> {
    let fd = fd.try_clone().map_err(|source| Error::Kernel {
        object: format!("{}: map {name}", extension.name),
        stage: "open",
        source,
        remedy: "raise the limit of open files",
    })?;
    let object = &source.object;
    let mut variables = object.variables();
    variables.retain(|variable| variable.section == name);
    Map::new(&extension.name, name, fd, object.map_types(name), variables)
}
