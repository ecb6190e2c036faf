//! From an object to the kernel: its maps made, its programs placed and loaded.
//!
//! Never decides where a node goes; [`crate::chain`] does.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::maps::{MapData, MapError};
use aya_obj::{
    EbpfSectionKind,
    generated::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, BPF_F_SLEEPABLE, bpf_map_type, bpf_prog_type},
};

use crate::{
    error::{CAPABILITIES, Error, Result},
    hook::{Hook, ProgramType, Row},
    kernel::Version,
    object::{Initial, Iteration, Linked, Object, Value, kconfig, packet_length_offset},
    place::{self, Form, Length},
    sys::{self, map::Shape, program},
};

/// Maps by their names.
pub(crate) type Maps = BTreeMap<String, OwnedFd>;

/// `BPF_F_XDP_HAS_FRAGS` came with this kernel.
const FRAGS_SINCE: Version = Version::new(5, 18);

/// Makes those of an object's maps that `wanted` names.
pub(crate) fn make_maps(object: &Object, wanted: impl Fn(&str) -> bool) -> Result<Maps> {
    let failed = |name: &str, source| Error::Kernel {
        object: format!("{}: map {name}", object.name()),
        stage: "create",
        source,
        remedy: "check its type and size, and the memory that is free",
    };
    let mut maps = Maps::new();
    let btf = match object
        .maps()
        .any(|(name, _)| wanted(name))
        .then(|| object.btf())
        .flatten()
    {
        // Maps do without: types only describe them. Those that need them say so below.
        Some(btf) => sys::load_btf(&btf).ok(),
        None => None,
    };
    for (name, map) in object.maps().filter(|(name, _)| wanted(name)) {
        let contents = object.contents(name);
        let fills = object.initials().iter().any(|slot| slot.map == name);
        let fd = make_map(
            name,
            map.clone(),
            &contents,
            fills,
            btf.as_ref().map(OwnedFd::as_fd),
        )
        .map_err(|source| failed(name, source))?;
        maps.insert(name.to_owned(), fd);
    }
    if !object.kconfig().is_empty() && wanted(kconfig::MAP) {
        let value = object.kconfig().value(object.name())?;
        let fd =
            make_constant(kconfig::MAP, &value).map_err(|source| failed(kconfig::MAP, source))?;
        maps.insert(kconfig::MAP.to_owned(), fd);
    }
    Ok(maps)
}

/// Makes a map of one value that nobody changes, which the verifier knows.
fn make_constant(name: &str, value: &[u8]) -> io::Result<OwnedFd> {
    let shape = Shape {
        flags: BPF_F_RDONLY_PROG,
        ..Shape::array(name, u32::try_from(value.len()).unwrap_or(u32::MAX))
    };
    let map = sys::map::create(shape)?;
    sys::map::update(&map, &0u32.to_ne_bytes(), value)?;
    sys::map::freeze(&map)?;
    Ok(map)
}

/// Before, the kernel took a map with types and one without for different kinds of members
/// (`bpf_map_meta_equal`, kernel/bpf/map_in_map.c).
const TYPES_OF_MEMBERS_SINCE: Version = Version::new(6, 2);

/// Makes one map, as libbpf would, with the contents that the object gives it. If the object `fills` a map
/// of maps itself, with members that have types, then so does its pattern; or else members come from
/// user space, where maps are made without.
fn make_map(
    name: &str,
    mut map: aya_obj::Map,
    contents: &[u8],
    fills: bool,
    btf: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let other = |error| {
        if let MapError::CreateError { io_error, .. } = error {
            io_error
        } else {
            io::Error::other(error.to_string())
        }
    };
    fit(&mut map);
    if matches!(
        map.section_kind(),
        EbpfSectionKind::Data | EbpfSectionKind::Bss
    ) {
        // Settings are written as memory, each at once. As libbpf has it.
        add_flags(&mut map, BPF_F_MMAPABLE);
    }
    let shape = |map: &aya_obj::Map| Shape {
        map_type: map.map_type(),
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: map.max_entries(),
        flags: map.map_flags(),
        name,
    };
    let fd = if let Some(inner) = map.inner() {
        if fills || Version::running() >= TYPES_OF_MEMBERS_SINCE {
            let inner = MapData::create(inner, name, btf).map_err(other)?;
            sys::map::create_of_maps(shape(&map), inner.fd())?
        } else {
            let inner = sys::map::create(shape(&inner))?;
            sys::map::create_of_maps(shape(&map), inner)?
        }
    } else {
        let data = MapData::create(map.clone(), name, btf).map_err(other)?;
        data.fd().as_fd().try_clone_to_owned()?
    };
    if !contents.is_empty() {
        sys::map::update(&fd, &0u32.to_ne_bytes(), contents)?;
    }
    if map.section_kind() == EbpfSectionKind::Rodata {
        sys::map::freeze(&fd)?;
    }
    Ok(fd)
}

fn add_flags(map: &mut aya_obj::Map, flags: u32) {
    match map {
        aya_obj::Map::Legacy(map) => map.def.map_flags |= flags,
        // A definition by types is not aya-obj's to change; whoever wrote it gave its flags.
        aya_obj::Map::Btf(_) => {}
    }
}

