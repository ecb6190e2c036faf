//! `attach`: an extension joins a chain.

use super::{ChainStatus, Control, Manner, NodeStatus, Scope, slots};
use crate::{
    chain::{Change, Fresh, Ground, Role, Site},
    error::{Error, Result},
    find::Wanted,
    hook::{Family, Hook, Kind},
    kernel::Version,
    order::{DEFAULT_PRIORITY, Position, Selector, insert},
    target::{Spot, Target, Where},
};

/// What is to be attached, and where.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The extension.
    pub extension: Wanted,
    /// What to attach it to.
    pub place: Where,
    /// The hook; without one the first that the extension serves.
    pub hook: Option<Hook>,
    /// The program's symbol, where several serve the hook.
    pub program: Option<String>,
    /// Its place in the chain; without one, the priority that its manifest says for the hook, or else
    /// [`DEFAULT_PRIORITY`].
    pub position: Option<Position>,
    /// How it is to be made.
    pub manner: Manner,
}

/// An attachment, just made.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its node.
    pub node: NodeStatus,
    /// The chain that it is in.
    pub chain: ChainStatus,
}

impl Attach {
    /// The attachment that the fewest words ask for.
    pub fn new(extension: &str, interface: &str) -> Self {
        let Ok(extension) = extension.parse();
        Self {
            extension,
            place: Where::Interface {
                name: interface.to_owned(),
                netns: None,
            },
            hook: None,
            program: None,
            position: None,
            manner: Manner::default(),
        }
    }
}

/// A kernel that does not know a hook's type of program refuses one without a word, or lacks what
/// programs of the type call.
fn on_old_kernel(error: Error, hook: Hook, spot: &Spot, running: Version) -> Error {
    let since = hook.row().since;
    let untold = |error: &Error| error.verifier_log().is_some_and(str::is_empty);
    let unknown = matches!(error, Error::NoSymbol { .. }) || untold(&error);
    if running >= since || !unknown {
        return error;
    }
    Error::TooOld {
        object: format!("{hook} of {spot}"),
        feature: "this hook".to_owned(),
        since,
        running,
    }
}

impl Position {
    /// The error of a position beside an attachment that is not there.
    fn missing(&self, place: String) -> Error {
        let name = match self {
            Self::Before(other) | Self::After(other) => other.to_string(),
            Self::Priority(priority) => priority.to_string(),
        };
        Error::NoAttachment {
            name,
            stage: "attach beside it",
            place,
        }
    }
}

impl Control {
    /// Attaches an extension, loading it if need be.
    ///
    /// # Errors
    ///
    /// Those of finding, parsing and loading an object; [`Error::NoInterface`],
    /// [`Error::NoNamespace`], [`Error::NoProgram`], [`Error::ManyPrograms`],
    /// [`Error::ChainFull`], [`Error::HookTaken`], [`Error::Exclusive`], [`Error::NoNative`], [`Error::ModeMismatch`],
    /// [`Error::NotNetfilter`], [`Error::NetfilterMismatch`], [`Error::DefragTooEarly`],
    /// [`Error::PriorityTaken`], [`Error::NoDefrag`], [`Error::NoAttachment`] for the position,
    /// [`Error::TooOld`].
    pub fn attach(&mut self, attach: &Attach) -> Result<Attached> {
        let attached = self.attach_one(attach)?;
        self.show_or_undo(attach, std::slice::from_ref(&attached))?;
        Ok(attached)
    }

    fn attach_one(&mut self, attach: &Attach) -> Result<Attached> {
        let spot = attach.place.open()?;
        let kmid = self.obtain(&attach.extension, None)?;
        let attached = self.attach_loaded(attach, kmid, &spot);
        if attached.is_err() {
            self.disclaim_unused()?;
            // An extension that was loaded for this alone goes again.
            self.unload_unused()?;
        }
        attached
    }

    /// Attaches an extension to all hooks of a family that it serves; without one, to those that its
    /// manifest names, or else to the family of the first hook that it serves. It is attached to all
    /// of them or to none.
    ///
    /// # Errors
    ///
    /// As [`Control::attach`].
    pub fn attach_family(
        &mut self,
        attach: &Attach,
        family: Option<&Family>,
    ) -> Result<Vec<Attached>> {
        let attached = self.attach_hooks(attach, family);
        if attached.is_err() {
            // An extension that was loaded for this alone goes again.
            self.unload_unused()?;
        }
        attached
    }

    fn attach_hooks(&mut self, attach: &Attach, family: Option<&Family>) -> Result<Vec<Attached>> {
        attach.place.open()?;
        let kmid = self.obtain(&attach.extension, None)?;
        let hooks = self.serves(kmid, attach, family);
        let mut done: Vec<Attached> = Vec::new();
        for hook in hooks.unwrap_or_default() {
            let one = Attach {
                hook: Some(hook),
                ..attach.clone()
            };
            match self.attach_one(&one) {
                Ok(attached) => done.push(attached),
                Err(error) => {
                    self.undo(&done)?;
                    return Err(error);
                }
            }
        }
        if done.is_empty() {
            // There is none: the same request for one hook says why.
            let hook = family.and_then(|family| family.hooks().first().copied());
            done.push(self.attach_one(&Attach {
                hook: hook.or(attach.hook),
                ..attach.clone()
            })?);
        }
        self.show_or_undo(attach, &done)?;
        Ok(done)
    }

