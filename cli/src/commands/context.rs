//! `airlock context`: which servers there are.

use crate::{
    args::{ContextArgs, ContextCommand, Format, GlobalArgs},
    failure::{DONE, Ending, Failure},
    present::{json, sanitize},
    settings::file::{self, Context, Contexts},
    talk::data,
};
use airlock_client::ServerAddress;
use serde::Serialize;
use std::{env, path::Path};

#[derive(Serialize)]
struct ContextObject<'a> {
    name: &'a str,
    current: bool,
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certs: Option<&'a str>,
}

#[derive(Serialize)]
struct Removed<'a> {
    name: &'a str,
    removed: bool,
}

/// Lists, chooses, adds and removes contexts.
///
/// # Errors
/// Unknown names, and a configuration that cannot be read or written.
pub fn context(global: &GlobalArgs, args: &ContextArgs, format: Format) -> Result<Ending, Failure> {
    let file = file::location(global.config.as_deref());
    match &args.command {
        None | Some(ContextCommand::List) => list(&file, format)?,
        Some(ContextCommand::Use { name }) => {
            file::set_current(&file, name)?;
            let contexts = Contexts::load(&file)?;
            let context = contexts.context.get(name).ok_or_else(|| contexts.unknown(name, &file))?;
            show(name, context, true, format, &format!("context {name} is current"))?;
        }
        Some(ContextCommand::Add { name, server, server_name, identity, certs }) => {
            // Refused now rather than at the first use.
            server.parse::<ServerAddress>()?;
            let certs = certs.as_deref().or(global.certs.as_deref()).map(absolute).transpose()?;
            // `airlock -i bob context add …` reads as naturally as the option behind the word.
            let identity = identity.clone().or_else(|| global.identity.clone());
            let server_name = server_name.clone().or_else(|| global.server_name.clone());
            let context = Context { server: server.clone(), server_name, identity, certs };
            file::add(&file, name, context.clone())?;
            show(name, &context, true, format, &format!("context {name} added and current; airlock doctor tests it"))?;
        }
        Some(ContextCommand::Remove { name }) => {
            let was_current = file::remove(&file, name)?;
            let none = if was_current { "; none is current now: airlock context use NAME" } else { "" };
            data(match format {
                Format::Json => json::line(&Removed { name, removed: true }),
                Format::Text => format!("context {name} removed{none}"),
            })?;
        }
    }
    Ok(DONE)
}

/// Shows one context: its object, or `sentence`.
///
/// # Errors
/// When standard output takes nothing.
pub fn show(name: &str, context: &Context, current: bool, format: Format, sentence: &str) -> Result<(), Failure> {
    data(match format {
        Format::Json => json::line(&ContextObject {
            name,
            current,
            server: &context.server,
            server_name: context.server_name.as_deref(),
            identity: context.identity.as_deref(),
            certs: context.certs.as_deref(),
        }),
        Format::Text => sentence.to_owned(),
    })
}

fn list(file: &Path, format: Format) -> Result<(), Failure> {
    let contexts = Contexts::load(file)?;
    if contexts.context.is_empty() && format == Format::Text {
        return data(format!("no contexts in {}; airlock context add NAME --server HOST makes one", file.display()));
    }
    let width = contexts.context.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, context) in &contexts.context {
        let current = contexts.current.as_deref() == Some(name);
        let identity = context.identity.as_deref().map_or(String::new(), |identity| format!(" as {identity}"));
        let mark = if current { '*' } else { ' ' };
        let line = format!("{mark} {name:<width$}  {}{identity}", context.server);
        show(name, context, current, format, &sanitize(&line))?;
    }
    Ok(())
}

fn absolute(folder: &Path) -> Result<String, Failure> {
    let here = env::current_dir()
        .map_err(|error| Failure::new("FAILED_PRECONDITION", format!("cannot tell this directory: {error}")))?;
    let whole: std::path::PathBuf = here.join(folder).components().collect();
    match whole.into_os_string().into_string() {
        Ok(text) => Ok(text),
        Err(_) => Err(Failure::usage("the folder of certificates has a name that is not UTF-8").hint("choose another")),
    }
}