/// Gives sizes that a definition leaves open, or rounds them as the kernel wants them.
fn fit(map: &mut aya_obj::Map) {
    let is = |kind: bpf_map_type| map.map_type() == kind as u32;
    if is(bpf_map_type::BPF_MAP_TYPE_RINGBUF) {
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        let pages = map.max_entries().div_ceil(page).next_power_of_two();
        map.set_max_entries(pages.saturating_mul(page));
        map.set_value_size(0);
    } else if is(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY) {
        map.set_value_size(4);
    } else if is(bpf_map_type::BPF_MAP_TYPE_CPUMAP)
        || is(bpf_map_type::BPF_MAP_TYPE_DEVMAP)
        || is(bpf_map_type::BPF_MAP_TYPE_DEVMAP_HASH)
    {
        // With a program beside the target, since 5.9 (struct bpf_devmap_val).
        map.set_value_size(8);
    }
}

/// Fills the slots of those of an object's maps that `wanted` names and that it fills itself: with
/// its other maps, and with its other programs, which are loaded as they are. A chain goes on when
/// what they answer comes back.
pub(crate) fn fill_maps(object: &Object, maps: &Maps, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let initials = object.initials().iter();
    for Initial { map, index, value } in initials.filter(|initial| wanted(&initial.map)) {
        let failed = |source| Error::Kernel {
            object: format!("{}: map {map}", object.name()),
            stage: "fill",
            source,
            remedy: "check the types of its initial values",
        };
        let set = |value: &OwnedFd| {
            let Some(map) = maps.get(map) else {
                return Ok(());
            };
            let value = value.as_raw_fd().to_ne_bytes();
            sys::map::update(map, &index.to_ne_bytes(), &value).map_err(failed)
        };
        match value {
            Value::Map(name) => maps.get(name).map_or(Ok(()), set)?,
            Value::Program(symbol) => set(&load_unplaced(object, symbol, maps)?)?,
        }
    }
    Ok(())
}

/// Loads a program of an object as it is.
fn load_unplaced(object: &Object, symbol: &str, maps: &Maps) -> Result<OwnedFd> {
    let descriptors = maps
        .iter()
        .map(|(name, map)| (name.clone(), map.as_fd()))
        .collect();
    let linked = object.link(symbol, &descriptors)?;
    let mut programs = object
        .programs()
        .iter()
        .filter(|program| program.symbol == symbol);
    let hook = programs.find_map(|program| program.hooks.first());
    let row = hook.copied().unwrap_or(Hook::INTERFACE_XDP).row();
    load_as(object.name(), symbol, &linked, Manner::of(row, false))
}

/// As what a program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    program_type: u32,
    expected_attach_type: u32,
    attach_btf_id: u32,
    flags: u32,
}

impl Manner {
    /// Of type SYSCALL. The kernel takes none that may not sleep (kernel/bpf/verifier.c).
    pub(crate) const SYSCALL: Self = Self {
        program_type: bpf_prog_type::BPF_PROG_TYPE_SYSCALL as u32,
        expected_attach_type: 0,
        attach_btf_id: 0,
        flags: BPF_F_SLEEPABLE,
    };

    /// As programs of a hook are.
    pub(crate) const fn of(row: &Row, frags: bool) -> Self {
        Self {
            program_type: row.program_type as u32,
            expected_attach_type: row.expected_attach_type,
            attach_btf_id: 0,
            flags: if frags { program::XDP_HAS_FRAGS } else { 0 },
        }
    }
}

/// Loads a linked program as it is.
pub(crate) fn load_as(
    object: &str,
    symbol: &str,
    linked: &Linked,
    manner: Manner,
) -> Result<OwnedFd> {
    let Manner {
        program_type,
        expected_attach_type,
        attach_btf_id,
        flags,
    } = manner;
    let body = linked.body();
    program::load(&program::Load {
        program_type,
        expected_attach_type,
        attach_btf_id,
        flags,
        name: symbol,
        license: &linked.license,
        instructions: body.instructions,
        btf: linked.btf.as_ref().map(OwnedFd::as_fd),
        func_info: body.func_info,
        line_info: body.line_info,
    })
    .map_err(|refused| refusal(object, symbol, refused))
}

/// Loads a program that the kernel runs over all objects of a kind.
pub(crate) fn load_iterator(
    object: &str,
    iterator: &Iteration<'_>,
    linked: &Linked,
) -> Result<OwnedFd> {
    let manner = Manner {
        program_type: bpf_prog_type::BPF_PROG_TYPE_TRACING as u32,
        expected_attach_type: sys::iterator::ATTACH_TYPE,
        attach_btf_id: iterator.function,
        flags: 0,
    };
    load_as(object, iterator.symbol, linked, manner)
}

/// Loads a program that is run once, by nke.
pub(crate) fn load_routine(object: &str, symbol: &str, linked: &Linked) -> Result<OwnedFd> {
    load_as(object, symbol, linked, Manner::SYSCALL)
}

/// A node's program, loaded.
pub(crate) struct Loaded {
    pub(crate) program: OwnedFd,
    pub(crate) form: Form,
}

