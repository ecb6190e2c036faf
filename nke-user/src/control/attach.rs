//! `attach`: an extension joins a chain.

use super::{ChainStatus, Control, NodeStatus, slots};
use crate::{
    chain::{Change, Fresh, Ground, MOST_NODES, Role, Site},
    error::{Error, Result},
    find::Wanted,
    hook::Hook,
    interface::Namespace,
    mode::Mode,
    order::{Position, insert},
    state::Target,
};

/// What is to be attached, and where.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The extension.
    pub extension: Wanted,
    /// The interface's name.
    pub interface: String,
    /// Its network namespace, a name or a path; without one the caller's own.
    pub netns: Option<String>,
    /// The hook; without one the first that the extension serves.
    pub hook: Option<Hook>,
    /// The program's symbol, where several serve the hook.
    pub program: Option<String>,
    /// Where in the chain.
    pub position: Position,
    /// How XDP is to run; without one native, or else generic.
    pub mode: Option<Mode>,
    /// Whether to count packets and bytes by verdict.
    pub counters: bool,
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
            interface: interface.to_owned(),
            netns: None,
            hook: None,
            program: None,
            position: Position::default(),
            mode: None,
            counters: true,
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
    /// [`Error::ChainFull`], [`Error::HookTaken`], [`Error::NoNative`], [`Error::ModeMismatch`],
    /// [`Error::NoAttachment`] for the position, [`Error::TooOld`].
    pub fn attach(&mut self, attach: &Attach) -> Result<Attached> {
        let namespace = Namespace::open(attach.netns.as_deref())?;
        let ifindex = namespace.index(&attach.interface)?;
        let target = Target {
            netns: namespace.inode(),
            ifindex,
        };
        let kmid = self.obtain(&attach.extension, 0)?;
        let attached = self.attach_loaded(attach, kmid, &namespace, target);
        if attached.is_err() {
            // An extension that was loaded for this alone goes again.
            self.unload_unused()?;
        }
        attached
    }

    fn attach_loaded(
        &mut self,
        attach: &Attach,
        kmid: u32,
        namespace: &Namespace,
        target: Target,
    ) -> Result<Attached> {
        let role = self.role(kmid, attach.hook, attach.program.as_deref())?;
        let (hook, role) = role;
        if let Some(mode) = attach.mode.filter(|mode| !hook.row().modes.contains(mode)) {
            return Err(Error::NoMode { hook, mode });
        }
        let fresh = |priority| Fresh {
            id: None,
            role,
            priority,
            counters: attach.counters,
            inherits: None,
        };
        let no_such = |position: &Position| Error::NoAttachment {
            name: match position {
                Position::Before(other) | Position::After(other) => other.to_string(),
                Position::Priority(priority) => priority.to_string(),
            },
            stage: "attach beside it",
            place: format!(" at {hook} on {}", attach.interface),
        };
        let (position, programs) = match self.chain(hook, target) {
            None => {
                let at = insert(&[], &attach.position);
                let (position, priority) = at.ok_or_else(|| no_such(&attach.position))?;
                let interface = attach.interface.as_str();
                let site = Site {
                    hook,
                    target,
                    namespace,
                    interface,
                    mode: attach.mode,
                };
                let wanted = [Change::New(fresh(priority))];
                (position, self.commit(Ground::Bare(&site), &wanted)?)
            }
            Some(chain) => {
                let interface = attach.interface.clone();
                if let Some(asked) = attach.mode
                    && asked != chain.anchor.mode
                {
                    let running = chain.anchor.mode;
                    return Err(Error::ModeMismatch {
                        hook,
                        interface,
                        running,
                    });
                }
                let slots = slots(chain);
                let at = insert(&slots, &attach.position);
                let (position, priority) = at.ok_or_else(|| no_such(&attach.position))?;
                if slots.len() >= MOST_NODES {
                    return Err(Error::ChainFull { hook, interface });
                }
                let mut wanted: Vec<_> = (0..chain.nodes.len()).map(Change::Keep).collect();
                wanted.insert(position, Change::New(fresh(priority)));
                (position, self.commit(Ground::Chain(chain), &wanted)?)
            }
        };
        self.reread(hook, target)?;
        self.attached(hook, target, programs[position])
    }

    /// The hook and role that an attachment of an extension has.
    pub(super) fn role(
        &self,
        kmid: u32,
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
        let (hook, program) = source.object.choose(hook, symbol)?;
        Ok((hook, role(program.symbol.clone())))
    }

    /// The status of the attachment whose node has this program.
    pub(super) fn attached(&self, hook: Hook, target: Target, program: u32) -> Result<Attached> {
        let missing = || Error::NoAttachment {
            name: program.to_string(),
            stage: "read back",
            place: format!(" at {hook}"),
        };
        let chain = self.chain_status(self.chain(hook, target).ok_or_else(missing)?);
        let node = chain.nodes.iter().find(|node| node.program_id == program);
        Ok(Attached {
            node: node.ok_or_else(missing)?.clone(),
            chain: chain.clone(),
        })
    }
}
