//! Trust: nothing goes into the kernel that others than root can change.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use nke_tests::{Ran, World, binaries, trail};

const SOMEBODY: u32 = 1000;

/// A directory of root's with an object in it.
fn place(world: &World) -> (PathBuf, PathBuf) {
    let directory = world.directory().join("place");
    fs::create_dir(&directory).expect("the directory is ours");
    mode(&directory, 0o755);
    let object = directory.join("thing.o");
    fs::copy(trail::object(1), &object).expect("it can be copied");
    mode(&object, 0o644);
    (directory, object)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("root may");
}

fn owner(path: &Path, uid: u32) {
    chown(path, Some(uid), None).expect("root may");
}

/// Every verb that would load the file refuses, names what is not trusted, and says the remedy;
/// then, once it is mended, it is loaded.
#[track_caller]
fn refused(world: &World, file: &Path, culprit: &Path, cause: &str, remedy: &str) {
    let file = file.to_str().expect("a path of ours");
    let before = world.standing();
    for words in [&["load", file][..], &world.target(&["attach", file])] {
        let error = world.nke(words).fails("untrusted");
        let shown = culprit.display();
        let start =
            format!("nke: {shown}: trust: {cause}, and could change what the kernel runs; ");
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(remedy), "{remedy}: {error}");
    }
    world.assert_standing(&before);
}

#[track_caller]
fn loaded(world: &World, file: &Path) {
    let file = file.to_str().expect("a path of ours");
    world.nke(&["load", file]).ok();
    world.nke(&["unload", "thing"]).ok();
}

#[test]
fn files_that_others_can_write() {
    let world = World::new();
    let (_, object) = place(&world);
    for bits in [0o666, 0o664, 0o646, 0o622] {
        mode(&object, bits);
        let cause = format!("others than root can write to it (mode {bits:04o})");
        let remedy = format!("`chmod go-w {}`", object.display());
        refused(&world, &object, &object, &cause, &remedy);
    }
    mode(&object, 0o644);
    loaded(&world, &object);
}

#[test]
fn files_of_others() {
    let world = World::new();
    let (_, object) = place(&world);
    owner(&object, SOMEBODY);
    let remedy = format!("`chown root {}`", object.display());
    refused(&world, &object, &object, "user 1000 owns it", &remedy);
    owner(&object, 0);
    loaded(&world, &object);
}

/// As in a home directory: what is in it can be replaced by its owner, whoever owns the file.
#[test]
fn directories_of_others_on_the_way() {
    let world = World::new();
    let (directory, object) = place(&world);
    let remedy = "-t /usr/local/lib/nke`";
    owner(&directory, SOMEBODY);
    refused(&world, &object, &directory, "user 1000 owns it", remedy);
    owner(&directory, 0);
    mode(&directory, 0o777);
    let cause = "others than root can write to it (mode 0777)";
    let remedy = format!("`chmod go-w {}`", directory.display());
    refused(&world, &object, &directory, cause, &remedy);
    // In a sticky directory nobody can take root's files away.
    mode(&directory, 0o1777);
    loaded(&world, &object);
}

#[test]
fn directories_of_the_search_path() {
    let world = World::new();
    let directory = world.extensions();
    fs::copy(trail::object(1), directory.join("thing.o")).expect("it can be copied");
    mode(&directory, 0o757);
    let error = world.nke(&["load", "thing"]).fails("untrusted");
    let start = format!("nke: {}: trust: others than root", directory.display());
    assert!(error.starts_with(&start), "{error}");
    mode(&directory, 0o755);
    world.nke(&["load", "thing"]).ok();
}

