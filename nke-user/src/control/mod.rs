//! The verbs: what can be asked of nke, one method each. The command calls these, and nothing
//! else does the work.
//!
//! A [`Control`] holds the lock: from [`Control::open`] until it is dropped, nobody else changes
//! the state or a chain. Opening it removes what killed commands and vanished interfaces left.
//!
//! ```no_run
//! use nke::control::{Attach, Control};
//!
//! let mut control = Control::open("/run/nke".as_ref())?;
//! let attached = control.attach(&Attach::new("counter", "eth0"))?;
//! println!("{} at position {}", attached.node.id, attached.node.position);
//! # Ok::<(), nke::error::Error>(())
//! ```

mod act;
mod apply;
mod attach;
mod caller;
mod confirm;
mod declared;
mod depend;
mod edit;
mod enable;
mod existing;
mod fast;
mod holders;
mod libs;
mod load;
mod manner;
mod maps;
mod opt_in;
mod rollback;
mod save;
mod scope;
mod seal;
mod selection;
mod settings;
mod shape;
mod signer;
mod status;
mod takeover;
mod unload;
mod upgrade;
mod way;

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    rc::Rc,
};

use self::selection::{place, slots};
pub use self::{
    apply::Terms,
    attach::{Attach, Attached},
    confirm::{Pending, Standing, Start, Timer, wait},
    edit::Policy,
    libs::{Lib, LibKind, Libs, Outcome, Provider},
    manner::Manner,
    scope::Scope,
    settings::{Origin, SettingStatus},
    shape::{ChainStatus, Counts, ExtensionStatus, NeedStatus, NodeStatus},
    unload::{Unload, Unloaded},
    upgrade::{Carried, MapFate, MapStatus, Upgrade, Upgraded},
    way::{HookStatus, WayStatus},
};
pub(crate) use self::{depend::unmet_error, libs::undeclared};
pub use crate::chain::RecordedForm as Form;
pub use crate::{holder::Holder, routine::Routine};
use nke_ebpf::abi::{map, records};

use crate::{
    chain::{self, Chain, Change, Ground, Prepared, Role, Workshop},
    error::{Error, Result},
    extension::{Build, Extension, Record, Source},
    find::Wanted,
    hook::Hook,
    left_out::LeftOut,
    loader::Maps,
    reading::Reading,
    records::Tail,
    seal::{Level, admit, refuse_from},
    state::State,
    target::Target,
};

/// nke's state, locked, as it was read.
#[derive(Debug)]
pub struct Control {
    state: State,
    extensions: Vec<Extension>,
    /// The builds before these, which nothing uses but a rollback.
    previous: Vec<Extension>,
    chains: Vec<Chain>,
    /// Where a chain could not be read after it was changed.
    unread: BTreeSet<(Hook, Target)>,
    sources: RefCell<HashMap<u32, Rc<Source>>>,
    /// What the next extension is to be given beyond what it says that it needs.
    with: Vec<Wanted>,
}

/// What nodes are built among, beyond what is in force.
struct Around<'a> {
    /// The own maps of attachments that are not in force yet: of which target and extension, and where.
    aside: &'a [(Target, u32, PathBuf)],
    /// What to say of a node that cannot be built.
    blame: &'a dyn Fn(&Role, Error) -> Error,
}

impl Default for Around<'_> {
    fn default() -> Self {
        Self {
            aside: &[],
            blame: &|_, error| error,
        }
    }
}

impl Control {
    /// Opens the state to change something: as [`Control::look`], unless the host is sealed.
    ///
    /// # Errors
    ///
    /// [`Error::Sealed`], and those of [`Control::look`].
    pub fn open(path: &Path) -> Result<Self> {
        let control = Self::look(path)?;
        // With the lock: who seals the host holds it as well.
        refuse_from(Level::NoChange)?;
        Ok(control)
    }

    /// Opens the state to look at it: waits for the lock, reads and sweeps. Who is going to change
    /// something calls [`Control::open`].
    ///
    /// # Errors
    ///
    /// [`Error::NotRoot`], [`Error::State`], [`Error::UnsafeState`], [`Error::SealedOut`].
    pub fn look(path: &Path) -> Result<Self> {
        let state = State::open(path)?;
        admit(&state)?;
        let chains = chain::sweep(&state)?;
        let extensions = Extension::sweep(&state)?;
        let is_previous = |e: &Extension| e.build == Build::Previous;
        let (previous, extensions) = extensions.into_iter().partition(is_previous);
        let mut control = Self {
            state,
            extensions,
            previous,
            chains,
            unread: BTreeSet::new(),
            sources: RefCell::default(),
            with: Vec::new(),
        };
        control.recover()?;
        control.reread_all()?;
        control.go_on_unloading()?;
        control.disclaim_unused()?;
        control.unload_unused()?;
        control.settle()?;
        control.go_back_if_due()?;
        Ok(control)
    }

