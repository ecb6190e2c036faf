//! The SDK for nke extensions.
#![no_std]
