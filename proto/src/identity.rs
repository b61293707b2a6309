//! The role that a certificate of Airlock's own authority carries, in an X.509 extension.
//!
//! The value is one DER `UTF8String`: `admin`, `user` or `reader`. The extension is not critical, so that other programs
//! accept the certificate too. Whether a frontend heeds the extension is its policy's decision (`roles_from`).
//!
//! ```
//! use airlock_proto::identity::{Role, decode_role, encode_role};
//!
//! assert_eq!(encode_role(Role::Reader), b"\x0c\x06reader");
//! assert_eq!(decode_role(b"\x0c\x06reader"), Ok(Role::Reader));
//! assert!(decode_role(b"\x0c\x04root").is_err());
//! ```

use std::fmt;
use std::str::FromStr;

/// Object identifier of the role extension, below the arc that is set aside for documentation (RFC 5612).
pub const ROLE_EXTENSION_OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 32473, 7443, 1];

/// [`ROLE_EXTENSION_OID`] in dotted form, as certificate parsers and `openssl x509 -text` show it.
pub const ROLE_EXTENSION_OID_DOTTED: &str = "1.3.6.1.4.1.32473.7443.1";

/// What the holder of a certificate may do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Everything, with the jobs of everybody.
    Admin,
    /// Starts jobs and manages their own.
    User,
    /// Sees all jobs and their output, changes nothing.
    Reader,
}

impl Role {
    /// Every role, in the order in which people are told of them.
    pub const ALL: [Role; 3] = [Role::Admin, Role::User, Role::Reader];

    /// The word for this role in certificates, policies and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::User => "user",
            Role::Reader => "reader",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Role::ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

/// A word that names no role; whoever wrote it should take one of those in the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownRole(String);

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "role '{}' is not one of admin, user, reader", self.0.escape_default())
    }
}

impl std::error::Error for UnknownRole {}

/// The contents of a role extension could not be read. Caused by whoever issued the certificate; the holder needs a new one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RoleExtensionError {
    /// The bytes are not exactly one DER `UTF8String` of at most 127 bytes.
    NotOneUtf8String,
    /// The string names no role.
    UnknownRole(UnknownRole),
}

impl fmt::Display for RoleExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOneUtf8String => f.write_str("the certificate's role extension is not one UTF8String"),
            Self::UnknownRole(unknown) => write!(f, "the certificate's role extension is no role: {unknown}"),
        }
    }
}

impl std::error::Error for RoleExtensionError {}

/// The DER contents of the role extension for `role`.
pub fn encode_role(role: Role) -> Vec<u8> {
    let word = role.as_str().as_bytes();
    let mut der = Vec::with_capacity(word.len() + 2);
    der.push(UTF8_STRING_TAG);
    // Every role's word is far shorter than 128 bytes, so its length is one byte in DER.
    der.push(word.len() as u8);
    der.extend_from_slice(word);
    der
}

/// The role in `der`, the contents of a certificate's role extension (inside the extension's octet string).
///
/// # Errors
/// When `der` is anything but exactly one `UTF8String` that names a role: extra bytes, other encodings of the length
/// and other spellings are refused, so that a certificate cannot mean two things to two readers.
pub fn decode_role(der: &[u8]) -> Result<Role, RoleExtensionError> {
    let (&[tag, length], word) = der.split_first_chunk::<2>().ok_or(RoleExtensionError::NotOneUtf8String)?;
    if tag != UTF8_STRING_TAG || length > MAX_SHORT_LENGTH || usize::from(length) != word.len() {
        return Err(RoleExtensionError::NotOneUtf8String);
    }
    let word = std::str::from_utf8(word).map_err(|_| RoleExtensionError::NotOneUtf8String)?;
    word.parse().map_err(RoleExtensionError::UnknownRole)
}

const UTF8_STRING_TAG: u8 = 0x0c;

/// Lengths up to here are one byte in DER; above, the byte announces how many bytes the length takes.
const MAX_SHORT_LENGTH: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_comes_back_from_its_extension() {
        for role in Role::ALL {
            assert_eq!(decode_role(&encode_role(role)), Ok(role));
            assert_eq!(role.as_str().parse(), Ok(role));
        }
    }

    #[test]
    fn anything_but_one_known_word_is_refused() {
        for der in [
            &b""[..],
            b"\x0c",
            b"\x0c\x00",
            b"\x0c\x05admi",
            b"\x0c\x05admin\x00",
            b"\x13\x05admin",
            b"\x0c\x81\x05admin",
            b"\x0c\x05Admin",
            b"\x0c\x04root",
            b"\x0c\x02\xff\xfe",
        ] {
            assert!(decode_role(der).is_err(), "{der:02x?} was taken for a role");
        }
    }

    #[test]
    fn both_forms_of_the_identifier_are_the_same() {
        let dotted: Vec<String> = ROLE_EXTENSION_OID.iter().map(u64::to_string).collect();
        assert_eq!(dotted.join("."), ROLE_EXTENSION_OID_DOTTED);
    }
}
