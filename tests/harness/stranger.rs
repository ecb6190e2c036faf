//! Extensions that know nothing of nke, compiled by clang from `tests/strangers/*.c`.

use std::{
    collections::HashMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
};

use crate::{binaries, fail, netns::run};

/// Where the sources are.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("strangers")
}

/// The object of a source, compiled with BTF; its path, as `nke attach` takes it.
///
/// `name` becomes the file's name, and with it the extension's; `flags` go to clang.
#[must_use]
pub fn object(source: &str, name: &str, flags: &[&str]) -> String {
    compile(source, name, &[&["-g"], flags].concat())
}

/// The same without debug information, as many old objects are.
#[must_use]
pub fn object_without_btf(source: &str, name: &str, flags: &[&str]) -> String {
    compile(source, name, flags)
}

fn compile(source: &str, name: &str, flags: &[&str]) -> String {
    static DONE: OnceLock<Mutex<HashMap<u64, String>>> = OnceLock::new();
    let path = sources().join(source);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| fail(format!("{}: {error}", path.display())));
    let mut hasher = DefaultHasher::new();
    (text, headers(), name, flags).hash(&mut hasher);
    let key = hasher.finish();

    // Tests that want the same object at the same time wait for the one that makes it.
    let mut done = DONE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(|e| e.into_inner());
    let object = done
        .entry(key)
        .or_insert_with(|| make(&path, name, flags, key));
    object.clone()
}

fn headers() -> String {
    let read = |name| fs::read_to_string(sources().join(name));
    let texts = ["stranger.h", "flow.h"].map(|name| read(name).expect("the header is there"));
    texts.concat()
}

fn make(source: &Path, name: &str, flags: &[&str], key: u64) -> String {
    let directory = binaries::target_directory()
        .join("strangers")
        .join(format!("{key:016x}"));
    fs::create_dir_all(&directory).expect("the target directory can be written");
    let object = directory.join(format!("{name}.o"));
    if !object.exists() {
        // Another test program may be at the same thing: each writes its own, and renames.
        let draft = directory.join(format!("draft-{}", std::process::id()));
        let machine = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let mut words = vec!["-O2", "-target", "bpf", "-Wall", "-Werror", &machine];
        words.extend(flags);
        let (from, to) = (source.display().to_string(), draft.display().to_string());
        words.extend(["-c", &from, "-o", &to]);
        run(clang(), &words);
        fs::rename(&draft, &object).expect("the draft is there");
    }
    object.display().to_string()
}

fn clang() -> &'static str {
    static CLANG: OnceLock<&str> = OnceLock::new();
    CLANG.get_or_init(|| {
        let works = |name: &&str| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|out| out.status.success())
        };
        ["clang-16", "clang"]
            .into_iter()
            .find(works)
            .unwrap_or_else(|| fail("no clang-16: `cargo xtask test` installs it"))
    })
}