    /// Shows an extension what is there already, behind attaching it; if that fails, it is detached
    /// again.
    fn show_or_undo(&mut self, attach: &Attach, done: &[Attached]) -> Result<()> {
        // No socket has opted in for what has just come.
        let (false, Some(first)) = (attach.manner.opt_in, done.first()) else {
            return Ok(());
        };
        let shown = self.show_existing(first.node.kmid, attach.place.open()?.target());
        if shown.is_err() {
            self.undo(done)?;
        }
        shown
    }

    fn undo(&mut self, done: &[Attached]) -> Result<()> {
        for attached in done.iter().rev() {
            self.detach(&Selector::Id(attached.node.id), &Scope::default())?;
        }
        Ok(())
    }

    /// The hooks that an extension is to be attached to: those that it serves of a family, of those
    /// that its manifest names, or of the family of its first.
    fn serves(&self, kmid: u32, attach: &Attach, family: Option<&Family>) -> Option<Vec<Hook>> {
        let symbol = attach.program.as_deref();
        let kind = attach.place.kind();
        let (_, role) = self.role(kmid, kind, None, symbol).ok()?;
        let source = self.source(&role).ok().flatten()?;
        let served = source.object.serving(kind, family, symbol).ok()?;
        Some(served.into_iter().map(|(hook, _)| hook).collect())
    }

    fn attach_loaded(&mut self, attach: &Attach, kmid: u32, spot: &Spot) -> Result<Attached> {
        let kind = attach.place.kind();
        let (hook, role) = self.role(kmid, kind, attach.hook, attach.program.as_deref())?;
        let target = spot.target();
        attach.manner.fits(hook, spot, self.chain(hook, target))?;
        if let (Role::Extension { name, .. }, true) = (&role, attach.manner.opt_in) {
            self.claim(hook, spot, name)?;
        }
        let present = self.chain(hook, target);
        let slots = present.map(slots).unwrap_or_default();
        let asked = match &attach.position {
            Some(position) => position.clone(),
            None => Position::Priority(self.default_priority(&role, hook)?),
        };
        let (position, priority) =
            insert(&slots, &asked).ok_or_else(|| asked.missing(format!(" at {hook} on {spot}")))?;
        let fresh = Change::New(Fresh {
            id: None,
            role,
            priority,
            counters: attach.manner.counters,
            opt_in: attach.manner.opt_in,
            enabled: true,
            inherits: None,
            maps: None,
        });
        let programs = match present {
            None => {
                let site = Site {
                    hook,
                    spot,
                    mode: attach.manner.mode,
                    netfilter: attach.manner.netfilter.resolve(),
                };
                self.commit(Ground::Bare(&site), &[fresh])
                    .map_err(|error| on_old_kernel(error, hook, spot, Version::running()))?
            }
            Some(chain) => {
                if chain.is_full() {
                    return Err(Error::ChainFull {
                        hook,
                        interface: spot.to_string(),
                    });
                }
                let mut wanted: Vec<_> = (0..chain.nodes.len()).map(Change::Keep).collect();
                wanted.insert(position, fresh);
                self.commit(Ground::Chain(chain), &wanted)?
            }
        };
        self.read_back(hook, target)?;
        self.attached(hook, target, programs[position], Some(spot))
    }

    /// The priority of an attachment that says nothing of its place.
    fn default_priority(&self, role: &Role, hook: Hook) -> Result<i32> {
        let source = self.source(role)?;
        let own = source.and_then(|source| source.object.manifest().priority(hook));
        Ok(own.unwrap_or(DEFAULT_PRIORITY))
    }

    /// The hook and role that an attachment of an extension has.
    pub(super) fn role(
        &self,
        kmid: u32,
        kind: Kind,
        hook: Option<Hook>,
        symbol: Option<&str>,
    ) -> Result<(Hook, Role)> {
        let name = self
            .extensions
            .iter()
            .find(|extension| extension.kmid == kmid);
        let name = name
            .map(|extension| extension.name.clone())
            .unwrap_or_default();
        let role = |symbol| Role::Extension {
            name: name.clone(),
            kmid,
            symbol,
        };
        let Some(source) = self.source(&role(String::new()))? else {
            return Err(Error::NotLoaded {
                name,
                stage: "attach",
            });
        };
        let (hook, program) = source.object.choose(kind, hook, symbol)?;
        Ok((hook, role(program.symbol.clone())))
    }

    /// The status of the attachment whose node has this program.
    pub(super) fn attached(
        &self,
        hook: Hook,
        target: Target,
        program: u32,
        spot: Option<&Spot>,
    ) -> Result<Attached> {
        let missing = || Error::NoAttachment {
            name: program.to_string(),
            stage: "read back",
            place: format!(" at {hook}"),
        };
        let chain = self.chain_status(self.chain(hook, target).ok_or_else(missing)?, spot);
        let node = chain.nodes.iter().find(|node| node.program_id == program);
        Ok(Attached {
            node: node.ok_or_else(missing)?.clone(),
            chain: chain.clone(),
        })
    }
}
