//! `airlock certs init`: a new authority, and a change to the next one. For root on a server it is the whole first run.

use super::{
    chosen_folder, folder, lifetime,
    objects::{AuthorityObject, TrustObject, day},
    open, parse, refused, show,
};
use crate::{
    args::{Format, GlobalArgs, InitArgs},
    commands::context,
    failure::{DONE, Ending, Failure},
    present::{json, sanitize},
    sentences::plain,
    settings::{
        file::{self, Context, Contexts},
        shell_word,
    },
    talk::{data, say},
};
use airlock_certs::{Authority, Grant, InitOptions, Initialised, Lifetime, Name, Output, Role};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where the packaged frontend looks for its certificate and key, for the authority and for its revocation list.
const SERVER_FOLDER: &str = "/etc/airlock/tls";
/// What is to be started on a server.
const START: &str = "systemctl enable --now airlock-executor airlock-frontend";
/// The context in which the first administrator speaks to this host.
const HERE: &str = "here";

pub fn init(global: &GlobalArgs, args: &InitArgs, format: Format) -> Result<Ending, Failure> {
    if args.next {
        return next(args, format);
    }
    if args.retire_old {
        return retire_old(args, format);
    }
    let mut options = InitOptions::new(folder(&args.authority));
    options.key = parse(&args.key)?;
    if let Some(name) = &args.name {
        options.label = parse(name)?;
    }
    if let Some(lifetime) = lifetime(args.days)? {
        options.lifetime = lifetime;
    }
    let nothing_said = args.out.is_none() && chosen_folder(&args.authority).is_none();
    if let Some(names) = args.server.as_deref().filter(|_| nothing_said && rustix::process::geteuid().is_root()) {
        return first_run(global, names, args.admin.as_deref().unwrap_or("root"), options, format);
    }
    if let Some(out) = &args.out {
        options.output.clone_from(out);
    }
    options.server = args.server.as_deref().map(parse).transpose()?;
    options.admin = args.admin.as_deref().map(parse).transpose()?;
    let made = airlock_certs::init(&options).map_err(refused)?;
    show_authority(&made, format)?;
    for issued in [&made.server, &made.admin].into_iter().flatten() {
        show(issued, format)?;
    }
    if format == Format::Text && made.server.is_some() && options.output != Path::new(SERVER_FOLDER) {
        let from = options.output.display();
        say(format!(
            "next, on the server: copy server.key (root, mode 0600), server.crt, ca.crt and crl.pem (root, mode 0644) from {from} to \
             {SERVER_FOLDER}, then: {START}"
        ));
    }
    Ok(DONE)
}

// An authority, this server's files where its unit looks, and its first administrator: what is left to do is to start it.
fn first_run(
    global: &GlobalArgs,
    names: &str,
    admin: &str,
    mut options: InitOptions,
    format: Format,
) -> Result<Ending, Failure> {
    let admin: Name = parse(admin)?;
    let configuration = file::location(global.config.as_deref());
    let contexts = Contexts::load(&configuration)?;
    let certs = configuration.with_file_name("certs");
    if !options.folder.join("ca.crt").exists() {
        require_room(&certs, &admin)?;
    }
    // The administrator's context needs no resolver.
    let has_localhost = names.split(',').any(|name| name.trim() == "localhost");
    options.server = Some(parse(&if has_localhost { names.to_owned() } else { format!("{names},localhost") })?);
    options.output = SERVER_FOLDER.into();
    let made = airlock_certs::init(&options).map_err(refused)?;
    show_authority(&made, format)?;
    // The frontend's user reads there, whatever root's umask is; the key has a mode of its own.
    fs::set_permissions(SERVER_FOLDER, fs::Permissions::from_mode(0o755))
        .map_err(|error| unmade(Path::new(SERVER_FOLDER), &error))?;
    made.server.iter().try_for_each(|issued| show(issued, format))?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&certs).map_err(|error| unmade(&certs, &error))?;
    let grant = Grant { role: Some(Role::Admin), ..Grant::default() };
    let mut authority = Authority::open(&options.folder).map_err(refused)?;
    show(&authority.issue(&admin, options.key, &grant, &Output::new(&certs)).map_err(refused)?, format)?;
    let folder = certs.display().to_string();
    let doctor = if contexts.context.is_empty() {
        let here = Context {
            server: "localhost".to_owned(),
            server_name: None,
            identity: Some(admin.to_string()),
            certs: Some(folder),
        };
        file::add(&configuration, HERE, here.clone())?;
        context::show(HERE, &here, true, format, &format!("context {HERE} added and current"))?;
        "airlock doctor".to_owned()
    } else {
        format!("airlock --server localhost -i {admin} --certs {} doctor", shell_word(&folder))
    };
    if format == Format::Text {
        say(format!("next: {START}; {doctor}"));
        let authority = options.folder.display();
        say(format!("{authority} signs everybody in; move it to a safer machine when you can (airlock certs --dir)"));
    }
    Ok(DONE)
}

