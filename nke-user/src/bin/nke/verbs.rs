//! From a parsed command to the library's verb, and its answer to the printer.

use std::process::ExitCode;

use nke::{
    control::{self, Control, Scope},
    netfilter,
    order::Selector,
    so_nke::Descriptor,
    target::Where,
};

use serde_json::json;

use crate::{
    arguments::{Arguments, Attach, To, Verb, Which},
    confirm, enable,
    failure::Manner,
    log, map, open, output, way,
};

/// Carries out a command. What it exits with is the verb's to say.
pub(crate) fn run(arguments: &Arguments, manner: Manner) -> anyhow::Result<ExitCode> {
    if let Verb::Diff(diff) = &arguments.verb {
        return diff.run(arguments);
    }
    let done = without_lock(arguments, manner);
    let done = done.unwrap_or_else(|| with_lock(arguments, manner));
    done.map(|()| ExitCode::SUCCESS)
}

fn with_lock(arguments: &Arguments, manner: Manner) -> anyhow::Result<()> {
    let mut control = take_lock(arguments)?;
    match &arguments.verb {
        Verb::Log { .. }
        | Verb::Check(_)
        | Verb::Filter(_)
        | Verb::Guard(_)
        | Verb::Info(_)
        | Verb::Path(_)
        | Verb::Map(_)
        | Verb::Seal(_)
        | Verb::Keygen(_)
        | Verb::Sign(_)
        | Verb::Verify(_)
        | Verb::Apply(_)
        | Verb::Diff(_)
        | Verb::Save(_)
        | Verb::ConfirmTimer(_) => {}
        Verb::Load(load) => load.run(&mut control, manner)?,
        Verb::Unload(unload) => unload.run(&mut control)?,
        Verb::Libs(libs) => libs.run(&control)?,
        Verb::Query(query) => query.run(&control)?,
        Verb::Attach(attach) => self::attach(&mut control, attach)?,
        Verb::Detach { which, socket } => detach(&mut control, which, *socket)?,
        Verb::Move { which, to } => reposition(&mut control, which, to)?,
        Verb::Disable(which) => enable::run(&mut control, which, false)?,
        Verb::Enable(which) => enable::run(&mut control, which, true)?,
        Verb::Replace {
            attachment,
            new,
            place,
            program,
        } => {
            let scope = Scope::from(place);
            let (was, replaced) = control.replace(attachment, &scope, new, program.as_deref())?;
            output::replaced(&was, &replaced);
        }
        Verb::Upgrade(upgrade) => upgrade.run(&mut control, &arguments.state)?,
        Verb::Confirm(confirm) => confirm.run(&mut control)?,
        Verb::Rollback(rollback) => rollback.run(&mut control)?,
        Verb::Policy { policy, spot, hook } => {
            let place = Where::from(spot);
            let spot = place.open()?;
            let hook = control.policy(&place, *hook, *policy)?;
            output::line(format_args!("{hook} of {spot}: policy {policy}"));
        }
        Verb::Set(set) => set.run(&mut control)?,
        Verb::Get(get) => get.run(&control)?,
        Verb::List { format } => list(&control, format.json)?,
        Verb::Show { which, format } => show(&control, which, format.json)?,
        Verb::Chain { way, place, format } => {
            chain(&control, *way, &Scope::from(place), format.json)?;
        }
    }
    Ok(())
}

fn detach(control: &mut Control, which: &Which, socket: Option<Descriptor>) -> anyhow::Result<()> {
    if let Some(socket) = socket {
        let extension = control.opt_out(socket, &which.attachment)?;
        output::line(format_args!("opted socket {socket} out of {extension}"));
        return Ok(());
    }
    for was in control.detach(&which.attachment, &Scope::from(&which.place))? {
        output::line(format_args!("detached {was}"));
    }
    Ok(())
}

/// Carries out a command that takes the lock itself, for a part of its time, or needs none.
fn without_lock(arguments: &Arguments, manner: Manner) -> Option<anyhow::Result<()>> {
    // The one verb that must not hold the lock while it runs.
    if let Verb::Log { name, format } = &arguments.verb {
        return Some(log::run(&arguments.state, name.as_deref(), format.json));
    }
    // They read their file before they take the lock.
    if let Verb::Filter(filter) = &arguments.verb {
        return Some(filter.run(&arguments.state, manner));
    }
    if let Verb::Guard(guard) = &arguments.verb {
        return Some(guard.run(&arguments.state, manner));
    }
    if let Verb::Info(info) = &arguments.verb {
        return Some(info.run());
    }
    if let Verb::Path(path) = &arguments.verb {
        return Some(path.run(manner));
    }
    // They need no state.
    if let Verb::Keygen(keygen) = &arguments.verb {
        return Some(keygen.run());
    }
    if let Verb::Sign(sign) = &arguments.verb {
        return Some(sign.run());
    }
    if let Verb::Verify(verify) = &arguments.verb {
        return Some(verify.run());
    }
    // It asks first.
    if let Verb::Seal(seal) = &arguments.verb {
        return Some(seal.run(&arguments.state));
    }
    if let Verb::Check(check) = &arguments.verb {
        return Some(check.run(manner));
    }
    if let Verb::Apply(apply) = &arguments.verb {
        return Some(apply.run(arguments));
    }
    // It sleeps.
    if let Verb::ConfirmTimer(timer) = &arguments.verb {
        return Some(timer.run(&arguments.state));
    }
    // They let the lock go before they print.
    if let Verb::Save(save) = &arguments.verb {
        return Some(save.run(arguments));
    }
    if let Verb::Map(map) = &arguments.verb {
        return Some(map::run(&arguments.state, map));
    }
    None
}

