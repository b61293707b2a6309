//! `airlock certs`: a small certificate authority, and requests for it.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `airlock certs`
#[derive(Args, Debug)]
#[command(arg_required_else_help = false)]
pub struct CertsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CertsCommand,
}

/// What to do with certificates.
#[derive(Subcommand, Debug)]
pub enum CertsCommand {
    /// Make a key and a request here; the key never leaves
    Request(RequestArgs),
    /// Make an authority, or change to a new one step by step
    Init(InitArgs),
    /// Make certificates from requests
    Sign(SignArgs),
    /// Make a key and its certificate in one step (the key then travels)
    Issue(IssueArgs),
    /// Make a new certificate for the key of an earlier one
    Renew(RenewArgs),
    /// Take certificates back and write crl.pem anew
    Revoke(RevokeArgs),
    /// List certificates, the one that ends first at the top
    List(AuthorityArgs),
    /// Write crl.pem anew with fresh dates
    Crl(AuthorityArgs),
}

/// Which authority.
#[derive(Args, Debug)]
pub struct AuthorityArgs {
    /// The authority's folder; else AIRLOCK_CA, else /etc/airlock/ca for root and ca beside the configuration for others
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What is granted.
#[derive(Args, Debug)]
pub struct GrantArgs {
    /// Organisation (O)
    #[arg(long, value_name = "NAME")]
    pub org: Option<String>,
    /// Organisational unit (OU)
    #[arg(long, value_name = "NAME")]
    pub ou: Option<String>,
    /// Role: admin, user or reader; without one the frontend's policy decides
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Days until it ends
    #[arg(long, value_name = "N")]
    pub days: Option<u32>,
    /// It is a server's, reached under these names and addresses, separated by commas
    #[arg(long, value_name = "NAMES")]
    pub server: Option<String>,
}

/// `airlock certs request`
#[derive(Args, Debug)]
pub struct RequestArgs {
    /// Name to ask for
    pub name: String,
    /// Folder for NAME.key and NAME.csr
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Kind of key: p256, ed25519 or rsa4096
    #[arg(long, value_name = "KIND", default_value = "p256", conflicts_with = "renew")]
    pub key: String,
    /// Organisation (O) to ask for
    #[arg(long, value_name = "NAME", conflicts_with = "renew")]
    pub org: Option<String>,
    /// Organisational unit (OU) to ask for
    #[arg(long, value_name = "NAME", conflicts_with = "renew")]
    pub ou: Option<String>,
    /// Ask again for the certificate and key that are there
    #[arg(long)]
    pub renew: bool,
}

/// `airlock certs init`
#[derive(Args, Debug)]
pub struct InitArgs {
    /// Which authority.
    #[command(flatten)]
    pub authority: AuthorityArgs,
    /// Also make a server's certificate for these names and addresses, separated by commas
    #[arg(long, value_name = "NAMES", conflicts_with_all = ["next", "retire_old"])]
    pub server: Option<String>,
    /// Also make a certificate with the role admin for this person
    #[arg(long, value_name = "NAME", conflicts_with_all = ["next", "retire_old"])]
    pub admin: Option<String>,
    /// Folder for those certificates and copies of ca.crt and crl.pem; the authority's own if not given. For root who names no
    /// folder at all, --server makes this host ready: files in /etc/airlock/tls, an administrator (root) and a context for it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["next", "retire_old"])]
    pub out: Option<PathBuf>,
    /// Beginning of the authority's name
    #[arg(long, value_name = "NAME", conflicts_with = "retire_old")]
    pub name: Option<String>,
    /// Kind of key: p256, ed25519 or rsa4096
    #[arg(long, value_name = "KIND", default_value = "p256")]
    pub key: String,
    /// Days until the authority ends; 10 years if not given
    #[arg(long, value_name = "N", conflicts_with = "retire_old")]
    pub days: Option<u32>,
    /// Begin a change: ca.crt then holds the old and a new authority
    #[arg(long, conflicts_with = "retire_old")]
    pub next: bool,
    /// End a change: the old authority leaves ca.crt
    #[arg(long)]
    pub retire_old: bool,
    /// With --retire-old: even if that leaves people behind
    #[arg(long, requires = "retire_old")]
    pub anyway: bool,
}

/// `airlock certs sign`
#[derive(Args, Debug)]
pub struct SignArgs {
    /// Requests (NAME.csr)
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Which authority.
    #[command(flatten)]
    pub authority: AuthorityArgs,
    /// What is granted.
    #[command(flatten)]
    pub grant: GrantArgs,
    /// Name to certify, when the request's file is called otherwise
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Folder for the certificates; that of each request if not given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace certificates that exist
    #[arg(long)]
    pub replace: bool,
}

/// `airlock certs issue`
#[derive(Args, Debug)]
pub struct IssueArgs {
    /// Name of the person or program, and of the files
    pub name: String,
    /// Which authority.
    #[command(flatten)]
    pub authority: AuthorityArgs,
    /// What is granted.
    #[command(flatten)]
    pub grant: GrantArgs,
    /// Kind of key: p256, ed25519 or rsa4096
    #[arg(long, value_name = "KIND", default_value = "p256")]
    pub key: String,
    /// Folder for the files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// One file NAME.pem with certificate, key and authority
    #[arg(long)]
    pub pem: bool,
    /// Replace files that exist
    #[arg(long)]
    pub replace: bool,
}

/// `airlock certs renew`
#[derive(Args, Debug)]
pub struct RenewArgs {
    /// Name, or the beginning of a serial number
    pub name: String,
    /// Which authority.
    #[command(flatten)]
    pub authority: AuthorityArgs,
    /// Days until it ends; as long as the earlier one lasted if not given
    #[arg(long, value_name = "N")]
    pub days: Option<u32>,
    /// Folder for the certificate
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// The certificate stands in NAME.pem with its key
    #[arg(long)]
    pub pem: bool,
    /// Replace the certificate that exists
    #[arg(long)]
    pub replace: bool,
}

/// `airlock certs revoke`
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// Names, beginnings of serial numbers, or files with a certificate
    #[arg(value_name = "WHAT", required = true)]
    pub targets: Vec<String>,
    /// Which authority.
    #[command(flatten)]
    pub authority: AuthorityArgs,
    /// unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    pub reason: String,
}
