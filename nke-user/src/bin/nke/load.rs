//! `nke load`: extensions are held by name. All that are asked for are tried.

use clap::Args;
use nke::{
    control::Control,
    find::{Instance, Wanted},
};

use crate::{
    failure::{self, Manner, Told},
    output,
    set::{self, Assignment},
};

#[derive(Args, Debug)]
pub(crate) struct Load {
    /// Names to search for (`nke path` says where), or paths (what holds a '/')
    #[arg(required = true, value_name = "EXTENSION")]
    extensions: Vec<Wanted>,
    /// Load a copy with maps of its own, which is called EXTENSION@NAME
    #[arg(long, value_name = "NAME")]
    instance: Option<Instance>,
    /// Leave alone what is loaded already: do not count one more
    #[arg(short = 'n', long)]
    if_absent: bool,
    /// Have this extension provide what they lack: a dependency that their manifests do not name
    #[arg(long, value_name = "EXTENSION")]
    with: Vec<Wanted>,
    /// Give a setting this value; `nke get` shows which there are
    #[arg(long, value_name = "SETTING=VALUE", conflicts_with = "if_absent")]
    set: Vec<Assignment>,
    /// Print what went wrong only
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(crate) fn run(&self, control: &mut Control, manner: Manner) -> anyhow::Result<()> {
        let Self {
            extensions,
            instance,
            if_absent,
            with,
            set,
            quiet,
        } = self;
        let set = set::pairs(set);
        let mut failed = None;
        for wanted in extensions {
            let wanted = match instance {
                Some(instance) => &wanted.instance(instance),
                None => wanted,
            };
            control.supply(with);
            let done = if *if_absent {
                control.load_if_absent(wanted)
            } else if !set.is_empty() {
                control.load_set(wanted, &set).map(|loaded| (true, loaded))
            } else {
                control.load(wanted).map(|loaded| (true, loaded))
            };
            match done {
                Ok(_) if *quiet => {}
                Ok((counted, extension)) => output::loaded(wanted, counted, &extension),
                Err(error) => {
                    let code = failure::tell(&error.into(), manner);
                    failed.get_or_insert(code);
                }
            }
        }
        failed.map_or(Ok(()), |code| Err(Told(code).into()))
    }
}
