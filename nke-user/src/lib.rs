//! Network Kernel Extensions for Linux: the library.
//!
//! An *extension* is a BPF object file. *Attaching* it makes one of its programs a *node* of the
//! *chain* at a *hook* of an interface. The loader rewrites the program so that a verdict to go
//! on becomes a jump to the next node; the program's author need not know.
//!
//! In reading order: words ([`hook`], [`order`], [`netfilter`], [`kernel`], [`error`]); from a file to a node
//! ([`find`], [`object`], [`depend`], [`place`]); the verbs ([`control`]); the rules of the bundled packet
//! filter ([`filter`]); and the system calls ([`sys`]).

pub mod error;
pub mod hook;
pub mod kernel;
pub mod mode;
pub mod netfilter;
pub mod order;

pub mod depend;
pub mod find;
mod loader;
pub mod object;
pub mod place;

pub mod cgroup;
mod chain;
mod clsact;
pub mod counters;
mod extension;
pub mod foreign;
mod holder;
pub mod info;

pub mod check;
pub mod interface;
mod iptables;
mod netlink;
mod nftables;
pub mod seal;
mod state;
pub mod target;
pub mod trust;
mod upgrade;

pub mod control;
pub mod declare;
pub mod left_out;
pub mod lockout;
pub mod maps;
pub mod reading;
pub mod records;
mod routine;
pub mod value;

pub mod filter;

pub mod so_nke;

#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub mod sys;
