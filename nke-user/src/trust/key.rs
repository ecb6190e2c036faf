//! Keys and signatures: their text, and what is signed.
//!
//! Each is one line, a word that says what it is and bytes in hexadecimal:
//!
//! ```text
//! nke-secret-key-1 <32 bytes>
//! nke-public-key-1 <32 bytes>
//! nke-signature-1 <public key, 32 bytes> <64 bytes>
//! ```
//!
//! The signature is Ed25519's (RFC 8032) over an object and the manifest beside it, each behind its
//! length, so that neither can be cut off or moved into the other. Files are hostile input: nothing
//! here does I/O or believes a length.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

const SECRET: &str = "nke-secret-key-1";
const PUBLIC: &str = "nke-public-key-1";
const SIGNATURE: &str = "nke-signature-1";

/// Bytes of the longest text of a key or a signature.
pub(super) const LONGEST: u64 = 4096;

/// Text that is no key, or no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not one line `{0} …` as nke writes it")]
pub struct Malformed(&'static str);

/// A key that signs.
pub struct SecretKey(SigningKey);

/// A key that signatures are checked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Whose signature, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Whose it says that it is.
    pub signer: PublicKey,
    signature: ed25519_dalek::Signature,
}

impl SecretKey {
    /// The key of these random bytes.
    pub fn new(random: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(random))
    }

    /// Reads what [`SecretKey::text`] has written.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let [bytes] = words(SECRET, text)?;
        Ok(Self::new(&unhex(bytes).ok_or(Malformed(SECRET))?))
    }

    /// Its line. Whoever reads it can sign.
    pub fn text(&self) -> String {
        format!("{SECRET} {}\n", Hex(self.0.as_bytes()))
    }

    /// The key that its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs an object, and the manifest beside it.
    pub fn sign(&self, object: &[u8], manifest: Option<&[u8]>) -> Signature {
        Signature {
            signer: self.public(),
            signature: self.0.sign(&signed(object, manifest)),
        }
    }
}

/// A secret is not printed by accident.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

impl PublicKey {
    /// Reads what [`PublicKey::text`] has written.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let [bytes] = words(PUBLIC, text)?;
        Self::of(bytes).ok_or(Malformed(PUBLIC))
    }

    fn of(hex: &str) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&unhex(hex)?).ok()?;
        // Any signature would fit some messages under such a key.
        (!key.is_weak()).then_some(Self(key))
    }

    /// Its line.
    pub fn text(&self) -> String {
        format!("{PUBLIC} {self}\n")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.0.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Signature {
    /// Reads what [`Signature::text`] has written.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let [signer, signature] = words(SIGNATURE, text)?;
        let parse = || {
            Some(Self {
                signer: PublicKey::of(signer)?,
                signature: ed25519_dalek::Signature::from_bytes(&unhex(signature)?),
            })
        };
        parse().ok_or(Malformed(SIGNATURE))
    }

    /// Its line.
    pub fn text(&self) -> String {
        let Self { signer, signature } = self;
        format!("{SIGNATURE} {signer} {}\n", Hex(&signature.to_bytes()))
    }

    /// Whether its signer has signed exactly this.
    pub fn fits(&self, object: &[u8], manifest: Option<&[u8]>) -> bool {
        let Self { signer, signature } = self;
        let message = signed(object, manifest);
        signer.0.verify_strict(&message, signature).is_ok()
    }
}

/// What is signed. An empty manifest says no more than none.
fn signed(object: &[u8], manifest: Option<&[u8]>) -> Vec<u8> {
    let mut message = format!("{SIGNATURE}\n").into_bytes();
    for part in [object, manifest.unwrap_or_default()] {
        message.extend((part.len() as u64).to_le_bytes());
        message.extend(part);
    }
    message
}

/// The words behind the first, which says what the line is.
fn words<'a, const N: usize>(
    kind: &'static str,
    text: &'a [u8],
) -> Result<[&'a str; N], Malformed> {
    let parse = || {
        let line = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let words = line.strip_prefix(kind)?.strip_prefix(' ')?.split(' ');
        words.collect::<Vec<_>>().try_into().ok()
    };
    parse().ok_or(Malformed(kind))
}

/// Bytes of small hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signature_fits_what_was_signed_and_nothing_else() {
        let key = SecretKey::new(&[7; 32]);
        let signature = key.sign(b"object", Some(b"manifest"));
        assert!(signature.fits(b"object", Some(b"manifest")));
        // Neither changed, cut off, nor moved over.
        assert!(!signature.fits(b"Object", Some(b"manifest")));
        assert!(!signature.fits(b"object", Some(b"Manifest")));
        assert!(!signature.fits(b"object", None));
        assert!(!signature.fits(b"objectm", Some(b"anifest")));
        let other = SecretKey::new(&[8; 32]).sign(b"object", None);
        let forged = Signature {
            signer: key.public(),
            ..other
        };
        assert!(other.fits(b"object", None) && !forged.fits(b"object", None));
    }

    #[test]
    fn keys_that_sign_anything_are_refused() {
        // The neutral element, and a point of order two.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut two = [0xff; 32];
        (two[0], two[31]) = (0xec, 0x7f);
        for bytes in [neutral, two, [0; 32]] {
            let text = format!("{PUBLIC} {}\n", Hex(&bytes));
            assert_eq!(PublicKey::parse(text.as_bytes()), Err(Malformed(PUBLIC)));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(SecretKey::parse(&text));
            let _: Result<_, Malformed> = PublicKey::parse(&text);
            let _: Result<_, Malformed> = Signature::parse(&text);
        }

        #[test]
        fn texts_are_read_back(random: [u8; 32], object: Vec<u8>) {
            let key = SecretKey::new(&random);
            let again = SecretKey::parse(key.text().as_bytes()).map(|key| key.text());
            prop_assert_eq!(again, Ok(key.text()));
            let public = key.public();
            prop_assert_eq!(PublicKey::parse(public.text().as_bytes()), Ok(public));
            let signature = key.sign(&object, None);
            prop_assert_eq!(Signature::parse(signature.text().as_bytes()), Ok(signature));
        }

        /// A damaged text is refused, or the signature that it says does not fit.
        #[test]
        fn damage_is_noticed(random: [u8; 32], at in 0usize..200, with: u8) {
            let key = SecretKey::new(&random);
            let mut text = key.sign(b"object", None).text().into_bytes();
            let at = at % text.len();
            prop_assume!(text[at] != with);
            text[at] = with;
            let fits = Signature::parse(&text).is_ok_and(|found| found.fits(b"object", None));
            prop_assert!(!fits);
        }
    }
}
