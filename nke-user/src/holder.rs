//! Who holds a loaded extension: those who asked for it by name, its attachments, and the
//! extensions that need it. It goes when nobody does.
//!
//! A request has the name of whoever made it, only so that people know whom to ask: it is no
//! permission, and root can release another's.
//!
//! ```ignore
//! let mut users = Users::default();
//! users.add("alice");
//! assert_eq!(users.release("alice"), Some("alice".to_owned()));
//! ```

use std::{collections::BTreeMap, fmt, fs};

use serde::{Deserialize, Serialize};

use crate::hook::Hook;

/// How often each user asked for an extension by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Users(BTreeMap<String, u32>);

impl Users {
    /// The load count: all requests.
    pub(crate) fn count(&self) -> u32 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// One more request.
    pub(crate) fn add(&mut self, user: &str) {
        let count = self.0.entry(user.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// One request less: the user's own, or else that of the first who has one. Whose it was.
    pub(crate) fn release(&mut self, user: &str) -> Option<String> {
        let first = self.0.keys().next()?;
        let whose = self.0.keys().find(|name| *name == user).unwrap_or(first);
        let whose = whose.clone();
        if let Some(count) = self.0.get_mut(&whose) {
            *count = count.saturating_sub(1);
        }
        self.0.retain(|_, count| *count > 0);
        Some(whose)
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder> {
        self.0.iter().map(|(name, loads)| Holder::User {
            name: name.clone(),
            loads: *loads,
        })
    }
}

/// What keeps an extension loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Holder {
    /// Somebody asked for it by name.
    User {
        /// Who.
        name: String,
        /// How often.
        loads: u32,
    },
    /// It is attached.
    Attachment {
        /// The attachment's id.
        id: u32,
        /// The hook.
        hook: Hook,
        /// What it is attached to, in words.
        place: String,
    },
    /// Another extension needs it.
    Dependant {
        /// The other's name.
        name: String,
        /// The other's kmid.
        kmid: u32,
    },
    /// Its exit program does not let it go.
    Exit {
        /// What the program answered.
        answer: i32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name, loads: 1 } => write!(f, "{name} (1 load)"),
            Self::User { name, loads } => write!(f, "{name} ({loads} loads)"),
            Self::Attachment { id, hook, place } => write!(f, "{id} ({hook} of {place})"),
            Self::Dependant { name, kmid } => write!(f, "extension {name} {kmid}"),
            Self::Exit { answer } => write!(f, "its exit program (answer {answer})"),
        }
    }
}

/// Who runs this process: whom `sudo` names, or else the real user.
pub(crate) fn caller() -> String {
    let sudo = std::env::var("SUDO_USER").ok();
    let sudo = sudo.filter(|name| is_name(name));
    sudo.unwrap_or_else(|| {
        let uid = rustix::process::getuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        name_in(&passwd, uid).unwrap_or_else(|| uid.to_string())
    })
}

/// Whether it is fit for a record and for a terminal: the environment is anybody's.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-@$\\".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}

/// A user's name in the text of /etc/passwd (passwd(5)).
fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let names = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid && is_name(name)).then(|| name.to_owned())
    });
    names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_request_is_released_first() {
        let mut users = Users::default();
        for user in ["alice", "bob", "bob"] {
            users.add(user);
        }
        assert_eq!(users.count(), 3);
        let mut check = |user, whose: Option<&str>, left| {
            assert_eq!(users.release(user).as_deref(), whose);
            assert_eq!(users.count(), left);
        };
        check("bob", Some("bob"), 2);
        check("carol", Some("alice"), 1);
        check("carol", Some("bob"), 0);
        check("carol", None, 0);
    }

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbad line\nann:x:1000:1000::/:/bin/sh\n\u{1b}:x:7:";
        let check = |uid, name: Option<&str>| assert_eq!(name_in(passwd, uid).as_deref(), name);
        check(0, Some("root"));
        check(1000, Some("ann"));
        check(7, None);
        check(8, None);
    }

    #[test]
    fn what_the_environment_says_is_looked_at() {
        let check = |name, fits| assert_eq!(is_name(name), fits, "{name:?}");
        check("alice", true);
        check("CORP\\ann", true);
        check("", false);
        check("a b", false);
        check("\u{1b}[2J", false);
    }
}