    fn extension(&self, name: &str) -> Option<&Extension> {
        self.extensions
            .iter()
            .find(|extension| extension.name == name && extension.build == Build::Current)
    }

    /// The extension of this kmid.
    fn known(&self, kmid: u32) -> Option<&Extension> {
        self.extensions.iter().find(|e| e.kmid == kmid)
    }

    /// Changes what is written of an extension.
    fn edit(&mut self, kmid: u32, edit: impl FnOnce(&mut Record)) -> Result<()> {
        let found = self.extensions.iter_mut().find(|e| e.kmid == kmid);
        found.map_or(Ok(()), |extension| extension.edit(&self.state, edit))
    }

    /// An extension's object and maps, read once.
    fn source(&self, role: &Role) -> Result<Option<Rc<Source>>> {
        match role {
            Role::Extension { kmid, .. } => self.source_of(*kmid).map(Some),
            Role::DropPolicy | Role::Claim { .. } => Ok(None),
        }
    }

    /// The object and maps of the extension with this kmid, read once.
    fn source_of(&self, kmid: u32) -> Result<Rc<Source>> {
        if let Some(source) = self.sources.borrow().get(&kmid) {
            return Ok(Rc::clone(source));
        }
        let extension = self
            .extensions
            .iter()
            .chain(&self.previous)
            .find(|extension| extension.kmid == kmid);
        let not_loaded = || Error::NotLoaded {
            name: kmid.to_string(),
            stage: "find its object",
        };
        let source = Rc::new(Source::open(
            &self.state,
            extension.ok_or_else(not_loaded)?,
        )?);
        self.sources.borrow_mut().insert(kmid, Rc::clone(&source));
        Ok(source)
    }

    /// Prepares a change of a chain: see [`chain::prepare`].
    fn prepare<'a>(&'a self, ground: Ground<'a>, wanted: &[Change]) -> Result<Prepared<'a>> {
        self.build(ground, &Around::default(), |shop| {
            chain::prepare(shop, wanted)
        })
    }

