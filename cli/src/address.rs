//! Where a server is: host and port.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// The port of a server whose address names none.
pub const DEFAULT_PORT: u16 = 7443;

/// A host name or IP address with a port. An IPv6 address with a port is written in brackets: `[::1]:7443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// Text that names no server. The user wrote it; `reason` says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server '{text}' is not an address: {reason}; write HOST or HOST:PORT, such as build1.example.org:7443")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl ServerAddress {
    /// The host as written, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where `localhost` is, which needs no resolver to be asked (RFC 6761, section 6.3) and no thread that waits for it.
    pub(crate) fn loopback(&self) -> Option<[SocketAddr; 2]> {
        let at = |address: IpAddr| SocketAddr::new(address, self.port);
        let here = self.host.eq_ignore_ascii_case("localhost");
        here.then(|| [at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())])
    }

    /// The first label of a host name, the whole of an IP address: what people call the machine.
    pub fn nickname(&self) -> &str {
        if self.host.parse::<IpAddr>().is_ok() {
            return &self.host;
        }
        self.host.split('.').next().unwrap_or(&self.host)
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |reason| AddressError { text: text.to_owned(), reason };
        if text.contains("://") {
            return Err(fail("it is written like that of a page"));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| fail("the bracket is not closed"))?;
            host.parse::<Ipv6Addr>().map_err(|_| fail("only IPv6 addresses stand in brackets"))?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or_else(|| fail("a colon must follow the bracket"))?),
            };
            (host, port)
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port != 0 => port,
                _ => return Err(fail("the port is a number from 1 to 65535")),
            },
        };
        if host.is_empty() {
            return Err(fail("the host is missing"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if !host.chars().all(allowed) || host.starts_with('-') {
            return Err(fail("a host has letters, digits, dots and dashes"));
        }
        Ok(ServerAddress { host: host.to_owned(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out_of_every_kind_of_host() {
        for (text, host, port) in [
            ("build1", "build1", 7443),
            ("build1.example.org:17443", "build1.example.org", 17443),
            ("127.0.0.1", "127.0.0.1", 7443),
            ("::1", "::1", 7443),
            ("[::1]", "::1", 7443),
            ("[::1]:99", "::1", 99),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(address.to_string().parse::<ServerAddress>().unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        for text in ["", ":7443", "a:0", "a:70000", "a:b", "[::1", "[x]:1", "[::1]7", "a b", "-o:1", "a/b", "https://a"]
        {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_nickname_is_the_first_label_or_the_whole_ip_address() {
        assert_eq!("build1.example.org".parse::<ServerAddress>().unwrap().nickname(), "build1");
        assert_eq!("127.0.0.1:1".parse::<ServerAddress>().unwrap().nickname(), "127.0.0.1");
    }
}
