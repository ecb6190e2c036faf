//! The stable name and the exit code of each error: what scripts may rely on.
//!
//! A name and a number that were once given stay. They are never given to anything else, also when
//! the error itself is gone. To add an error: its variant, its row here with a free number of its
//! subject, and its line in `docs/errors.md`. Without the row nothing compiles; a number or name
//! that is taken does not compile either; a test compares the page.
//!
//! ```
//! use nke::error::Error;
//!
//! let error = Error::NotRoot;
//! assert_eq!((error.name(), error.exit_code()), ("not-root", 3));
//! ```

use super::Error;
use crate::filter;

/// What the command exits with, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The exit code, 1 to 125: shells use those above for their own.
    pub number: u8,
    /// Its name: words of small letters, joined by hyphens.
    pub name: &'static str,
}

/// What failed and has no name of its own: there is nothing that a script could do about it.
pub const OTHER: Code = Code {
    number: 1,
    name: "other",
};

/// A command line that was not understood.
pub const USAGE: Code = Code {
    number: 2,
    name: "usage",
};

/// Gives each variant of an error its code. What has no row does not compile. Those behind `as` have
/// the code of the error that is their source.
macro_rules! codes {
    ($error:ty: $($number:literal $name:literal $variant:ident,)* $(as $outer:ident)*) => {
        impl $error {
            /// The codes of all errors of this type.
            pub const CODES: &[Code] = &[$(Code { number: $number, name: $name },)*];

            /// The error's exit code and name.
            pub const fn code(&self) -> Code {
                match self {
                    $(Self::$variant { .. } => Code { number: $number, name: $name },)*
                    $(Self::$outer { source, .. } => source.code(),)*
                }
            }

            /// The error's stable name, such as `not-loaded`.
            pub const fn name(&self) -> &'static str {
                self.code().name
            }

            /// What the command exits with.
            pub const fn exit_code(&self) -> u8 {
                self.code().number
            }
        }
    };
}

codes! { Error:
    // 3 to 9: the start, the state, the kernel.
    3 "not-root" NotRoot,
    4 "locked-down" Lockdown,
    5 "kernel-too-old" TooOld,
    6 "state" State,
    7 "unsafe-state" UnsafeState,
    8 "kernel" Kernel,
    // 10 to 14: what is attached to.
    10 "no-namespace" NoNamespace,
    11 "no-interface" NoInterface,
    12 "no-cgroup" NoCgroup,
    13 "socket" Socket,
    // 15 to 29: files and objects.
    15 "no-extension" NoExtension,
    16 "no-name" NoName,
    17 "read" Read,
    18 "not-an-object" NotAnObject,
    19 "unknown-section" UnknownSection,
    20 "no-symbol" NoSymbol,
    21 "no-kernel-config" NoConfig,
    22 "config-type" ConfigType,
    23 "manifest" Manifest,
    24 "relocation" Relocation,
    25 "no-program" NoProgram,
    26 "many-programs" ManyPrograms,
    27 "verifier" Refused,
    28 "check-incomplete" CheckIncomplete,
    29 "file-too-large" FileTooLarge,
    // 30 to 39: what is loaded.
    30 "name-clash" NameClash,
    31 "not-loaded" NotLoaded,
    32 "in-use" InUse,
    33 "being-read" BeingRead,
    // 40 to 59: attachments and chains.
    40 "no-attachment" NoAttachment,
    41 "many-attachments" ManyAttachments,
    42 "chain-full" ChainFull,
    43 "no-drop-policy" NoDropPolicy,
    44 "not-a-hook" NotAHook,
    45 "which-hook" WhichHook,
    46 "hook-taken" HookTaken,
    47 "mode-mismatch" ModeMismatch,
    48 "no-mode" NoMode,
    49 "not-netfilter" NotNetfilter,
    50 "netfilter-mismatch" NetfilterMismatch,
    51 "priority-taken" PriorityTaken,
    52 "defrag-too-early" DefragTooEarly,
    53 "no-defrag" NoDefrag,
    54 "no-native-xdp" NoNative,
    55 "no-opt-in" NoOptIn,
    56 "long-name" LongName,
    57 "exclusive" Exclusive,
    58 "not-read-back" NotReadBack,
    // 60 to 69: rules, below.
    // 70 to 79: identity, versions, dependencies.
    70 "unmet" Unmet,
    71 "check-failed" CheckFailed,
    72 "dependency-cycle" DependencyCycle,
    73 "no-provider" NoProvider,
    74 "dependency-conflict" DependencyConflict,
    75 "provider-version" ProviderVersion,
    76 "too-many-choices" TooManyChoices,
    77 "not-shared" NotShared,
    78 "map-mismatch" MapMismatch,
    79 "undeclared" Undeclared,
    // 80 to 89: finding, counts, init and exit.
    80 "init-failed" InitFailed,
    81 "exit-vetoed" ExitVetoed,
    82 "setting-lost" SettingLost,
    // 90 to 99: upgrades.
    90 "not-newer" NotNewer,
    91 "map-changed" MapChanged,
    92 "other-identity" OtherIdentity,
    93 "no-previous" NoPrevious,
    94 "half-upgraded" HalfUpgraded,
    95 "no-map-to-reset" NoMapToReset,
    96 "dependant-refuses" DependantRefuses,
    97 "unconfirmed" Unconfirmed,
    98 "nothing-pending" NothingPending,
    99 "no-way-back" NoWayBack,
    // 100 to 109: declared states.
    100 "declaration" Declaration,
    101 "declared-rules" Rules,
    102 "lock-out" LockOut,
    103 "write" Write,
    // 110 to 114: settings and maps.
    110 "no-map" NoMap,
    111 "map-use" MapUse,
    112 "no-entry" NoEntry,
    113 "value" Value,
    114 "no-setting" NoSetting,
    // 115 to 125: seal and trust.
    115 "sealed" Sealed,
    116 "not-confirmed" NotConfirmed,
    117 "untrusted" Untrusted,
    118 "unsigned" Unsigned,
    119 "unknown-signer" UnknownSigner,
    120 "bad-signature" BadSignature,
    121 "trust-file" TrustFile,
    122 "sealed-out" SealedOut,
    as Declared
}

