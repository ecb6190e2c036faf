//! Who an extension is: what it says in its object or beside it, and what nke makes of that.

mod check;
mod info;
mod manifest;
