//! What can go wrong: one variant for each thing that a caller can do something about.
//!
//! Every message is one line that names the object, the stage, the cause and the remedy. Each
//! variant has a stable name and an exit code of its own: see [`code`], which a new one needs a row in.

pub mod code;
mod words;

use std::{io, path::PathBuf};

pub(crate) use self::words::CAPABILITIES;
use self::words::{remedy_of, some, some_or_none};

use crate::{
    depend::Unmet,
    hook::Hook,
    kernel::Version,
    mode::Mode,
    netfilter::{Netfilter, Priority},
    seal::{Level, Outsider},
    so_nke::Descriptor,
    trust::{DIRECTORY, Distrust, remedy},
    value::ValueError,
};

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller lacks the privilege.
    #[error(
        "host: start: it takes root, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN; run it with sudo"
    )]
    NotRoot,

    /// Kernel lockdown forbids BPF.
    #[error(
        "{object}: load: the kernel is locked down ({mode}), which forbids BPF programs; boot \
         without lockdown=confidentiality"
    )]
    Lockdown {
        /// What was to be loaded.
        object: String,
        /// The mode in force.
        mode: String,
    },

    /// The kernel lacks a feature.
    #[error(
        "{object}: attach: {feature} needs Linux {since} or newer, this is {running}; update the kernel"
    )]
    TooOld {
        /// What was asked for.
        object: String,
        /// What is missing.
        feature: String,
        /// The first kernel that has it.
        since: Version,
        /// The kernel that runs.
        running: Version,
    },

    /// The state directory cannot be used.
    #[error("{}: {stage}: {source}; {}", path.display(), remedy_of(source, remedy))]
    State {
        /// The directory or pin.
        path: PathBuf,
        /// What was being done.
        stage: &'static str,
        /// The cause.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },

    /// The host is sealed.
    #[error("host: seal: it is sealed at level {level} ({}); only a reboot lifts that", level.meaning())]
    Sealed {
        /// The level in force.
        level: Level,
    },

    /// The kernel keeps the seal, and this does not belong to it.
    #[error("host: seal: {who}")]
    SealedOut {
        /// What does not.
        who: Outsider,
    },

    /// Others than root can change what is to be loaded.
    #[error(
        "{}: trust: {why}, and could change what the kernel runs; {}",
        path.display(),
        remedy(*why, path, file)
    )]
    Untrusted {
        /// The file, or a directory on the way to it.
        path: PathBuf,
        /// The file that was asked for.
        file: PathBuf,
        /// Who can change it.
        why: Distrust,
    },

    /// A signature is required, and there is none.
    #[error("{}: trust: it is not signed; sign it with `nke sign FILE --key KEY`", path.display())]
    Unsigned {
        /// The object.
        path: PathBuf,
    },

    /// The signature is of a key that is not trusted.
    #[error(
        "{}: trust: key {signer} has signed it, which is not trusted; put that key into {DIRECTORY}, \
         with a name that ends in .pub",
        path.display()
    )]
    UnknownSigner {
        /// The object.
        path: PathBuf,
        /// The public key of the signature that it has.
        signer: String,
    },

    /// The signature is not of these bytes.
    #[error(
        "{}: trust: it, or the manifest beside it, is not what {signer} has signed; get it anew, or \
         sign it again",
        path.display()
    )]
    BadSignature {
        /// The object.
        path: PathBuf,
        /// The name of the key.
        signer: String,
    },

    /// A key, a signature or a policy is malformed.
    #[error("{}: trust: {cause}; write it anew, or remove it", path.display())]
    TrustFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },

    /// Nobody said yes.
    #[error("host: seal: not confirmed, and nothing is sealed; answer yes, or give --yes")]
    NotConfirmed,

    /// The state directory is not safe to trust.
    #[error(
        "{}: state: it is a link, or others than root can write to it; remove it, or name another \
         directory with --state",
        path.display()
    )]
    UnsafeState {
        /// The directory.
        path: PathBuf,
    },

    /// There is no such network namespace.
    #[error("network namespace {name}: open: {source}; `ip netns list` shows those with a name")]
    NoNamespace {
        /// As given.
        name: String,
        /// The cause.
        source: io::Error,
    },

    /// There is no such interface.
    #[error("interface {name}: not found in {namespace}; `ip link` shows those that exist")]
    NoInterface {
        /// As given.
        name: String,
        /// The namespace that was searched.
        namespace: String,
    },

    /// There is no such cgroup.
    #[error("cgroup {}: open: {cause}; give the directory of a cgroup of version 2", path.display())]
    NoCgroup {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },

    /// No such extension on the search path.
    #[error(
        "extension {name}: find: there is no {name}.o in {}; give its path with a '/', or set NKE_PATH",
        searched.join(", ")
    )]
    NoExtension {
        /// As given.
        name: String,
        /// The directories searched.
        searched: Vec<String>,
    },

    /// A file's name leaves no name for the extension.
    #[error("{}: load: its file name leaves no name for the extension; rename the file", path.display())]
    NoName {
        /// The file.
        path: PathBuf,
    },

    /// A file cannot be read.
    #[error("{}: read: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A file is larger than what it should be can be.
    #[error("{}: read: it is larger than any {what}; check the path", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },

    /// A file cannot be written.
    #[error("{}: write: {source}; check the path, its permissions and the space left", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A declared state is malformed.
    #[error("{place}: {key}: {cause}; see docs/apply.md")]
    Declaration {
        /// The file and the line.
        place: String,
        /// The table and the key.
        key: String,
        /// What is wrong, and what to write instead.
        cause: String,
    },

    /// What a declared state asks for fails. The name and the code are the cause's.
    #[error("{place}: {source}")]
    Declared {
        /// The file and the line.
        place: String,
        /// The cause.
        source: Box<Self>,
    },

    /// Rules of a declared state cannot be put in force.
    #[error("{place}: rules: {source}")]
    Rules {
        /// The hook, and what it is of.
        place: String,
        /// The cause.
        source: Box<crate::filter::Error>,
    },

    /// A change would cut the connection that its author sits at.
    #[error(
        "{hook} of {place}: {stage}: it would cut your own SSH connection, from {connection}; let \
         that pass, or say --force"
    )]
    LockOut {
        /// The hook.
        hook: Hook,
        /// What it is of.
        place: String,
        /// What was asked for.
        stage: &'static str,
        /// The two ends.
        connection: String,
    },

    /// A file is not a BPF object.
    #[error("{object}: parse: {cause}; give a file made by a compiler for the bpf target")]
    NotAnObject {
        /// The object.
        object: String,
        /// What is wrong with it.
        cause: String,
    },

    /// An object has a section of an unknown kind.
    #[error(
        "{object}: parse: section {section:?} is no program type; use a libbpf section name, such \
         as \"xdp\" or \"tc\""
    )]
    UnknownSection {
        /// The object.
        object: String,
        /// The section.
        section: String,
    },

    /// An object needs a kernel symbol that this kernel has not.
    #[error(
        "{object}: relocate: this kernel has no {symbol}, which the object needs; use a kernel that \
         has it, or declare it __weak"
    )]
    NoSymbol {
        /// The object.
        object: String,
        /// The kfunc, variable or configuration value.
        symbol: String,
    },

    /// An object needs the kernel's configuration, which cannot be read.
    #[error(
        "{object}: relocate: it needs {symbol}, and the kernel's configuration is neither \
         /proc/config.gz nor /boot/config-$(uname -r) ({source}); put it at the latter"
    )]
    NoConfig {
        /// The object.
        object: String,
        /// A value that it needs.
        symbol: String,
        /// Why the last place could not be read.
        source: io::Error,
    },

    /// An object declares a value of the kernel's configuration as another type.
    #[error(
        "{object}: relocate: {symbol}: {cause}; declare it as _Bool, enum libbpf_tristate, an \
         integer or an array of char"
    )]
    ConfigType {
        /// The object.
        object: String,
        /// The configuration value.
        symbol: String,
        /// Why it cannot be.
        cause: String,
    },

    /// An object's manifest is malformed.
    #[error("{object}: manifest: {cause}; see docs/writing-extensions.md")]
    Manifest {
        /// The object.
        object: String,
        /// What is wrong with it.
        cause: String,
    },

    /// The running kernel lacks what an object's manifest requires.
    #[error(
        "{object}: requires: this kernel, {running}, lacks {}, which its manifest requires; use one \
         that has it",
        lacks.join(", ")
    )]
    Unmet {
        /// The object.
        object: String,
        /// The kernel that runs.
        running: Version,
        /// What it lacks.
        lacks: Vec<String>,
    },

    /// A check found something wrong.
    #[error("{objects}: check: {failures} failed; the report has each with its remedy")]
    CheckFailed {
        /// The objects, by their names.
        objects: String,
        /// How many things are wrong.
        failures: usize,
    },

    /// A check could not look at everything.
    #[error("{objects}: check: nothing failed, and {skipped} stages were skipped; run it as root")]
    CheckIncomplete {
        /// The objects, by their names.
        objects: String,
        /// How many stages were not run.
        skipped: usize,
    },

    /// An object cannot be fitted to this kernel.
    #[error("{object}: {stage}: {cause}; {remedy}")]
    Relocation {
        /// The object.
        object: String,
        /// What was being done.
        stage: &'static str,
        /// The cause.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },

    /// An object has no program that fits.
    #[error(
        "{object}: attach: it has no program {wanted}; it has {}; {remedy}",
        if has.is_empty() { "none at all".to_owned() } else { has.join(", ") }
    )]
    NoProgram {
        /// The object.
        object: String,
        /// What was looked for.
        wanted: String,
        /// The programs that it has, with their sections.
        has: Vec<String>,
        /// What to do.
        remedy: &'static str,
    },

    /// An object has several programs that fit.
    #[error("{object}: attach: several programs serve {hook}: {}; choose with --program", programs.join(", "))]
    ManyPrograms {
        /// The object.
        object: String,
        /// The hook.
        hook: Hook,
        /// The programs.
        programs: Vec<String>,
    },

    /// The verifier refused a program.
    #[error("{object}: program {program}: verifier: {reason} ({source}); -v shows its whole log")]
    Refused {
        /// The object.
        object: String,
        /// The program's symbol.
        program: String,
        /// The verifier's last words.
        reason: String,
        /// The errno.
        source: io::Error,
        /// The whole log.
        log: String,
    },

    /// A chain has no room.
    #[error(
        "{hook} of {interface}: attach: the chain has 32 nodes and the kernel follows no more; \
         detach one first"
    )]
    ChainFull {
        /// The hook.
        hook: Hook,
        /// The interface.
        interface: String,
    },

    /// Another extension has the name.
    #[error(
        "extension {name}: load: another object of this name is loaded, from {}; unload it, or \
         rename the file (`nke replace` takes it where the loaded one has no other attachment)",
        path.display()
    )]
    NameClash {
        /// The name.
        name: String,
        /// Where the loaded one came from.
        path: PathBuf,
    },

    /// No such extension is loaded.
    #[error("extension {name}: {stage}: it is not loaded; `nke list` shows those that are")]
    NotLoaded {
        /// The name or id.
        name: String,
        /// What was asked for.
        stage: &'static str,
    },

    /// Extensions need each other.
    #[error("{object}: dependencies: {unmet}")]
    DependencyCycle {
        /// What was to be loaded.
        object: String,
        /// Who needs whom.
        unmet: Box<Unmet>,
    },

    /// An extension that is needed is not there, or not in a version that will do.
    #[error("{object}: dependencies: {unmet}")]
    NoProvider {
        /// What was to be loaded.
        object: String,
        /// What it needs, and what was seen.
        unmet: Box<Unmet>,
    },

    /// No one version of an extension will do for all that need it.
    #[error("{object}: dependencies: {unmet}")]
    DependencyConflict {
        /// What was to be loaded.
        object: String,
        /// Who needs what, and what was seen.
        unmet: Box<Unmet>,
    },

    /// An extension that is needed is loaded in a version that will not do.
    #[error("{object}: dependencies: {unmet}")]
    ProviderVersion {
        /// What was to be loaded.
        object: String,
        /// What it needs, and what is loaded.
        unmet: Box<Unmet>,
    },

    /// Ranges of versions that allow too many choices.
    #[error("{object}: dependencies: {unmet}")]
    TooManyChoices {
        /// What was to be loaded.
        object: String,
        /// That.
        unmet: Box<Unmet>,
    },

    /// A map that another extension does not share.
    #[error(
        "{object}: map {map}: extension {provider} does not provide it: {cause}; correct the \
         dependencies of the manifest"
    )]
    NotShared {
        /// What was to be loaded.
        object: String,
        /// The map.
        map: String,
        /// Whose it was to be.
        provider: String,
        /// Why it cannot be.
        cause: &'static str,
    },

    /// A map of another extension is not what an object takes it for.
    #[error(
        "{object}: map {map}: it is not what extension {provider} has: {difference}; define it as \
         that does"
    )]
    MapMismatch {
        /// What was to be loaded.
        object: String,
        /// The map.
        map: String,
        /// Whose it is.
        provider: String,
        /// Where they differ.
        difference: String,
    },

    /// An object uses another extension's map and does not say whose.
    #[error(
        "{object}: map {map}: it is another extension's, and no dependency names it; {}",
        if lines.is_empty() {
            "no extension that is loaded or on the search path has such a map".to_owned()
        } else {
            format!("add to the manifest, under [dependencies]: {}", lines.join("; or: "))
        }
    )]
    Undeclared {
        /// What was to be loaded.
        object: String,
        /// The map.
        map: String,
        /// The lines that could be added to its manifest, each with the extension that it names.
        lines: Vec<String>,
    },

    /// An extension is in use.
    #[error(
        "extension {name}: unload: it is in use by {}; detach it first",
        some(holders)
    )]
    InUse {
        /// The name.
        name: String,
        /// The attachments.
        holders: Vec<String>,
    },

    /// Another process reads an extension's lines and records.
    #[error(
        "extension {name}: log: {reader} reads it already, and would miss what is read here; end that first"
    )]
    BeingRead {
        /// The name.
        name: String,
        /// Who, in words.
        reader: String,
    },

    /// An extension's init program does not want it loaded.
    #[error(
        "extension {name}: load: its init program {program} answered {answer}; nothing of it is \
         loaded, and its author says what the answer means"
    )]
    InitFailed {
        /// The name.
        name: String,
        /// The program's symbol.
        program: String,
        /// What it answered, in words.
        answer: String,
    },

    /// An extension's exit program does not want it unloaded.
    #[error(
        "extension {name}: unload: its exit program {program} answered {answer}; it stays loaded and \
         works on, --force unloads it in spite of that"
    )]
    ExitVetoed {
        /// The name.
        name: String,
        /// The program's symbol.
        program: String,
        /// What it answered, in words.
        answer: String,
    },

    /// No such attachment.
    #[error("attachment {name}: {stage}: none such{place}; `nke chain` shows those that are")]
    NoAttachment {
        /// The name or id.
        name: String,
        /// What was asked for.
        stage: &'static str,
        /// Where it was looked for.
        place: String,
    },

    /// Several attachments fit.
    #[error(
        "attachment {name}: {stage}: several fit: {}; name one by its id, or say where it is: -i, --netns or --cgroup, and --hook",
        some(found)
    )]
    ManyAttachments {
        /// The name.
        name: String,
        /// What was asked for.
        stage: &'static str,
        /// Those that fit.
        found: Vec<String>,
    },

    /// A hook where nothing can be dropped.
    #[error(
        "{hook}: policy: the kernel takes no other answer than to go on here; use another hook"
    )]
    NoDropPolicy {
        /// The hook.
        hook: Hook,
    },

    /// A hook is of something else.
    #[error(
        "{hook}: policy: {place} has no such hook; interface hooks go with -i, ip hooks with --netns, socket hooks with --cgroup"
    )]
    NotAHook {
        /// The hook.
        hook: Hook,
        /// What was given.
        place: String,
    },

    /// It is not clear which hook is meant.
    #[error("{interface}: policy: it has not just one chain; say which with --hook")]
    WhichHook {
        /// The interface.
        interface: String,
    },

    /// Somebody else's program has the hook.
    #[error(
        "{hook} of {interface}: attach: it is taken by {owner}, which is not nke's; detach that \
         first (`ip link set dev {interface} xdp off`, `xdp-loader unload`), or use interface/in"
    )]
    HookTaken {
        /// The hook.
        hook: Hook,
        /// The interface.
        interface: String,
        /// The program in place.
        owner: String,
    },

    /// The chain runs in the other mode.
    #[error(
        "{hook} of {interface}: attach: the chain runs in {running} mode; detach all of it to change that"
    )]
    ModeMismatch {
        /// The hook.
        hook: Hook,
        /// The interface.
        interface: String,
        /// The mode that it runs in.
        running: Mode,
    },

    /// A mode was asked for that the hook does not have.
    #[error("{hook}: attach: there is no mode {mode} here; leave --mode out")]
    NoMode {
        /// The hook.
        hook: Hook,
        /// As given.
        mode: Mode,
    },

    /// An option of netfilter's was given at another kind of hook.
    #[error("{hook}: attach: {option} is for the ip hooks; leave it out")]
    NotNetfilter {
        /// The hook.
        hook: Hook,
        /// The option.
        option: &'static str,
    },

    /// The chain is called at another place in netfilter.
    #[error(
        "{hook} of {place}: attach: the chain runs at {running}{}; detach all of it to change that",
        if running.defrag { "" } else { ", without --defrag" }
    )]
    NetfilterMismatch {
        /// The hook.
        hook: Hook,
        /// What it is attached to.
        place: String,
        /// Where it runs.
        running: Netfilter,
    },

    /// Another BPF program has the priority.
    #[error(
        "{hook} of {place}: attach: another BPF program has netfilter priority {priority} (`nft list \
         hooks` shows it); choose one with --netfilter-priority"
    )]
    PriorityTaken {
        /// The hook.
        hook: Hook,
        /// The namespace.
        place: String,
        /// The priority.
        priority: Priority,
    },

    /// The priority is before the place where packets are put together.
    #[error(
        "{hook}: attach: at netfilter priority {priority} packets are in fragments yet; with \
         --defrag it must be more than {}",
        Priority::DEFRAG
    )]
    DefragTooEarly {
        /// The hook.
        hook: Hook,
        /// The priority.
        priority: Priority,
    },

    /// The kernel was built without what puts packets together.
    #[error(
        "{hook} of {place}: attach: the kernel cannot put packets together ({source}); use one with \
         CONFIG_NF_DEFRAG_IPV4 and CONFIG_NF_DEFRAG_IPV6, or leave --defrag out"
    )]
    NoDefrag {
        /// The hook.
        hook: Hook,
        /// The namespace.
        place: String,
        /// The errno.
        source: io::Error,
    },

    /// The driver refuses native XDP.
    #[error(
        "{hook} of {interface}: attach: its driver has no native XDP; use --mode generic, or leave \
         --mode out"
    )]
    NoNative {
        /// The hook.
        hook: Hook,
        /// The interface.
        interface: String,
    },

    /// A hook whose sockets cannot opt in.
    #[error(
        "{hook}: attach: no socket can have opted in here; leave --opt-in out, or use another socket hook"
    )]
    NoOptIn {
        /// The hook.
        hook: Hook,
    },

    /// A name that no socket can opt in for.
    #[error(
        "extension {name}: attach: a socket opts in by a name of 63 bytes at most; rename the file"
    )]
    LongName {
        /// The extension.
        name: String,
    },

    /// A socket that cannot opt in, or out.
    #[error("socket {socket}: {stage} {extension}: {source}; {remedy}")]
    Socket {
        /// The socket.
        socket: Descriptor,
        /// What was being done.
        stage: &'static str,
        /// The extension that it was for.
        extension: String,
        /// The errno.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },

    /// Somebody else's program on a cgroup, or on one above it, stands no other.
    #[error(
        "{hook} of {cgroup}: attach: a program that is not nke's, there or on a cgroup above, allows \
         no other beside it; `bpftool cgroup tree` shows it"
    )]
    Exclusive {
        /// The hook.
        hook: Hook,
        /// The cgroup.
        cgroup: String,
    },

    /// A change is in force, and cannot be shown.
    #[error("{hook}: read back: the change is in force, and could not be read back: {source}")]
    NotReadBack {
        /// The hook.
        hook: Hook,
        /// The cause, with the remedy.
        source: Box<Self>,
    },

    /// An extension has no map of a name, or a map no variable.
    #[error(
        "{extension}: {stage} {map}: there is none; it has {}",
        some_or_none(has)
    )]
    NoMap {
        /// The extension, or its map.
        extension: String,
        /// What was looked for.
        stage: &'static str,
        /// Its name.
        map: String,
        /// Those that there are.
        has: Vec<String>,
    },

    /// Something that a map's kind, or state, does not allow.
    #[error("{map}: {stage}: {kind}: {reason}")]
    MapUse {
        /// The map, with its extension.
        map: String,
        /// What was asked for.
        stage: &'static str,
        /// The map's kind.
        kind: &'static str,
        /// Why not, and what to do instead.
        reason: &'static str,
    },

    /// A map has no entry of a key; a queue is empty.
    #[error(
        "{map}: {stage}: {}",
        key.as_ref().map_or("it is empty".to_owned(), |key| {
            format!("it has no entry {key}; `nke map dump` shows those that are")
        })
    )]
    NoEntry {
        /// The map, with its extension.
        map: String,
        /// What was asked for.
        stage: &'static str,
        /// The key, as given.
        key: Option<String>,
    },

    /// A text is no key or value of its type.
    #[error("{object}: {stage}: {source}")]
    Value {
        /// The map or setting, with its extension.
        object: String,
        /// What was being done.
        stage: &'static str,
        /// Why, and where in the text.
        source: Box<ValueError>,
    },

    /// An extension has no setting of a name.
    #[error(
        "extension {extension}: {stage} {setting}: it has no such setting; it has {}",
        some_or_none(has)
    )]
    NoSetting {
        /// The extension.
        extension: String,
        /// What was asked for.
        stage: &'static str,
        /// The setting's name.
        setting: String,
        /// Those that there are.
        has: Vec<String>,
    },

    /// The kernel said no.
    #[error("{object}: {stage}: {source}; {}", remedy_of(source, remedy))]
    Kernel {
        /// What it was about.
        object: String,
        /// What was being done.
        stage: &'static str,
        /// The errno.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },

    /// A version is not newer than the one that it is to take the place of.
    #[error(
        "{name}: upgrade: {found} is not newer than {loaded}, which is loaded; --force takes it"
    )]
    NotNewer {
        /// The extension.
        name: String,
        /// Its version.
        loaded: semver::Version,
        /// The version that was found.
        found: semver::Version,
    },

    /// A map is laid out differently in two versions, and nothing says what becomes of its contents.
    #[error(
        "{object}: upgrade: map {map} has changed: {difference}; give its contents up with \
         --reset-maps {map}, or have the new version say `migrate` in [maps.\"{map}\"]"
    )]
    MapChanged {
        /// The extension.
        object: String,
        /// The map.
        map: String,
        /// How it differs.
        difference: String,
    },

    /// The file is another extension.
    #[error("{name}: upgrade: {was} is loaded, and the file's identifier is {is}; unload it first")]
    OtherIdentity {
        /// The extension's name.
        name: String,
        /// Its identifier.
        was: String,
        /// The file's.
        is: String,
    },

    /// There is no version to go back to.
    #[error("{name}: roll back: there is no version before this one; `nke upgrade` brings one")]
    NoPrevious {
        /// The extension's name.
        name: String,
    },

    /// A command was killed as it upgraded an extension, and it cannot be undone for now.
    #[error(
        "{name}: upgrade: one that was killed is not undone yet; each command tries, and `nke -v \
         rollback {name}` says why it fails"
    )]
    HalfUpgraded {
        /// The extension's name.
        name: String,
    },

    /// An extension that needs this one cannot do with the other version.
    #[error("{name}: upgrade: {dependant} {cause}; upgrade or unload {dependant} first")]
    DependantRefuses {
        /// The extension.
        name: String,
        /// The one that needs it.
        dependant: String,
        /// Why not, in words.
        cause: String,
    },

    /// A setting was given when the extension was loaded, and the new version cannot take it.
    #[error(
        "{name}: upgrade: setting {setting} was set to {value}, and {cause}; --reset-settings \
         {setting} gives it up"
    )]
    SettingLost {
        /// The extension.
        name: String,
        /// The setting's name.
        setting: String,
        /// Its value.
        value: String,
        /// Why not, in words.
        cause: String,
    },

    /// There is no map of this name to reset.
    #[error("{object}: upgrade: the new version has no map {map}; `nke info` shows its maps")]
    NoMapToReset {
        /// The extension.
        object: String,
        /// As given.
        map: String,
    },

    /// A change was made that is to be confirmed, and is not yet.
    #[error("{what}: {stage}: it is not confirmed yet; `nke confirm {id}` first, or wait")]
    Unconfirmed {
        /// The change that waits, in words.
        what: String,
        /// Its id.
        id: u64,
        /// What was not done.
        stage: &'static str,
    },

    /// No change waits for its confirmation, or not this one.
    #[error("confirm: no such change waits for it; it may have gone back: see `nke chain`")]
    NothingPending,

    /// What runs cannot be declared, and so not be brought back.
    #[error("apply: --confirm: what runs cannot all be brought back: {lost}; do without --confirm")]
    NoWayBack {
        /// What no name leads to.
        lost: String,
    },
}

impl Error {
    /// The verifier's whole log, where there is one.
    pub fn verifier_log(&self) -> Option<&str> {
        if let Self::Declared { source, .. } = self {
            return source.verifier_log();
        }
        if let Self::Refused { log, .. } = self {
            Some(log)
        } else {
            None
        }
    }
}
