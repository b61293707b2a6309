//! `airlock certs`: words for people around the certificate library.

mod init;
mod objects;

use crate::{
    args::{
        AuthorityArgs, CertsArgs, CertsCommand, Format, GlobalArgs, GrantArgs, IssueArgs, RenewArgs, RequestArgs,
        RevokeArgs, SignArgs,
    },
    failure::{DONE, Ending, Failure},
    present::{json, sanitize},
    sentences::plain,
    settings::file,
    talk::{data, report, say},
};
use airlock_certs::{
    Authority, CaCopy, Error, Existing, Grant, Issued, Lifetime, Name, Output, Purpose, RequestOptions, RevokeTarget,
    Revoked, Role,
};
use jiff::Timestamp;
use objects::{CrlObject, RequestedObject, RevokedObject, day, holder};
use std::{
    env,
    path::{Path, PathBuf},
};

/// Does one of the certificate commands. Blocks on the disk; making an RSA key takes seconds.
///
/// # Errors
/// What the certificate library refuses.
pub fn certs(global: &GlobalArgs, args: &CertsArgs, format: Format) -> Result<Ending, Failure> {
    match &args.command {
        CertsCommand::Request(args) => request(args, format),
        CertsCommand::Init(args) => init::init(global, args, format),
        CertsCommand::Sign(args) => sign(args, format),
        CertsCommand::Issue(args) => issue(args, format),
        CertsCommand::Renew(args) => renew(args, format),
        CertsCommand::Revoke(args) => revoke(args, format),
        CertsCommand::List(args) => list(args, format),
        CertsCommand::Crl(args) => {
            let mut authority = open(args)?;
            let due = authority.refresh_crl().map_err(refused)?;
            let file = authority.crl_file();
            data(match format {
                Format::Json => json::line(&CrlObject { file: &file, next_update: due.to_string() }),
                Format::Text => format!("{}: fresh until {}", file.display(), day(due)),
            })?;
            Ok(DONE)
        }
    }
}

fn request(args: &RequestArgs, format: Format) -> Result<Ending, Failure> {
    let name: Name = parse(&args.name)?;
    let requested = if args.renew {
        airlock_certs::renew_request(&name, &args.out)
    } else {
        airlock_certs::request(&RequestOptions {
            name,
            folder: args.out.clone(),
            key: parse(&args.key)?,
            organization: args.org.as_deref().map(parse).transpose()?,
            unit: args.ou.as_deref().map(parse).transpose()?,
        })
    };
    let requested = requested.map_err(|error| match error {
        Error::Exists { .. } => refused(error).hint(format!(
            "move it away for a new key, or ask with the same one: airlock certs request {} --renew",
            args.name
        )),
        error => refused(error),
    })?;
    if format == Format::Json {
        data(json::line(&RequestedObject::of(&args.name, &requested)))?;
        return Ok(DONE);
    }
    let (file, key) = (here(&requested.request_file), here(&requested.key_file));
    data(format!("{}: key fingerprint {}", file.display(), requested.key_fingerprint))?;
    say(format!("send {} to your operator; {} stays here", file.display(), key.display()));
    Ok(DONE)
}

fn sign(args: &SignArgs, format: Format) -> Result<Ending, Failure> {
    let mut authority = open(&args.authority)?;
    let mut grant = grant(&args.grant)?;
    grant.name = args.name.as_deref().map(parse).transpose()?;
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Failure::usage("--name fits one request, not several").hint("sign them one by one"));
    }
    let mut failed: Option<Failure> = None;
    for file in &args.files {
        let mut output = args.out.as_ref().map_or_else(|| Output::beside(file), Output::new);
        output.existing = existing(args.replace);
        match authority.sign(file, &grant, &output) {
            Ok(issued) => show(&issued, format)?,
            Err(error) => {
                if let Some(earlier) = failed.replace(refused_to_write(error)) {
                    report(&earlier, format, false);
                }
            }
        }
    }
    failed.map_or(Ok(DONE), Err)
}

fn issue(args: &IssueArgs, format: Format) -> Result<Ending, Failure> {
    let mut authority = open(&args.authority)?;
    let output = output(&args.out, args.pem, args.replace);
    let issued = authority
        .issue(&parse(&args.name)?, parse(&args.key)?, &grant(&args.grant)?, &output)
        .map_err(refused_to_write)?;
    show(&issued, format)?;
    Ok(DONE)
}

fn renew(args: &RenewArgs, format: Format) -> Result<Ending, Failure> {
    let mut authority = open(&args.authority)?;
    let output = output(&args.out, args.pem, args.replace);
    let issued = authority.renew(&args.name, lifetime(args.days)?, &output).map_err(refused_to_write)?;
    show(&issued, format)?;
    Ok(DONE)
}

fn revoke(args: &RevokeArgs, format: Format) -> Result<Ending, Failure> {
    let mut authority = open(&args.authority)?;
    let reason = parse(&args.reason)?;
    let (mut failed, mut written): (Option<Failure>, bool) = (None, false);
    // One that cannot be taken back does not keep the others.
    for target in &args.targets {
        let Ok(target) = target.parse::<RevokeTarget>();
        match authority.revoke(&target, reason) {
            Ok(revoked) => {
                written = true;
                show_revoked(&revoked, format)?;
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(refused(error)) {
                    report(&earlier, format, false);
                }
            }
        }
    }
    if written && format == Format::Text {
        let file = authority.crl_file();
        say(format!(
            "copy {} to every server and reload its frontend: systemctl reload airlock-frontend",
            file.display()
        ));
    }
    failed.map_or(Ok(DONE), Err)
}

