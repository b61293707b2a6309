//! Names in certificates, each of a type that cannot hold a bad one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The name of a person, program or file stem: letters, digits and `. _ - @ +`, at most 64, beginning with a letter or digit.
///
/// It becomes the certificate's common name (what frontends call the owner of a job) and part of file names.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let problem = if text.is_empty() {
            "is empty"
        } else if text.len() > MAX_NAME_LENGTH {
            "has more than 64 characters"
        } else if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            "does not begin with a letter or digit"
        } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || "._-@+".contains(c)) {
            "has characters that a name may not have"
        } else {
            return Ok(Name(text.to_owned()));
        };
        let remedy = "use letters, digits and . _ - @ +";
        Err(Error::BadValue { what: "name", value: text.to_owned(), problem, remedy })
    }
}

/// An organisation or unit in a certificate (O, OU): 1 to 64 characters, none of them a control character.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let problem = if text.trim().is_empty() {
            "is empty"
        } else if text.chars().count() > MAX_NAME_LENGTH {
            "has more than 64 characters"
        } else if text.chars().any(char::is_control) {
            "has control characters"
        } else {
            return Ok(Label(text.to_owned()));
        };
        let remedy = "use a short text";
        Err(Error::BadValue { what: "organisation or unit", value: text.to_owned(), problem, remedy })
    }
}

/// A name under which clients reach a server: a DNS name (`*.` may stand first) or an IP address.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServerName {
    /// A host name, in lower case.
    Dns(String),
    /// An address, without a port.
    Ip(IpAddr),
}

impl FromStr for ServerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(address) = text.parse() {
            return Ok(ServerName::Ip(address));
        }
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let label_fits = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits alone is a mistyped address; clients never take it for a host name.
        let ends_in_digits =
            labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() > 253 || ends_in_digits || !labels.split('.').all(label_fits) {
            return Err(Error::BadValue {
                what: "server name",
                value: text.to_owned(),
                problem: "is neither a host name nor an address",
                remedy: "write it as clients will, without a port, such as build1.example.org or 10.0.4.2",
            });
        }
        Ok(ServerName::Dns(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerName::Dns(name) => f.write_str(name),
            ServerName::Ip(address) => address.fmt(f),
        }
    }
}

/// All names of one server, at least one. As text they are separated by commas.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<ServerName>", into = "Vec<ServerName>")]
pub struct ServerNames(Vec<ServerName>);

impl ServerNames {
    /// The names, in the order given and each once.
    pub fn as_slice(&self) -> &[ServerName] {
        &self.0
    }

    /// The names as one text that fits a certificate's common name: the first one, unless it is too long.
    pub(crate) fn common_name(&self) -> String {
        let first = self.0.first().map(ServerName::to_string).unwrap_or_default();
        if first.len() <= MAX_NAME_LENGTH { first } else { "airlock-server".to_owned() }
    }
}

impl TryFrom<Vec<ServerName>> for ServerNames {
    type Error = Error;

    fn try_from(names: Vec<ServerName>) -> Result<Self, Error> {
        let mut unique: Vec<ServerName> = Vec::with_capacity(names.len());
        for name in names {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        if unique.is_empty() {
            return Err(Error::BadValue {
                what: "server name",
                value: String::new(),
                problem: "is missing",
                remedy: "give at least one name that clients use",
            });
        }
        Ok(ServerNames(unique))
    }
}

impl FromStr for ServerNames {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split(',').map(|name| name.trim().parse()).collect::<Result<Vec<ServerName>, Error>>()?.try_into()
    }
}

/// A certificate's serial number.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(Vec<u8>);

impl Serial {
    /// The first four hexadecimal digits, by which people tell certificates apart.
    pub fn short(&self) -> String {
        self.to_string().chars().take(4).collect()
    }

    /// A random number of 128 bits whose two highest are fixed, so that it is positive and always as long.
    pub(crate) fn random() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        fill_random(&mut bytes)?;
        bytes[0] = (bytes[0] & 0x3f) | 0x40;
        Ok(Serial(bytes.to_vec()))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
        Serial(bytes.get(first..).unwrap_or_default().to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Serial {
    type Err = Error;

    /// Reads hexadecimal digits in either case; colons between them do not count.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        match hex_bytes(&digits) {
            Some(bytes) if (1..=20).contains(&bytes.len()) => Ok(Self::from_bytes(&bytes)),
            _ => Err(Error::BadValue {
                what: "serial number",
                value: text.to_owned(),
                problem: "is not a certificate's serial number",
                remedy: "write it in hexadecimal, as airlock certs list shows it",
            }),
        }
    }
}

/// The bytes that `digits` spell in hexadecimal, two digits each.
pub(crate) fn hex_bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    });
    pairs.collect()
}

/// Fills `bytes` from the kernel's random number generator.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = bytes.get_mut(filled..) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::Crypto { what: "random number", detail: errno.to_string() }),
        }
    }
    Ok(())
}

macro_rules! text_type {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    )*};
}

text_type!(Name, Label, ServerName, Serial);

impl From<ServerNames> for Vec<ServerName> {
    fn from(names: ServerNames) -> Self {
        names.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The most characters X.509 allows in a common name, organisation or unit.
const MAX_NAME_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_out_of_a_folder_or_deceive_a_reader_are_refused() {
        for good in ["bob", "alice@example.org", "ci-web", "9lives", "a+b_c.d"] {
            assert_eq!(good.parse::<Name>().expect(good).as_str(), good);
        }
        let long = "x".repeat(65);
        for bad in ["", "../bob", "a/b", ".bob", "-bob", "bob smith", "bob\n", "b\u{202e}ob", "bo\0b", &long] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken for a name");
        }
    }

    #[test]
    fn server_names_are_host_names_or_addresses_and_nothing_else() {
        for good in ["localhost", "build1.example.org", "*.example.org", "10.0.4.2", "::1", "xn--bcher-kva.example"] {
            assert_eq!(good.parse::<ServerName>().expect(good).to_string(), good);
        }
        for bad in ["", "build1:7443", "a..b", "-a.example", "10.0.4", "256.1.1.1", "a_b", "*", "a.*.b", "https://x"] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?} was taken for a server name");
        }
        assert_eq!("B1,b1, 10.0.0.1".parse::<ServerNames>().expect("three names").as_slice().len(), 2);
    }

    #[test]
    fn serial_numbers_read_as_they_are_written() {
        let serial = Serial::random().expect("random numbers");
        assert_eq!(serial.as_bytes().len(), 16);
        assert_eq!(serial.to_string().parse::<Serial>().expect("own text"), serial);
        assert_eq!("00:5E:1F".parse::<Serial>().expect("openssl's text").to_string(), "5e1f");
        for bad in ["", "5e1", "xyz0", "+1", &"11".repeat(21)] {
            assert!(bad.parse::<Serial>().is_err(), "{bad:?} was taken for a serial number");
        }
    }
}
