//! Network Kernel Extensions for Linux: the library.
pub mod place;