#[test]
fn links() {
    let world = World::new();
    let (directory, object) = place(&world);
    // Links of root's are followed, also through others' …
    let link = world.directory().join("thing.bpf.o");
    symlink(&object, &link).expect("the directory is ours");
    loaded(&world, &link);
    let relative = world.directory().join("way");
    symlink("place/../place", &relative).expect("the directory is ours");
    loaded(&world, &relative.join("thing.o"));
    // … but what they lead to is looked at,
    mode(&directory, 0o777);
    let cause = "others than root can write to it (mode 0777)";
    refused(&world, &link, &directory, cause, "chmod go-w");
    // also if they lead out of it again, or are somebody's.
    mode(&directory, 0o1777);
    let out = directory.join("out");
    symlink(world.directory(), &out).expect("the directory is ours");
    let through = out.join("place/thing.o");
    loaded(&world, &through);
    rustix::fs::chownat(
        rustix::fs::CWD,
        &out,
        Some(rustix::fs::Uid::from_raw(SOMEBODY)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("root may");
    refused(&world, &through, &out, "user 1000 owns it", "chown root");
}

/// What is said beside an object decides what of it runs, and where.
#[test]
fn a_manifest_beside_it() {
    let world = World::new();
    let (_, object) = place(&world);
    let beside = object.with_extension("toml");
    fs::write(&beside, "version = \"1.0.0\"\n").expect("the directory is ours");
    mode(&beside, 0o666);
    let cause = "others than root can write to it (mode 0666)";
    refused(&world, &object, &beside, cause, "chmod go-w");
    mode(&beside, 0o644);
    loaded(&world, &object);
}

/// Looking at a file loads nothing: anybody's will do.
#[test]
fn looking_needs_no_trust() {
    let world = World::new();
    let (_, object) = place(&world);
    owner(&object, SOMEBODY);
    let file = object.to_str().expect("a path of ours");
    let shown = world.nke(&["info", file]).ok().stdout;
    assert!(shown.contains("thing"), "{shown}");
}

/// A host that sees a directory of the test's own at `/etc`: there is no other way to give it keys.
struct Host {
    world: World,
    object: PathBuf,
}

impl Host {
    fn new() -> Self {
        let world = World::new();
        let (_, object) = place(&world);
        fs::create_dir_all(world.directory().join("etc/nke/trust")).expect("it is ours");
        let host = Self { world, object };
        host.nke(&["keygen", "alice"]).ok();
        host.nke(&["keygen", "mallory"]).ok();
        host.trust("alice.pub", &host.text("alice.pub"));
        host
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.world.directory().join(file)).expect("it is there")
    }

    fn trust(&self, file: &str, text: &str) {
        let path = self.world.directory().join("etc/nke/trust").join(file);
        fs::write(&path, text).expect("the directory is ours");
        mode(&path, 0o644);
    }

    fn nke(&self, words: &[&str]) -> Ran {
        let mut command = Command::new("unshare");
        self.world.dress(&mut command);
        let script = "mount --bind etc /etc && exec \"$@\"";
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(binaries::nke()).args(words);
        Ran::of(&mut command)
    }

    fn object(&self) -> &str {
        self.object.to_str().expect("a path of ours")
    }

    fn sign(&self, key: &str) {
        self.nke(&["sign", self.object(), "--key", key]).ok();
    }

    /// It is not loaded, and `verify` says the same.
    #[track_caller]
    fn refuses(&self, name: &str) {
        let before = self.world.standing();
        for verb in ["load", "verify"] {
            let error = self.nke(&[verb, self.object()]).fails(name);
            assert!(error.contains("thing.o"), "{error}");
        }
        self.world.assert_standing(&before);
    }

    fn loads(&self) {
        self.nke(&["load", self.object()]).ok();
        self.nke(&["unload", "thing"]).ok();
    }
}

#[test]
fn without_a_policy_nothing_need_be_signed() {
    let host = Host::new();
    host.loads();
    // A signature of somebody unknown is as good as none.
    host.sign("mallory");
    host.loads();
    let error = host.nke(&["verify", host.object()]).fails("unknown-signer");
    let key = host.text("mallory.pub");
    let key = key.trim().trim_start_matches("nke-public-key-1 ");
    assert!(error.contains(key), "{error}");
}

#[test]
fn a_required_signature() {
    let host = Host::new();
    host.trust("policy.toml", "require-signature = true\n");
    host.refuses("unsigned");
    host.sign("mallory");
    host.refuses("unknown-signer");
    host.sign("alice");
    let said = host.nke(&["verify", host.object()]).ok().stdout;
    assert_eq!(said, format!("{} is signed by alice\n", host.object()));
    host.nke(&["load", host.object()]).ok();
    let shown = host.nke(&["show", "thing"]).ok().stdout;
    assert!(shown.contains("  signed by    alice\n"), "{shown}");
    let shown: serde_json::Value = host.nke(&["show", "thing", "--json"]).json();
    assert_eq!(shown["signers"][0], "alice");
    host.nke(&["unload", "thing"]).ok();
    // Every way in asks for it.
    let bare = trail::object(2);
    for words in [&["load", &bare][..], &host.world.target(&["attach", &bare])] {
        let _: String = host.nke(words).fails("unsigned");
    }
}

#[test]
fn what_was_changed_since_is_refused_policy_or_not() {
    let host = Host::new();
    host.sign("alice");
    host.loads();
    let beside = host.object.with_extension("toml");
    fs::write(&beside, "version = \"1.0.0\"\n").expect("the directory is ours");
    mode(&beside, 0o644);
    host.refuses("bad-signature");
    host.sign("alice");
    host.loads();
    fs::remove_file(&beside).expect("it is there");
    host.refuses("bad-signature");
    fs::copy(trail::object(2), &host.object).expect("it can be copied");
    host.refuses("bad-signature");
    host.sign("alice");
    host.loads();
}

#[test]
fn what_is_malformed_is_no_yes() {
    let host = Host::new();
    host.trust("policy.toml", "require-signatures = false\n");
    let error = host.nke(&["load", host.object()]).fails("trust-file");
    assert!(error.contains("policy.toml"), "{error}");
    host.trust("policy.toml", "");
    host.loads();
    let signature = format!("{}.sig", host.object());
    fs::write(&signature, "nke-signature-1 00\n").expect("the directory is ours");
    mode(Path::new(&signature), 0o644);
    let _: String = host.nke(&["load", host.object()]).fails("trust-file");
    host.sign("alice");
    host.trust("alice.pub", "nke-public-key-1 00\n");
    let _: String = host.nke(&["load", host.object()]).fails("trust-file");
    host.trust("alice.pub", &host.text("alice.pub"));
    host.loads();
}

/// Who can write to the keys decides what is loaded.
#[test]
fn keys_that_others_can_write() {
    let host = Host::new();
    host.sign("alice");
    let etc = host.world.directory().join("etc/nke/trust");
    for (path, safe) in [(etc.join("alice.pub"), 0o644), (etc, 0o755)] {
        mode(&path, 0o777);
        let error = host.nke(&["load", host.object()]).fails("untrusted");
        assert!(error.contains("nke: /etc/nke/trust"), "{error}");
        mode(&path, safe);
    }
    host.loads();
}

#[test]
fn a_secret_key_is_secret_and_stays() {
    let host = Host::new();
    let key = host.world.directory().join("alice");
    let found = fs::metadata(&key).expect("it is there");
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let before = (host.text("alice"), host.text("alice.pub"));
    let _: String = host.nke(&["keygen", "alice"]).fails("write");
    assert_eq!((host.text("alice"), host.text("alice.pub")), before);
    let words = ["sign", host.object(), "--key", "alice.pub"];
    let _: String = host.nke(&words).fails("trust-file");
}
