//! `airlock list`

use crate::{
    args::ListArgs,
    failure::{DONE, Ending, Failure},
    present::{json, style::Paint, table, time},
    session::{Session, moment},
    talk::data,
};
use airlock_client::{api, state_from_word};

/// The most jobs of one page that the interface allows.
const PAGE: i32 = 1000;

/// Lists jobs, newest first.
///
/// # Errors
/// A filter that cannot be meant; an unreachable server.
pub async fn list(session: &Session, args: &ListArgs) -> Result<Ending, Failure> {
    if args.number == Some(0) {
        return Err(Failure::usage("-n 0 would list nothing").hint("leave it out for all, or use 1 or more"));
    }
    let time = |what: &str, text: &Option<String>| {
        text.as_deref().map(|text| moment(what, text).map(time::to_proto)).transpose()
    };
    let filter = api::ListJobsRequest {
        all: args.all,
        states: states(&args.state)?,
        live: args.live,
        name: args.name.clone().unwrap_or_default(),
        owner: args.owner.clone().unwrap_or_default(),
        profile: args.profile.clone().unwrap_or_default(),
        since: time("since", &args.since)?,
        until: time("until", &args.until)?,
        command: args.command.clone().unwrap_or_default(),
        ..Default::default()
    };
    // Everything that is selected, unless a number is given: a list that is cut unasked misleads scripts. One more than shown
    // tells whether there are more.
    let most = args.number.unwrap_or(usize::MAX);
    let mut jobs = all_pages(session, filter, Some(most.saturating_add(1))).await?;
    let more = jobs.len() > most;
    jobs.truncate(most);
    if args.quiet || session.json() {
        for job in &jobs {
            data(if session.json() { json::job_line(job) } else { job.job_id.clone() })?;
        }
        return Ok(DONE);
    }
    let several_owners =
        args.owner.is_some() || jobs.iter().any(|job| Some(&job.owner) != jobs.first().map(|first| &first.owner));
    let shape = table::Shape { width: if args.wide { None } else { table::terminal_width() }, owners: several_owners };
    if !jobs.is_empty() {
        data(table::jobs(&jobs, jiff::Timestamp::now(), shape, Paint::for_stdout()))?;
    }
    let place = match jobs.first().map(|job| job.host.as_str()).filter(|host| !host.is_empty()) {
        Some(host) => host.to_owned(),
        None => session.host().await,
    };
    data(summary(&place, args, &jobs, more, several_owners))?;
    Ok(DONE)
}

/// All jobs that the filter selects, at most `most`, over as many pages as it takes.
///
/// # Errors
/// As the server refuses.
pub async fn all_pages(
    session: &Session,
    mut filter: api::ListJobsRequest,
    most: Option<usize>,
) -> Result<Vec<api::Job>, Failure> {
    let most = most.unwrap_or(usize::MAX);
    let mut jobs: Vec<api::Job> = Vec::new();
    while jobs.len() < most {
        filter.page_size = i32::try_from(most - jobs.len()).unwrap_or(PAGE).min(PAGE);
        let page = session.client.list(filter.clone()).await.map_err(|error| session.explain(error))?;
        jobs.extend(page.jobs);
        if page.next_page_token.is_empty() {
            break;
        }
        filter.page_token = page.next_page_token;
    }
    Ok(jobs)
}

/// States by their words.
///
/// # Errors
/// A word that names none.
pub fn states(words: &[String]) -> Result<Vec<i32>, Failure> {
    let one = |word: &String| {
        state_from_word(word.trim()).map(i32::from).ok_or_else(|| {
            Failure::usage(format!("'{word}' is not a state"))
                .hint(
                    "use queued, running, stopping, finished, failed, stopped, timed-out, out-of-memory, error or lost",
                )
                .field("state")
        })
    };
    words.iter().map(one).collect()
}

fn summary(place: &str, args: &ListArgs, jobs: &[api::Job], more: bool, several_owners: bool) -> String {
    let is_filtered = args.selects();
    let count = match jobs.len() {
        0 if is_filtered => "no such jobs".to_owned(),
        0 => "no jobs".to_owned(),
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    };
    let whose = match jobs.first() {
        Some(job) if !several_owners && !job.owner.is_empty() => format!(" of {}", job.owner),
        _ => String::new(),
    };
    let further = if more {
        "; there are more: a larger -n shows them".to_owned()
    } else if args.all || args.live {
        // No job that lives is left out for its age.
        String::new()
    } else if is_filtered {
        "; older than 7 days: the same with --all".to_owned()
    } else {
        "; older than 7 days: airlock list --all".to_owned()
    };
    crate::present::sanitize(&format!("{count}{whose} on {place}{further}")).into_owned()
}