codes! { filter::Error:
    60 "rules-full" Full,
    36 "limits-full" LimitsFull,
    39 "expressions-full" ExpressionsFull,
    38 "no-expressions" NoExpressions,
    61 "no-rules-map" NoMap,
    62 "rules-map" Map,
    63 "foreign-rule" ForeignRule,
    64 "malformed-rule" Malformed,
    65 "no-rule" NoRule,
    66 "no-rule-place" NoPlace,
    67 "no-rule-set" NoRuleSet,
    68 "many-rule-sets" ManyRuleSets,
    69 "rule-never-matches" NeverMatches,
    59 "no-states" NoStates,
    84 "rule-not-there" NotThere,
    37 "rule-no-interface" NoInterface,
    85 "capture" Capture,
    86 "disagreement" Disagreement,
    87 "malformed-rules" Mistakes,
    88 "foreign-rules" Foreign,
    89 "untranslated" Untranslated,
    83 "no-sets" NoSets,
    104 "no-set" NoSet,
    105 "set-exists" SetExists,
    106 "set-in-use" SetInUse,
    107 "set-kind" SetKind,
    108 "malformed-member" MalformedMember,
    109 "set-too-large" SetTooLarge,
    123 "many-sets" ManySets,
    124 "not-in-set" NotInSet,
    125 "set-map" SetMap,
    as OfLine
}

/// All codes that the command can exit with, but 0.
pub fn all() -> impl Iterator<Item = Code> {
    let rows = Error::CODES.iter().chain(filter::Error::CODES);
    [OTHER, USAGE].into_iter().chain(rows.copied())
}

/// Two errors with one number would not be told apart.
const fn distinct() -> bool {
    let mut taken = [false; 126];
    taken[OTHER.number as usize] = true;
    taken[USAGE.number as usize] = true;
    let tables = [Error::CODES, filter::Error::CODES];
    let mut table = 0;
    while table < tables.len() {
        let mut row = 0;
        while row < tables[table].len() {
            let number = tables[table][row].number as usize;
            if number >= taken.len() || taken[number] {
                return false;
            }
            taken[number] = true;
            row += 1;
        }
        table += 1;
    }
    true
}

const _: () = assert!(
    distinct(),
    "an exit code is above 125, or two errors share it"
);

#[cfg(test)]
mod tests;
