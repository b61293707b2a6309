//! `airlock certs`: words for people around the certificate library.

use crate::{
    args::{
        AuthorityArgs, CertsArgs, CertsCommand, Format, GrantArgs, InitArgs, IssueArgs, RenewArgs, RequestArgs,
        RevokeArgs, SignArgs,
    },
    failure::{DONE, Ending, Failure},
    present::{json, sanitize},
    sentences::plain,
    settings::file,
    talk::{data, report, say},
};
use airlock_certs::{
    Authority, CaCopy, Error, Existing, Grant, InitOptions, Issued, Lifetime, Listed, Name, Output, Purpose, Record,
    RequestOptions, RevokeTarget, Role, State,
};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    env,
    path::{Path, PathBuf},
};

#[derive(Serialize)]
struct IssuedObject<'a> {
    file: &'a Path,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Serialize)]
struct ListedObject<'a> {
    #[serde(flatten)]
    record: &'a Record,
    state: &'static str,
    superseded: bool,
}

/// Does one of the certificate commands. Blocks on the disk; making an RSA key takes seconds.
///
/// # Errors
/// What the certificate library refuses.
pub fn certs(args: &CertsArgs, format: Format) -> Result<Ending, Failure> {
    match &args.command {
        CertsCommand::Request(args) => request(args),
        CertsCommand::Init(args) => init(args, format),
        CertsCommand::Sign(args) => sign(args, format),
        CertsCommand::Issue(args) => issue(args, format),
        CertsCommand::Renew(args) => renew(args, format),
        CertsCommand::Revoke(args) => revoke(args),
        CertsCommand::List(args) => list(args, format),
        CertsCommand::Crl(args) => {
            let mut authority = open(args)?;
            let due = authority.refresh_crl().map_err(refused)?;
            data(format!("{}: fresh until {}", authority.crl_file().display(), day(due)))?;
            Ok(DONE)
        }
    }
}

fn request(args: &RequestArgs) -> Result<Ending, Failure> {
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
        Error::Exists { .. } => refused(error)
            .hint("move it away for a new key, or ask with the same one: airlock certs request NAME --renew"),
        error => refused(error),
    })?;
    let file = requested.request_file.display();
    data(format!("{file}: key fingerprint {}", requested.key_fingerprint))?;
    say(format!("send {file} to your operator; {} stays here", requested.key_file.display()));
    Ok(DONE)
}

