//! The hooks of the socket layer: what the sockets of a cgroup do.
//!
//! Every test has a cgroup of its own, and sockets that belong to it.

mod bad_input;
mod data;
mod deny;
mod last;
mod order;
mod place;
mod rewrite;