    /// Gives what building nodes needs to who builds them.
    fn build<'a, T>(
        &'a self,
        ground: Ground<'a>,
        around: &Around<'_>,
        work: impl FnOnce(&Workshop<'a, '_>) -> Result<T>,
    ) -> Result<T> {
        let source = |role: &Role| self.source(role);
        let beside = |role: &Role| {
            let Some(kmid) = role.kmid() else {
                return Ok(Maps::new());
            };
            let here = |target: Target| target == ground.target();
            let mut uses = self.uses(kmid).filter(|(chain, _)| here(chain.target));
            if let Some((chain, node)) = uses.next() {
                return self.state.maps(&chain.node_directory(node).join("maps"));
            }
            let mut aside = around.aside.iter();
            match aside.find(|(target, of, _)| here(*target) && *of == kmid) {
                Some((_, _, maps)) => self.state.maps(maps),
                None => Ok(Maps::new()),
            }
        };
        let shop = Workshop {
            state: &self.state,
            ground,
            source: &source,
            beside: &beside,
            blame: around.blame,
        };
        work(&shop)
    }

    /// Puts prepared changes in force, all or none: see [`chain::put_in_force`].
    fn put_in_force(&self, changes: Vec<Prepared<'_>>) -> Result<Vec<Vec<u32>>> {
        self.put_in_force_with(changes, || Ok(()))
    }

    /// Puts prepared changes in force with what comes with them, all or none.
    fn put_in_force_with(
        &self,
        changes: Vec<Prepared<'_>>,
        then: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<Vec<u32>>> {
        let places: Vec<_> = changes.iter().filter_map(Prepared::place).collect();
        let programs = chain::put_in_force(changes, then)?;
        for (hook, target) in places {
            // The change is in force. If this cannot be had, `nke chain` shows who comes behind.
            if let Ok(Some(chain)) = Chain::read(&self.state, hook, target) {
                let _: Result<()> = chain::speak_last(&self.state, &chain);
                self.hasten_chain(&chain);
            }
        }
        Ok(programs)
    }

    /// Changes one chain. Returns the programs of the nodes that are wanted, in their order.
    fn commit(&self, ground: Ground<'_>, wanted: &[Change]) -> Result<Vec<u32>> {
        let change = self.prepare(ground, wanted)?;
        let programs = self.put_in_force(vec![change])?;
        Ok(programs.into_iter().flatten().collect())
    }

    /// Changes several chains, all or none. Then the changes are in force, whether the chains can be
    /// read again now or by the next command.
    fn change(&mut self, wanted: &[(Hook, Target, Vec<Change>)]) -> Result<()> {
        let mut changes = Vec::new();
        for (hook, target, wanted) in wanted {
            if let Some(chain) = self.chain(*hook, *target) {
                changes.push(self.prepare(Ground::Chain(chain), wanted)?);
            }
        }
        self.put_in_force(changes)?;
        for (hook, target, _) in wanted {
            let _: Result<_> = self.reread(*hook, *target);
        }
        Ok(())
    }

    /// Reads a chain whose change is in force, to show it.
    fn read_back(&mut self, hook: Hook, target: Target) -> Result<Option<&Chain>> {
        self.reread(hook, target)
            .map_err(|source| Error::NotReadBack {
                hook,
                source: Box::new(source),
            })
    }

    fn reread(&mut self, hook: Hook, target: Target) -> Result<Option<&Chain>> {
        self.chains
            .retain(|chain| (chain.hook, chain.target) != (hook, target));
        self.unread.insert((hook, target));
        let read = Chain::read(&self.state, hook, target)?;
        self.unread.remove(&(hook, target));
        let Some(chain) = read else {
            return Ok(None);
        };
        self.chains.push(chain);
        self.chains
            .sort_unstable_by_key(|chain| (chain.target, chain.hook));
        Ok(self.chain(hook, target))
    }

    /// Reads again what has changed and could not be read since. Only who has read all chains can
    /// say what nothing uses.
    fn reread_all(&mut self) -> Result<()> {
        for (hook, target) in self.unread.clone() {
            self.reread(hook, target)?;
        }
        Ok(())
    }

    fn chain(&self, hook: Hook, target: Target) -> Option<&Chain> {
        self.chains
            .iter()
            .find(|chain| (chain.hook, chain.target) == (hook, target))
    }
}

/// All of a chain as it is.
fn keep_all(chain: &Chain) -> Vec<Change> {
    (0..chain.nodes.len()).map(Change::Keep).collect()
}

impl Control {
    /// The right to read an extension's lines and records.
    ///
    /// # Errors
    ///
    /// [`Error::BeingRead`] if another process has it, [`Error::NotLoaded`], [`Error::State`].
    pub fn reading(&self, kmid: u32) -> Result<Reading> {
        let extension = self.known(kmid).ok_or_else(|| Error::NotLoaded {
            name: kmid.to_string(),
            stage: "log",
        })?;
        Reading::of(&extension.name, &extension.directory(&self.state))
    }

    /// A reader of an extension's records; `None` if it sends none.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::Kernel`].
    pub fn records(&self, kmid: u32) -> Result<Option<Tail>> {
        let extension = self.extensions.iter().find(|e| e.kmid == kmid);
        let name = extension.map(|e| e.name.clone()).unwrap_or_default();
        let role = Role::Extension {
            name: name.clone(),
            kmid,
            symbol: String::new(),
        };
        let Some(source) = self.source(&role)? else {
            return Ok(None);
        };
        let maps = (source.map(records::RECORDS), source.map(records::LOST));
        let (Some(kind), (Some(ring), Some(lost))) = (source.object.manifest().records, maps)
        else {
            return Ok(None);
        };
        let copy = |map: &OwnedFd| {
            map.try_clone().map_err(|source| Error::Kernel {
                object: name.clone(),
                stage: "open its records",
                source,
                remedy: "raise the limit of open files",
            })
        };
        Tail::new(&name, kind, copy(ring)?, copy(lost)?).map(Some)
    }

    /// The count of log lines that an extension leaves out; `None` if it keeps none.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::Kernel`].
    pub fn left_out(&self, kmid: u32) -> Result<Option<LeftOut>> {
        let source = self.source_of(kmid)?;
        let name = self.known(kmid).map_or("", |extension| &extension.name);
        let Some(counts) = source.map(map::LEFT_OUT) else {
            return Ok(None);
        };
        let counts = counts.try_clone().map_err(|source| Error::Kernel {
            object: name.to_owned(),
            stage: "open its count of lines",
            source,
            remedy: "raise the limit of open files",
        })?;
        Ok(LeftOut::of(name, counts))
    }
}