fn init(args: &InitArgs, format: Format) -> Result<Ending, Failure> {
    let folder = folder(&args.authority);
    if args.next {
        let mut authority = open(&args.authority)?;
        let label = args.name.as_deref().map(parse).transpose()?;
        let lifetime = lifetime(args.days)?.unwrap_or(Lifetime::AUTHORITY);
        authority.start_next(label.as_ref(), parse(&args.key)?, lifetime).map_err(refused)?;
        data(format!("{}: holds the old and the new authority", authority.certificate_file().display()))?;
        say(
            "give it to every server and every person, renew what the old authority signed, then: airlock certs init --retire-old",
        );
        return Ok(DONE);
    }
    if args.retire_old {
        let mut authority = open(&args.authority)?;
        let left_behind = authority.retire_old(args.anyway).map_err(refused)?;
        for listed in &left_behind {
            data(format!("{} is left behind: its certificate counts no longer", sanitize(&listed.record.name)))?;
        }
        data(format!("{}: holds the new authority alone", authority.certificate_file().display()))?;
        return Ok(DONE);
    }
    let mut options = InitOptions::new(&folder);
    options.key = parse(&args.key)?;
    if let Some(out) = &args.out {
        options.output.clone_from(out);
    }
    if let Some(name) = &args.name {
        options.label = parse(name)?;
    }
    if let Some(lifetime) = lifetime(args.days)? {
        options.lifetime = lifetime;
    }
    options.server = args.server.as_deref().map(parse).transpose()?;
    options.admin = args.admin.as_deref().map(parse).transpose()?;
    let made = airlock_certs::init(&options).map_err(refused)?;
    if format == Format::Text {
        let (file, name) = (made.ca_file.display(), sanitize(&made.ca_name));
        data(format!(
            "{file}: authority {name}, valid until {}, key fingerprint {}",
            day(made.not_after),
            made.key_fingerprint.short()
        ))?;
    }
    for issued in [&made.server, &made.admin].into_iter().flatten() {
        show(issued, format)?;
    }
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

fn revoke(args: &RevokeArgs) -> Result<Ending, Failure> {
    let mut authority = open(&args.authority)?;
    let reason = parse(&args.reason)?;
    for target in &args.targets {
        let Ok(target) = target.parse::<RevokeTarget>();
        let revoked = authority.revoke(&target, reason).map_err(refused)?;
        for (name, serial) in &revoked.now {
            data(format!("{} revoked (serial {})", sanitize(name), serial.short()))?;
        }
        for (name, serial, at) in &revoked.before {
            data(format!("{} was revoked before, on {} (serial {})", sanitize(name), day(*at), serial.short()))?;
        }
    }
    let file = authority.crl_file();
    say(format!("copy {} to every server and reload its frontend: systemctl reload airlock-frontend", file.display()));
    Ok(DONE)
}

fn list(args: &AuthorityArgs, format: Format) -> Result<Ending, Failure> {
    let authority = open(args)?;
    let now = Timestamp::now();
    for listed in authority.list() {
        data(match format {
            Format::Json => json::line(&ListedObject {
                record: &listed.record,
                state: state(&listed),
                superseded: listed.superseded,
            }),
            Format::Text => list_line(&listed, now),
        })?;
    }
    if format == Format::Text
        && let Some(end) = authority.not_after()
    {
        data(format!("the authority itself ends on {}", day(end)))?;
    }
    Ok(DONE)
}

fn list_line(listed: &Listed, now: Timestamp) -> String {
    let record = &listed.record;
    let days = record.not_after.duration_since(now).as_hours() / 24;
    let when = match listed.state {
        State::Valid if days <= 14 => format!("ends in {days} days"),
        State::Valid => "valid".to_owned(),
        State::Expired => "expired".to_owned(),
        State::Revoked { at, reason } => format!("revoked {} ({reason})", day(at)),
    };
    let note = match (listed.superseded, listed.by_retiring_authority) {
        (true, _) => ", superseded",
        (false, true) => ", by the authority that is being left",
        (false, false) => "",
    };
    format!("{}  {:<24}  {}  {when}{note}", day(record.not_after), holder(record), record.serial.short())
}

fn show(issued: &Issued, format: Format) -> Result<(), Failure> {
    let file = &issued.certificate_file;
    if format == Format::Json {
        return data(json::line(&IssuedObject { file, record: &issued.record }));
    }
    let record = &issued.record;
    let (holder, until, serial) = (holder(record), day(record.not_after), record.serial.short());
    let fingerprint = record.key_fingerprint.short();
    data(format!("{}: {holder}, valid until {until}, serial {serial}, fingerprint {fingerprint}", file.display()))?;
    if let CaCopy::Different = issued.ca_copy {
        say(format!(
            "note: the ca.crt beside {} holds other authorities and was left alone; compare the two",
            file.display()
        ));
    }
    if !issued.same_name.is_empty() {
        let serials: Vec<String> = issued.same_name.iter().map(|record| record.serial.short()).collect();
        say(format!("note: {} has other valid certificates, too: {}", sanitize(&record.name), serials.join(", ")));
    }
    Ok(())
}

fn holder(record: &Record) -> String {
    let mut facts = Vec::new();
    if let Some(unit) = &record.unit {
        facts.push(format!("ou {unit}"));
    }
    if let Some(role) = record.role {
        facts.push(format!("role {role}"));
    }
    if record.purpose.is_server() {
        facts.push("server".to_owned());
    }
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    sanitize(&format!("{}{facts}", record.name)).into_owned()
}

fn state(listed: &Listed) -> &'static str {
    match listed.state {
        State::Valid => "valid",
        State::Expired => "expired",
        State::Revoked { .. } => "revoked",
    }
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

// Root's authority belongs to the host; anybody else's lies with their own configuration.
fn folder(args: &AuthorityArgs) -> PathBuf {
    if let Some(folder) = &args.dir {
        return folder.clone();
    }
    if let Some(folder) = env::var_os("AIRLOCK_CA").filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/etc/airlock/ca");
    }
    file::location(None).with_file_name("ca")
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
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
