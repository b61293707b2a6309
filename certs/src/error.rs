//! What can go wrong with certificates, as sentences for people.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Why a certificate operation was not done. Nothing was written unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation. The person should look at the path's permissions and free space.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write`.
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },

    /// A file that would have been written exists. The person moves it away, or asks for a replacement where that can be asked.
    #[error("{} exists already and was left as it is", path.display())]
    Exists {
        /// The file that stands in the way.
        path: PathBuf,
    },

    /// A word given by the person does not have the form it needs.
    #[error("{what} '{}' {problem}; {remedy}", value.escape_debug())]
    BadValue {
        /// What the word was meant to be: `name`, `key kind`.
        what: &'static str,
        /// The word itself.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },

    /// A private key or the authority's folder is open to other users. The person runs the command in the message.
    #[error("{} may be {exposure} by others (mode {mode:04o}); run: chmod {wanted} {}", path.display(), path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// What others may do with it: `read`, `changed`.
        exposure: &'static str,
        /// Its permission bits.
        mode: u32,
        /// The permission bits it should have, as an argument for chmod.
        wanted: &'static str,
    },

    /// A file does not hold what its place demands. The person gave the wrong file, or it was damaged.
    #[error("{} {problem}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },

    /// A signing request was not signed by the key it names: whoever sent it does not hold that key, or it was altered on the way.
    #[error("{} is not signed by the key inside it; nothing was issued; ask its sender for a new request", path.display())]
    BadRequestSignature {
        /// The request.
        path: PathBuf,
    },

    /// A request asks for another name than its file says, so the person might certify somebody they did not mean.
    #[error("{} asks for the name '{}', which its file name does not say; if that is right, give the name '{}' openly",
        path.display(), asked.escape_debug(), asked.escape_debug())]
    NameDiffers {
        /// The request.
        path: PathBuf,
        /// The common name inside it.
        asked: String,
    },

    /// There is no authority in this folder. The person names the right folder or makes one.
    #[error("{} holds no authority (no ca.crt); name its folder or make one: airlock certs init", path.display())]
    NoAuthority {
        /// The folder.
        path: PathBuf,
    },

    /// There is an authority in this folder already, and making another would orphan every certificate it issued.
    #[error("{} holds an authority already and was left as it is; to replace it step by step: airlock certs init --next", path.display())]
    AuthorityExists {
        /// The folder.
        path: PathBuf,
    },

    /// The authority's certificate ends before the one asked for would, or has ended.
    #[error("the authority ends on {}, before this certificate would on {}; ask for fewer days or change the authority: airlock certs init --next",
        authority_end.strftime("%Y-%m-%d"), wanted_end.strftime("%Y-%m-%d"))]
    OutlivesAuthority {
        /// When the authority's certificate ends.
        authority_end: Timestamp,
        /// When the certificate would have ended.
        wanted_end: Timestamp,
    },

    /// No certificate in the authority's index fits. The person looks the name or serial number up in the list.
    #[error("no certificate '{}' in this authority; airlock certs list shows all{hint}", wanted.escape_debug())]
    NotFound {
        /// What was looked for.
        wanted: String,
        /// More that helps here, or nothing.
        hint: &'static str,
    },

    /// A serial number was shortened so much that several certificates fit.
    #[error("'{}' fits {count} certificates; write more of the serial number", wanted.escape_debug())]
    Ambiguous {
        /// What was looked for.
        wanted: String,
        /// How many fit.
        count: usize,
    },

    /// A change of authority cannot begin or end in the authority's present state.
    #[error("{problem}")]
    Rollover {
        /// What is in the way, and what to do.
        problem: String,
    },

    /// The cryptographic library refused, which no input of a person should bring about: a bug or a broken machine.
    #[error("could not make the {what}: {detail}")]
    Crypto {
        /// What was being made: `key`, `certificate`.
        what: &'static str,
        /// What the library said.
        detail: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    pub(crate) fn bad_file(path: &Path, problem: impl Into<String>) -> Error {
        Error::BadFile { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn crypto<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::Crypto { what, detail: source.to_string() }
    }
}
