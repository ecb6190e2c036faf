//! What can be told from an object's file alone, and from the running kernel's types.

use std::path::Path;

use super::{Finding, is_tail_called};
use crate::{
    control::{undeclared, unmet_error},
    depend::{self, Candidate, Plan, Unmet, catalog},
    error::Error,
    find::{Wanted, find},
    kernel::Version,
    object::{Flaws, Manifest, Object, map_difference},
};

/// Parts of no known kind, and programs that nobody calls.
pub(super) fn parsed(object: &Object, flaws: &Flaws) -> Vec<Finding> {
    let name = object.name();
    let mut findings: Vec<Finding> = Vec::new();
    for section in &flaws.unknown_sections {
        let (object, section) = (name.to_owned(), section.clone());
        findings.push(Error::UnknownSection { object, section }.into());
    }
    findings.extend(object.refuse_cgroup_storage().err().map(Finding::from));
    let idle = object.programs().iter().filter(|program| {
        let unknown = flaws.unknown_sections.contains(&program.section);
        let called =
            program.is_syscall() || program.is_iterator() || is_tail_called(object, program);
        program.hooks.is_empty() && !called && !unknown
    });
    for program in idle {
        findings.push(Finding::warning(format!(
            "{name}: parse: program {} in section {:?} never runs, since nke has no hook for it; \
             load it by other means, or take it out",
            program.symbol, program.section
        )));
    }
    if object.programs().is_empty() {
        findings.push(Finding::warning(format!(
            "{name}: parse: it has no program; name the section of one as libbpf does, such as \
             \"xdp\" or \"tc\""
        )));
    }
    findings
}

/// What is wrong with the manifest beside an object that cannot be parsed, as far as that shows
/// without it.
pub(super) fn manifest_alone(name: &str, beside: Option<&[u8]>) -> Vec<Finding> {
    let problems = beside.map(Manifest::examine_alone).unwrap_or_default();
    let finding = |cause| {
        let object = name.to_owned();
        Error::Manifest { object, cause }.into()
    };
    problems.into_iter().map(finding).collect()
}

/// What the manifest says and the object does not bear out, and the other way round.
pub(super) fn manifest(object: &Object, flaws: &Flaws) -> Vec<Finding> {
    let name = object.name();
    let mut findings = Vec::new();
    for problem in &flaws.manifest {
        let (object, cause) = (name.to_owned(), problem.clone());
        findings.push(Error::Manifest { object, cause }.into());
    }
    let manifest = object.manifest();
    let named = [&manifest.init, &manifest.exit];
    let unnamed = object.programs().iter().filter(|program| {
        let is_named = named
            .iter()
            .any(|named| named.as_ref() == Some(&program.symbol));
        program.is_syscall() && !is_named
    });
    // Of a manifest that cannot be read, the default is left: it names no entry points.
    let is_read = flaws.manifest.is_empty() || *manifest != Manifest::default();
    for program in unnamed.filter(|_| is_read) {
        let symbol = &program.symbol;
        findings.push(Finding::failure(format!(
            "{name}: manifest: program {symbol} in section {:?} would never run; add init = \
             {symbol:?} or exit = {symbol:?}",
            program.section
        )));
    }
    findings
}

/// Extensions that are needed and not to be had, and maps of theirs that do not fit. Those of `with`
/// are given beyond what the manifest says.
pub(super) fn dependencies(object: &Object, path: &Path, with: &[Wanted]) -> Vec<Finding> {
    let name = object.name();
    let manifest = object.manifest();
    let mut findings: Vec<Finding> = Vec::new();
    if !manifest.dependencies.is_empty() {
        let given = with.iter().filter_map(|wanted| find(wanted).ok());
        let mut pool: Vec<_> = given
            .filter_map(|found| catalog::candidate(found.path))
            .collect();
        pool.extend(catalog::around(path));
        let wanted = Candidate::of(name.to_owned(), manifest, path);
        match depend::resolve(&wanted, &pool) {
            Ok(plan) => findings.extend(maps_of_others(object, &pool, &plan)),
            Err(unmet) => findings.extend(all_unmet(&wanted, &pool, unmet)),
        }
    }
    let declared = |map: &&String| {
        manifest
            .dependencies
            .values()
            .any(|d| d.maps.contains(*map))
    };
    let mut supplied = Vec::new();
    for wanted in with {
        match find(wanted).and_then(|it| Object::read(&wanted.name(), it.bytes, it.manifest)) {
            Ok(provider) => supplied.push(provider),
            Err(error) => findings.push(error.into()),
        }
    }
    for map in object.extern_maps().iter().filter(|map| !declared(map)) {
        let mut has = supplied
            .iter()
            .filter(|it| it.maps().any(|(name, _)| name == map));
        if let Some(provider) = has.next() {
            findings.extend(map_finding(object, provider, map));
            continue;
        }
        findings.push(undeclared(object, path, map).into());
    }
    findings
}