/// Whether the kernel knows programs that take packets of several buffers.
pub(crate) fn frags_known() -> bool {
    Version::running() >= FRAGS_SINCE
}

/// A hook's rule, with what only the running kernel can say.
fn rule(hook: Hook, frags: bool, links: &place::Maps) -> place::Rule {
    let mut rule = hook.rule(frags);
    if hook.row().program_type == ProgramType::Netfilter && links.counters.is_some() {
        let offset = packet_length_offset().and_then(|offset| offset.try_into().ok());
        // Without the kernel's types, bytes are not counted.
        rule.length = offset.map_or(Length::None, Length::NetfilterLen);
    }
    rule
}

/// Places a linked program and loads it, in the first form that the verifier takes.
pub(crate) fn load_placed(
    object: &str,
    symbol: &str,
    linked: &Linked,
    hook: Hook,
    frags: bool,
    links: &place::Maps,
) -> Result<Loaded> {
    let body = linked.body();
    let rule = rule(hook, frags, links);
    let mut first = None;
    for form in place::forms(&body) {
        let Ok(placed) = place::place(&body, &rule, form, links) else {
            continue;
        };
        let load = program::Load {
            program_type: hook.row().program_type as u32,
            expected_attach_type: hook.row().expected_attach_type,
            attach_btf_id: 0,
            flags: if frags { program::XDP_HAS_FRAGS } else { 0 },
            name: symbol,
            license: &linked.license,
            instructions: &placed.instructions,
            btf: linked.btf.as_ref().map(OwnedFd::as_fd),
            func_info: &placed.func_info,
            line_info: &placed.line_info,
        };
        match program::load(&load) {
            Ok(program) => return Ok(Loaded { program, form }),
            Err(refused) => {
                let refused_by_verifier = !refused.log.is_empty();
                first.get_or_insert(refused);
                if !refused_by_verifier {
                    break;
                }
            }
        }
    }
    Err(match first {
        Some(refused) => refusal(object, symbol, refused),
        None => Error::Relocation {
            object: object.to_owned(),
            stage: "place",
            cause: format!("program {symbol} fits no form"),
            remedy: "use less stack in its main function",
        },
    })
}

/// Places a fast path and loads it. Its body leaves register 6 to placement, and what it hands on by a tail call does not
/// come back.
pub(crate) fn load_fast(
    body: &[aya_obj::generated::bpf_insn],
    hook: Hook,
    frags: bool,
    links: &place::Maps,
) -> Result<OwnedFd> {
    let home = Form::Inline(place::Home::Register(6));
    let placed = place::place(
        &place::Body::of(body),
        &rule(hook, frags, links),
        home,
        links,
    );
    let placed = placed.map_err(|cause| Error::Relocation {
        object: "nke".to_owned(),
        stage: "place",
        cause: cause.to_string(),
        remedy: "tell the developers of nke",
    })?;
    load_own("nke_fast", hook, frags, &placed.instructions)
}

/// Loads a root, or another program that nke wrote itself.
pub(crate) fn load_own(
    name: &str,
    hook: Hook,
    frags: bool,
    instructions: &[aya_obj::generated::bpf_insn],
) -> Result<OwnedFd> {
    program::load(&program::Load {
        program_type: hook.row().program_type as u32,
        expected_attach_type: hook.row().expected_attach_type,
        attach_btf_id: 0,
        flags: if frags { program::XDP_HAS_FRAGS } else { 0 },
        name,
        license: c"Dual MIT/GPL",
        instructions,
        btf: None,
        func_info: &[],
        line_info: &[],
    })
    .map_err(|refused| refusal("nke", name, refused))
}

/// The call that stands where a CO-RE relocation found nothing; harmless if it cannot be reached.
const NO_TARGET: &str = "unknown#195896080";

fn refusal(object: &str, symbol: &str, refused: program::Refused) -> Error {
    let program::Refused { error: source, log } = refused;
    if source.raw_os_error() == Some(libc::EPERM) && log.is_empty() {
        let path = "/sys/kernel/security/lockdown";
        let mode = std::fs::read_to_string(path).unwrap_or_default();
        return if mode.contains("[confidentiality]") {
            Error::Lockdown {
                object: object.to_owned(),
                mode: "confidentiality".to_owned(),
            }
        } else {
            Error::Kernel {
                object: object.to_owned(),
                stage: "load",
                source,
                remedy: CAPABILITIES,
            }
        };
    }
    let reason = match last_words(&log) {
        words if words.contains(NO_TARGET) => {
            "it uses a type or member that this kernel has not (CO-RE)"
        }
        words => words,
    };
    Error::Refused {
        object: object.to_owned(),
        program: symbol.to_owned(),
        reason: reason.to_owned(),
        source,
        log,
    }
}

/// The verifier's reason: its last line, before its statistics.
fn last_words(log: &str) -> &str {
    let statistics = [
        "processed ",
        "verification time",
        "stack depth",
        "max_states",
    ];
    log.lines()
        .rev()
        .find(|line| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start)))
        .unwrap_or("no reason given")
}