fn show_revoked(revoked: &Revoked, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return RevokedObject::all(revoked).iter().try_for_each(|object| data(json::line(object)));
    }
    for (name, serial) in &revoked.now {
        data(format!("{} revoked (serial {})", sanitize(name), serial.short()))?;
    }
    for (name, serial, at) in &revoked.before {
        data(format!("{} was revoked before, on {} (serial {})", sanitize(name), day(*at), serial.short()))?;
    }
    Ok(())
}

fn list(args: &AuthorityArgs, format: Format) -> Result<Ending, Failure> {
    let authority = open(args)?;
    let now = Timestamp::now();
    let all = authority.list();
    let width = all.iter().map(|listed| holder(&listed.record).chars().count()).max().unwrap_or(0);
    for listed in all {
        data(match format {
            Format::Json => objects::listed_json(&listed),
            Format::Text => objects::list_line(&listed, now, width),
        })?;
    }
    if format == Format::Text
        && let Some(end) = authority.not_after()
    {
        data(format!("the authority itself ends on {}", day(end)))?;
    }
    Ok(DONE)
}

fn show(issued: &Issued, format: Format) -> Result<(), Failure> {
    let file = &issued.certificate_file;
    if format == Format::Json {
        return data(objects::issued_json(issued));
    }
    let record = &issued.record;
    let (holder, until, serial) = (holder(record), day(record.not_after), record.serial.short());
    let fingerprint = record.key_fingerprint.short();
    let shown = here(file).display();
    data(format!("{shown}: {holder}, valid until {until}, serial {serial}, fingerprint {fingerprint}"))?;
    if let CaCopy::Different = issued.ca_copy {
        say(format!("note: the ca.crt beside {shown} holds other authorities and was left alone; compare the two"));
    }
    if !issued.same_name.is_empty() {
        let serials: Vec<String> = issued.same_name.iter().map(|record| record.serial.short()).collect();
        say(format!("note: {} has other valid certificates, too: {}", sanitize(&record.name), serials.join(", ")));
    }
    Ok(())
}

// `bob.crt` rather than `./bob.crt`.
fn here(file: &Path) -> &Path {
    file.strip_prefix(".").unwrap_or(file)
}

fn grant(args: &GrantArgs) -> Result<Grant, Failure> {
    Ok(Grant {
        organization: args.org.as_deref().map(parse).transpose()?,
        unit: args.ou.as_deref().map(parse).transpose()?,
        role: args.role.as_deref().map(role).transpose()?,
        purpose: match &args.server {
            Some(names) => Purpose::Server(parse(names)?),
            None => Purpose::Client,
        },
        lifetime: lifetime(args.days)?,
        ..Grant::default()
    })
}

fn role(text: &str) -> Result<Role, Failure> {
    text.parse()
        .map_err(|_| Failure::usage(format!("'{text}' is not a role")).hint("use admin, user or reader").field("role"))
}

fn lifetime(days: Option<u32>) -> Result<Option<Lifetime>, Failure> {
    days.map(Lifetime::from_days).transpose().map_err(refused)
}

fn output(folder: &Path, single_file: bool, replace: bool) -> Output {
    let mut output = Output::new(folder);
    output.single_file = single_file;
    output.existing = existing(replace);
    output
}

fn existing(replace: bool) -> Existing {
    if replace { Existing::Replace } else { Existing::Keep }
}

fn parse<T: std::str::FromStr<Err = Error>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(refused)
}

fn open(args: &AuthorityArgs) -> Result<Authority, Failure> {
    Authority::open(&folder(args)).map_err(refused)
}

fn folder(args: &AuthorityArgs) -> PathBuf {
    chosen_folder(args).unwrap_or_else(usual_folder)
}

fn chosen_folder(args: &AuthorityArgs) -> Option<PathBuf> {
    args.dir.clone().or_else(|| env::var_os("AIRLOCK_CA").filter(|folder| !folder.is_empty()).map(PathBuf::from))
}

// Root's authority belongs to the host; anybody else's lies with their own configuration.
fn usual_folder() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/etc/airlock/ca");
    }
    file::location(None).with_file_name("ca")
}

// Where --replace is an option.
fn refused_to_write(error: Error) -> Failure {
    match error {
        Error::Exists { .. } => refused(error).hint("--replace replaces it"),
        error => refused(error),
    }
}

fn refused(error: Error) -> Failure {
    let code = match error {
        Error::BadValue { .. }
        | Error::BadFile { .. }
        | Error::BadRequestSignature { .. }
        | Error::NameDiffers { .. } => "INVALID_ARGUMENT",
        Error::Exists { .. } | Error::AuthorityExists { .. } => "ALREADY_EXISTS",
        Error::NoAuthority { .. } | Error::NotFound { .. } => "NOT_FOUND",
        Error::Crypto { .. } => "INTERNAL",
        _ => "FAILED_PRECONDITION",
    };
    let message = match &error {
        Error::Io { action, path, source } => format!("cannot {action} {}: {}", path.display(), plain(source)),
        _ => error.to_string(),
    };
    Failure::new(code, message)
}
