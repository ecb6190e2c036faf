//! What only linking and loading can tell: each program as it is, and as a node at each hook.
//!
//! Whatever is made is held by descriptors alone, and goes with them.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use super::{Finding, Report, Stage};
use crate::{
    counters,
    error::{Error, Result},
    hook::Hook,
    loader::{self, Manner, Maps},
    object::{Iteration, Linked, Object, Program},
    place::{self, Form},
    seal::{Level, refuse_from},
    state,
    sys::{self, map::Shape},
};

/// Programs that cannot be fitted to the running kernel.
pub(super) fn relocation(object: &Object) -> Vec<Finding> {
    let null = match File::open("/dev/null") {
        Ok(null) => null,
        Err(source) => {
            let path = "/dev/null".into();
            return vec![Error::Read { path, source }.into()];
        }
    };
    let linked = |program: &Program| object.try_link(&program.symbol, null.as_fd()).err();
    let failed = object.programs().iter().filter_map(linked);
    failed.map(Finding::from).collect()
}

/// Goes through the last two stages.
pub(super) fn load(object: &Object, report: &mut Report) {
    state::raise_memory_limit();
    // A program that is only tried can be taken from us by its id.
    let maps = match refuse_from(Level::NoNewCode).and_then(|()| make_maps(object)) {
        Ok(maps) => maps,
        Err(error) => {
            report.stage(Stage::Verifier, vec![error.into()]);
            report.skip(Stage::Placement, "its programs cannot be tried");
            return;
        }
    };
    let (mut refused, mut unplaced) = (Vec::new(), Vec::new());
    match object.iterators() {
        Ok(iterators) => {
            let failed = |one: &Iteration<'_>| verify_iterator(object, one, &maps).err();
            refused.extend(iterators.iter().filter_map(failed).map(Finding::from));
        }
        Err(error) => refused.push(error.into()),
    }
    for program in object.programs() {
        match verify(object, program, &maps) {
            // What cannot be linked has been told by the stage before.
            Ok(None) => {}
            Ok(Some(linked)) => {
                for hook in &program.hooks {
                    match place(object, program, &linked, *hook) {
                        Ok(form) => note(report, program, *hook, form),
                        Err(error) => unplaced.push(Finding::from(error)),
                    }
                }
            }
            Err(error) => refused.push(Finding::from(error)),
        }
    }
    unplaced.extend(ambiguous(object));
    report.stage(Stage::Verifier, refused);
    report.stage(Stage::Placement, unplaced);
}

fn make_maps(object: &Object) -> Result<Maps> {
    let maps = loader::make_maps(object, |_| true)?;
    loader::fill_maps(object, &maps, |_| true)?;
    Ok(maps)
}

fn descriptors(maps: &Maps) -> BTreeMap<String, BorrowedFd<'_>> {
    maps.iter()
        .map(|(name, map)| (name.clone(), map.as_fd()))
        .collect()
}

/// Has the verifier look at a program as it is, once for each way that it could be loaded. `None`
/// if it cannot be linked.
fn verify(object: &Object, program: &Program, maps: &Maps) -> Result<Option<Linked>> {
    let maps = descriptors(maps);
    let linked = match object.link(&program.symbol, &maps) {
        Ok(linked) => linked,
        Err(error @ Error::Kernel { .. }) => return Err(error),
        Err(_) => return Ok(None),
    };
    let frags = linked.frags && loader::frags_known();
    let mut manners: Vec<Manner> = Vec::new();
    if program.is_syscall() {
        manners.push(Manner::SYSCALL);
    }
    for hook in &program.hooks {
        let manner = Manner::of(hook.row(), frags);
        if !manners.contains(&manner) {
            manners.push(manner);
        }
    }
    for manner in manners {
        loader::load_as(object.name(), &program.symbol, &linked, manner)?;
    }
    Ok(Some(linked))
}

fn verify_iterator(object: &Object, iterator: &Iteration<'_>, maps: &Maps) -> Result<()> {
    let maps = descriptors(maps);
    // Any cgroup will do to have it looked at.
    let linked = object.link_for(iterator.symbol, &maps, Some(1))?;
    loader::load_iterator(object.name(), iterator, &linked).map(drop)
}

/// Makes a node of a program, at the end of a chain that there is not.
fn place(object: &Object, program: &Program, linked: &Linked, hook: Hook) -> Result<Form> {
    let made = |source| Error::Kernel {
        object: object.name().to_owned(),
        stage: "place",
        source,
        remedy: "check the memory that is free",
    };
    // A program array takes programs of one type only: one each.
    let next = sys::map::create(Shape::program_array("nke_next")).map_err(made)?;
    let counters = counters::make().map_err(made)?;
    let links = place::Maps {
        next: next.as_raw_fd(),
        counters: Some(counters::rows(&counters).map_err(made)?),
        guard: None,
    };
    let frags = linked.frags && loader::frags_known();
    let name = object.name();
    let loaded = loader::load_placed(name, &program.symbol, linked, hook, frags, &links)?;
    Ok(loaded.form)
}

fn note(report: &mut Report, program: &Program, hook: Hook, form: Form) {
    let is_it = |run: &&mut super::Run| run.program == program.symbol && run.hook == Some(hook);
    if let Some(run) = report.runs.iter_mut().find(is_it) {
        run.form = Some(form.into());
    }
}

/// Hooks that several programs serve, of which none is chosen.
fn ambiguous(object: &Object) -> Vec<Finding> {
    let chosen = |hook: Hook| object.choose(hook.row().kind, Some(hook), None);
    let mut findings = Vec::new();
    for hook in object.hooks() {
        if let Err(error @ Error::ManyPrograms { .. }) = chosen(hook) {
            findings.push(Finding::warning(error.to_string()));
        }
    }
    findings
}