// Asked before anything is made. Another authority's ca.crt would be left alone, and the new server not be trusted by it.
fn require_room(certs: &Path, admin: &Name) -> Result<(), Failure> {
    let files = ["key", "crt", "pem"].map(|extension| format!("{admin}.{extension}"));
    let files = files.into_iter().chain(["ca.crt".to_owned()]).map(|file| certs.join(file));
    let taken: Option<PathBuf> = files.into_iter().find(|file| fs::symlink_metadata(file).is_ok());
    taken.map_or(Ok(()), |file| {
        let message = format!("{} exists already and was left as it is; nothing was made", file.display());
        Err(Failure::new("ALREADY_EXISTS", message)
            .hint(format!("add --out {SERVER_FOLDER} for the server's files alone")))
    })
}

fn next(args: &InitArgs, format: Format) -> Result<Ending, Failure> {
    let mut authority = open(&args.authority)?;
    let label = args.name.as_deref().map(parse).transpose()?;
    let lifetime = lifetime(args.days)?.unwrap_or(Lifetime::AUTHORITY);
    authority.start_next(label.as_ref(), parse(&args.key)?, lifetime).map_err(refused)?;
    let file = &authority.certificate_file();
    if format == Format::Json {
        data(json::line(&TrustObject { file, authorities: 2, left_behind: Vec::new() }))?;
        return Ok(DONE);
    }
    data(format!("{}: holds the old and the new authority", file.display()))?;
    say(
        "give it to every server and every person, renew what the old authority signed, then: airlock certs init --retire-old",
    );
    Ok(DONE)
}

fn retire_old(args: &InitArgs, format: Format) -> Result<Ending, Failure> {
    let mut authority = open(&args.authority)?;
    let left_behind = authority.retire_old(args.anyway).map_err(refused)?;
    let names = left_behind.iter().map(|listed| listed.record.name.as_str());
    let file = &authority.certificate_file();
    if format == Format::Json {
        data(json::line(&TrustObject { file, authorities: 1, left_behind: names.collect() }))?;
        return Ok(DONE);
    }
    for name in names {
        data(format!("{} is left behind: its certificate counts no longer", sanitize(name)))?;
    }
    data(format!("{}: holds the new authority alone", file.display()))?;
    Ok(DONE)
}

fn show_authority(made: &Initialised, format: Format) -> Result<(), Failure> {
    data(match format {
        Format::Json => json::line(&AuthorityObject::of(made)),
        Format::Text => format!(
            "{}: authority {}, valid until {}, key fingerprint {}",
            made.ca_file.display(),
            sanitize(&made.ca_name),
            day(made.not_after),
            made.key_fingerprint.short()
        ),
    })
}

fn unmade(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("FAILED_PRECONDITION", format!("cannot make {}: {}", path.display(), plain(error)))
}
