//! `nke info`: what an extension is, without loading it.

use clap::Args;
use nke::{
    find::Wanted,
    info,
    object::{Dependency, Identifier, Manifest, ManifestHook, Need, Setting},
};
use serde_json::json;

use crate::{
    arguments::Format,
    output::{bytes, field, line, print_json, print_table, table},
};

#[derive(Args, Debug)]
pub(crate) struct Info {
    /// A name to search in $NKE_PATH, or a path (what holds a '/')
    extension: Wanted,
    #[command(flatten)]
    format: Format,
}

impl Info {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let info = info::Info::of(&self.extension)?;
        if self.format.json {
            return print_json(&json!(info));
        }
        line(format_args!("extension {}", info.name));
        identity(&info);
        wants(&info.manifest);
        maps(&info);
        programs(&info);
        needs(&info);
        Ok(())
    }
}

fn identity(info: &info::Info) {
    let Manifest {
        identifier,
        version,
        compatible_since,
        description,
        license,
        ..
    } = &info.manifest;
    if let Some(identifier) = identifier {
        field("identifier", identifier);
    }
    match compatible_since {
        Some(since) => field(
            "version",
            format_args!("{version}, compatible since {since}"),
        ),
        None => field("version", version),
    }
    if !description.is_empty() {
        field("description", description);
    }
    let object = &info.object_license.escape_debug();
    match license {
        Some(license) => field(
            "license",
            format_args!("{license} (to the kernel: {object})"),
        ),
        None => field("license", object),
    }
    field("file", info.path.display());
    field("size", bytes(info.size as u64));
    if info.manifest_beside {
        field("manifest", info.path.with_extension("toml").display());
    }
}

fn wants(manifest: &Manifest) {
    for ManifestHook { hook, priority } in &manifest.hooks {
        match priority {
            Some(priority) => field("attached to", format_args!("{hook}, priority {priority}")),
            None => field("attached to", hook),
        }
    }
    for (name, symbol) in [("init", &manifest.init), ("exit", &manifest.exit)] {
        if let Some(symbol) = symbol {
            field(name, symbol);
        }
    }
    for (identifier, dependency) in &manifest.dependencies {
        depends(identifier, dependency);
    }
    if let Some(kernel) = manifest.requires.kernel {
        field("requires", format_args!("Linux {kernel}"));
    }
    for feature in &manifest.requires.features {
        field("requires", feature);
    }
    for (name, setting) in &manifest.settings {
        field("setting", format_args!("{name} {}", described(setting)));
    }
}

fn depends(identifier: &Identifier, dependency: &Dependency) {
    let Dependency { version, maps } = dependency;
    let maps = match maps.as_slice() {
        [] => String::new(),
        maps => format!(", for its maps {}", maps.join(" ")),
    };
    field("depends on", format_args!("{identifier} {version}{maps}"));
}

fn described(setting: &Setting) -> String {
    let Setting {
        kind,
        default,
        minimum,
        maximum,
        description,
        map: _,
        variable: _,
    } = setting;
    let mut text = kind.to_string();
    for (word, value) in [("default", default), ("from", minimum), ("to", maximum)] {
        if let Some(value) = value {
            text += &format!(", {word} {value}");
        }
    }
    if !description.is_empty() {
        text += &format!(": {description}");
    }
    text
}

fn maps(info: &info::Info) {
    for map in &info.maps {
        let name = map.name.escape_debug();
        let size = map.key_size + map.value_size;
        let (kind, entries) = (&map.kind, map.max_entries);
        field(
            "map",
            format_args!("{name} {kind}, {entries} entries of {}", bytes(size.into())),
        );
    }
}

fn programs(info: &info::Info) {
    line(format_args!(""));
    let mut table = table(["PROGRAM", "SECTION", "TYPE", "LINUX", "HOOKS"]);
    for program in &info.needs.programs {
        let hooks: Vec<_> = program.hooks.iter().map(|hook| hook.row().name).collect();
        let since = program.since.to_string();
        table.add_row([
            program.program.escape_debug().to_string(),
            program.section.escape_debug().to_string(),
            program.kind.unwrap_or("-").to_owned(),
            if program.kind.is_some() {
                since
            } else {
                "-".to_owned()
            },
            hooks.join(" "),
        ]);
    }
    print_table(&table);
}

fn needs(info: &info::Info) {
    let needs = &info.needs;
    let kinds = [
        ("program type", &needs.program_types),
        ("map type", &needs.map_types),
        ("helper", &needs.helpers),
        ("kernel function", &needs.kfuncs),
        ("kernel variable", &needs.variables),
        ("kernel type", &needs.types),
        ("configuration", &needs.config),
    ];
    if kinds.iter().all(|(_, needs)| needs.is_empty()) {
        return;
    }
    line(format_args!(""));
    let mut table = table(["NEEDS", "NAME", "LINUX", "HERE"]);
    for (kind, needs) in kinds {
        for Need {
            name,
            since,
            optional,
            here,
        } in needs
        {
            let since = since.map_or_else(|| "-".to_owned(), |since| since.to_string());
            let here = match (here, optional) {
                (Some(true), _) => "yes",
                (Some(false), true) => "no, and can do without",
                (Some(false), false) => "no",
                (None, _) => "-",
            };
            let name = name.escape_debug().to_string();
            table.add_row([kind.to_owned(), name, since, here.to_owned()]);
        }
    }
    print_table(&table);
}
