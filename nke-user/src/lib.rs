//! Network Kernel Extensions for Linux: the library.