/// Takes the lock. To look is enough for verbs that change nothing: a sealed host has them as well,
/// and refuses one that nobody thought of here.
fn take_lock(arguments: &Arguments) -> nke::error::Result<Control> {
    let looks = matches!(
        &arguments.verb,
        Verb::List { .. }
            | Verb::Show { .. }
            | Verb::Chain { .. }
            | Verb::Libs(_)
            | Verb::Query(_)
            | Verb::Get(_)
    );
    if looks {
        open::look(&arguments.state)
    } else {
        open::open(&arguments.state)
    }
}

fn chain(control: &Control, way: bool, scope: &Scope, json: bool) -> anyhow::Result<()> {
    if way {
        way::print(&control.ways(scope)?, json)
    } else {
        output::chains(&control.chains(scope)?, json)
    }
}

fn reposition(control: &mut Control, which: &Which, to: &To) -> anyhow::Result<()> {
    let scope = Scope::from(&which.place);
    let position = to.position().unwrap_or_default();
    let moved = control.reposition(&which.attachment, &scope, &position)?;
    output::attached("moved", &moved);
    Ok(())
}

fn attach(control: &mut Control, typed: &Attach) -> anyhow::Result<()> {
    if let Some(socket) = typed.socket {
        let name = typed.extension.name();
        control.opt_in(socket, &name)?;
        output::line(format_args!("opted socket {socket} in for {name}"));
        return Ok(());
    }
    let attach = control::Attach {
        extension: typed.extension.clone(),
        place: Where::from(&typed.spot),
        hook: None,
        program: typed.program.clone(),
        position: typed.to.position(),
        manner: control::Manner {
            mode: typed.mode,
            netfilter: netfilter::Request {
                priority: typed.netfilter_priority,
                defrag: typed.defrag,
            },
            counters: !typed.no_counters,
            opt_in: typed.opt_in,
        },
    };
    let before = control.extensions();
    control.supply(&typed.with);
    let attached = control.attach_family(&attach, typed.hook.as_ref())?;
    if typed.format.json {
        return output::attached_json(&attached);
    }
    let loaded = control.extensions().into_iter();
    for extension in loaded.filter(|it| before.iter().all(|old| old.kmid != it.kmid)) {
        output::loaded(&typed.extension, true, &extension);
    }
    attached
        .iter()
        .for_each(|attached| output::attached("attached", attached));
    Ok(())
}

fn list(control: &Control, json: bool) -> anyhow::Result<()> {
    let (extensions, pending) = (control.extensions(), control.pending()?);
    if json {
        let mut printed = json!({ "extensions": extensions });
        confirm::add(&mut printed, pending.as_ref());
        return output::print_json(&printed);
    }
    output::list(&extensions);
    confirm::remind(pending.as_ref());
    Ok(())
}

/// A kmid and an attachment's id are both ids of the kernel, but of different kinds of object: a
/// number can mean an attachment and an extension at once. Both are shown then.
fn show(control: &Control, which: &Selector, json: bool) -> anyhow::Result<()> {
    let extensions = control.extensions().into_iter();
    let extension = extensions
        .filter(|e| which.is(e.kmid, &e.name))
        .collect::<Vec<_>>();
    let mut chains = control.chains(&Scope::default())?;
    for chain in &mut chains {
        chain
            .nodes
            .retain(|node| which.is(node.id, &node.extension));
    }
    chains.retain(|chain| !chain.nodes.is_empty());
    if extension.is_empty() && chains.is_empty() {
        return Err(nke::error::Error::NotLoaded {
            name: which.to_string(),
            stage: "show",
        }
        .into());
    }
    // A file that was replaced since has another's signature: what is loaded has none then.
    let signers = extension.iter();
    let signers = signers.map(|it| control.signer(it.kmid).unwrap_or_default());
    let signers = signers.collect::<Vec<_>>();
    let pending = control.pending()?;
    if json {
        let mut printed = json!({ "extensions": extension, "signers": signers, "chains": chains });
        confirm::add(&mut printed, pending.as_ref());
        return output::print_json(&printed);
    }
    output::show(&extension, &signers, &chains);
    confirm::remind(pending.as_ref());
    Ok(())
}
