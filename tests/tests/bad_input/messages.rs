//! Errors that this host cannot be brought to, in their words.

use nke::{error::Error, kernel::Version};

#[track_caller]
fn check(error: &Error, line: &str) {
    assert_eq!(error.to_string(), line);
}

#[test]
fn a_kernel_that_lacks_a_feature() {
    check(
        &Error::TooOld {
            object: "interface/in of eth0".to_owned(),
            feature: "mode tcx".to_owned(),
            since: Version::new(6, 6),
            running: Version::new(6, 1),
        },
        "interface/in of eth0: attach: mode tcx needs Linux 6.6 or newer, this is 6.1; update the \
         kernel",
    );
}

#[test]
fn a_kernel_that_is_locked_down() {
    check(
        &Error::Lockdown {
            object: "counter".to_owned(),
            mode: "confidentiality".to_owned(),
        },
        "counter: load: the kernel is locked down (confidentiality), which forbids BPF programs; \
         boot without lockdown=confidentiality",
    );
}