/// Each dependency that cannot be met by itself; or else what is in the way of all together.
fn all_unmet(wanted: &Candidate, pool: &[Candidate], together: Box<Unmet>) -> Vec<Finding> {
    let alone = |need: &depend::Need| {
        let one = Candidate {
            needs: vec![need.clone()],
            ..wanted.clone()
        };
        depend::resolve(&one, pool).err()
    };
    let mut unmet: Vec<_> = wanted.needs.iter().filter_map(alone).collect();
    if unmet.is_empty() {
        unmet.push(together);
    }
    let finding = |unmet| unmet_error(&wanted.name, unmet).into();
    unmet.into_iter().map(finding).collect()
}

/// Maps that their extensions do not have, or have otherwise than the object takes them for.
fn maps_of_others(object: &Object, pool: &[Candidate], plan: &Plan) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (identifier, dependency) in &object.manifest().dependencies {
        let chosen = plan.providers.get(identifier).and_then(|at| pool.get(*at));
        let Some(chosen) = chosen.filter(|_| !dependency.maps.is_empty()) else {
            continue;
        };
        let provider = find(&Wanted::Path(chosen.path.clone()))
            .and_then(|found| Object::read(&chosen.name, found.bytes, found.manifest));
        let provider = match provider {
            Ok(provider) => provider,
            Err(error) => {
                findings.push(error.into());
                continue;
            }
        };
        let maps = dependency.maps.iter();
        findings.extend(maps.filter_map(|map| map_finding(object, &provider, map)));
    }
    findings
}

/// What keeps an object from using a map of a provider.
fn map_finding(object: &Object, provider: &Object, map: &str) -> Option<Finding> {
    let (name, provider_name) = (object.name().to_owned(), provider.name().to_owned());
    let own = provider.manifest().own_maps().any(|own| own == map);
    if own || !provider.maps().any(|(name, _)| name == map) {
        let error = Error::NotShared {
            object: name,
            map: map.to_owned(),
            provider: provider_name,
            cause: if own {
                "every attachment or target has one of its own, and that cannot be shared"
            } else {
                "it has no such map"
            },
        };
        return Some(error.into());
    }
    let difference = map_difference(object, provider, map)?;
    let error = Error::MapMismatch {
        object: name,
        map: map.to_owned(),
        provider: provider_name,
        difference,
    };
    Some(error.into())
}

/// What the running kernel lacks.
pub(super) fn features(object: &Object) -> Vec<Finding> {
    let name = object.name();
    let running = Version::running();
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(object.refuse_unmet().err().map(Finding::from));
    for (kind, need) in object.needs().missing() {
        let remedy = match need.since {
            Some(since) if since > running => format!("use Linux {since} or newer"),
            Some(_) | None if kind == "kernel type" => {
                "use a kernel that has it, or ask for it first (bpf_core_field_exists)".to_owned()
            }
            Some(_) | None => "use a kernel that has it, or declare it __weak".to_owned(),
        };
        findings.push(Finding::failure(format!(
            "{name}: features: this kernel, {running}, has no {kind} {}, which the object needs; \
             {remedy}",
            need.name
        )));
    }
    for program in object.programs() {
        for hook in program
            .hooks
            .iter()
            .filter(|hook| hook.row().since > running)
        {
            let since = hook.row().since;
            let (object, feature) = (name.to_owned(), format!("{hook}, for {},", program.symbol));
            findings.push(
                Error::TooOld {
                    object,
                    feature,
                    since,
                    running,
                }
                .into(),
            );
        }
    }
    if !object.kconfig().is_empty() {
        findings.extend(object.kconfig().value(name).err().map(Finding::from));
    }
    findings
}
