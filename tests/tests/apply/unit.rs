//! The unit that applies /etc/nke at boot is one that systemd takes.

use std::{fs, process::Command};

use nke_tests::{World, binaries};

#[test]
fn systemd_takes_the_unit() {
    let world = World::new();
    let unit = include_str!("../../../dist/nke.service");
    assert!(
        unit.contains("Before=network-pre.target") && unit.contains("Wants=network-pre.target")
    );
    let nke = binaries::nke();
    let unit = unit.replace("/usr/bin/nke", &nke.display().to_string());
    let path = world.directory().join("nke.service");
    fs::write(&path, unit).expect("the directory is the test's");
    let mut verify = Command::new("systemd-analyze");
    let Ok(verified) = verify.arg("verify").arg(&path).output() else {
        eprintln!("there is no systemd-analyze here");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(
        verified.status.success() && !said.contains("nke.service:"),
        "{said}"
    );
}
