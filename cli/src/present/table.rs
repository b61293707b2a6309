//! Jobs as a table that fits its terminal.

use super::{sanitize, style::Paint, time};
use airlock_client::{JobEnd, api, is_live, short_id, state_word};
use jiff::Timestamp;
use std::io::{self, IsTerminal};

/// The narrowest a column of free text is cut to.
const NARROWEST: usize = 8;
const NAME: usize = 1;
const STATE: usize = 2;

/// How a table may look.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Columns of the terminal; none: nothing is cut.
    pub width: Option<usize>,
    /// With a column of owners.
    pub owners: bool,
}

/// The width of standard output when it is a terminal.
pub fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The table, without a last end of line.
pub fn jobs(jobs: &[api::Job], now: Timestamp, shape: Shape, paint: Paint) -> String {
    let mut header = vec!["JOB", "NAME", "STATE", "EXIT", "STARTED", "TIME", "PROFILE", "COMMAND"];
    if shape.owners {
        header.insert(2, "OWNER");
    }
    let mut rows = vec![header.into_iter().map(String::from).collect::<Vec<_>>()];
    rows.extend(jobs.iter().map(|job| row(job, now, shape.owners)));
    let state = STATE + usize::from(shape.owners);
    let widths = fit(&rows, shape);
    let mut lines = Vec::with_capacity(rows.len());
    for (number, cells) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let last = column + 1 == cells.len();
            let cut = cut(cell, *width);
            let padding = " ".repeat(if last { 0 } else { width.saturating_sub(cut.chars().count()) });
            let right = column == state + 1 || column == state + 3;
            let shown = match number.checked_sub(1).and_then(|index| jobs.get(index)) {
                Some(job) if column == state => paint.state(job.state(), &cut),
                Some(_) => cut,
                None => paint.bold(&cut),
            };
            let separator = if last { "" } else { "  " };
            line.push_str(&if right { format!("{padding}{shown}{separator}") } else { format!("{shown}{padding}{separator}") });
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

fn row(job: &api::Job, now: Timestamp, owners: bool) -> Vec<String> {
    let dash = || "-".to_owned();
    let or_dash = |text: &str| if text.is_empty() { dash() } else { sanitize(text).into_owned() };
    let started = time::from_proto(job.started_at.as_ref());
    let shown_start = started.or_else(|| time::from_proto(job.created_at.as_ref()));
    let ended = if is_live(job) { Some(now) } else { time::from_proto(job.ended_at.as_ref()) };
    let exit = match JobEnd::of(job) {
        None | Some(JobEnd::Lost) => dash(),
        Some(end) => end.exit_status().to_string(),
    };
    let mut cells = vec![
        sanitize(short_id(&job.job_id)).into_owned(),
        or_dash(&job.name),
        state_word(job.state()).to_owned(),
        exit,
        shown_start.map_or_else(dash, |time| time::relative_day(time, now)),
        started.zip(ended).map_or_else(dash, |(started, ended)| time::span(time::between(started, ended))),
        or_dash(&job.profile),
        or_dash(&job.command.join(" ")),
    ];
    if owners {
        cells.insert(2, or_dash(&job.owner));
    }
    cells
}

// Free text gives way, the command first, then name, owner and profile; ids, states and times stay whole.
fn fit(rows: &[Vec<String>], shape: Shape) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..columns).map(widest).collect();
    let Some(terminal) = shape.width else { return widths };
    let available = terminal.saturating_sub(2 * columns.saturating_sub(1));
    let mut giving = vec![columns.saturating_sub(1), NAME];
    if shape.owners {
        giving.push(2);
    }
    giving.push(columns.saturating_sub(2));
    for column in giving {
        let total: usize = widths.iter().sum();
        let excess = total.saturating_sub(available);
        if let Some(width) = widths.get_mut(column) {
            *width = width.saturating_sub(excess).max(NARROWEST.min(*width));
        }
    }
    widths
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    let mut text: String = cell.chars().take(width.saturating_sub(1)).collect();
    text.push('…');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job(name: &str, command: &str) -> api::Job {
        api::Job {
            job_id: "3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05".into(),
            name: name.into(),
            owner: "alice".into(),
            profile: "standard".into(),
            state: api::JobState::OutOfMemory.into(),
            exit_status: Some(137),
            command: command.split(' ').map(String::from).collect(),
            created_at: Some(prost_types::Timestamp { seconds: 1_000_000, nanos: 0 }),
            started_at: Some(prost_types::Timestamp { seconds: 1_000_000, nanos: 0 }),
            ended_at: Some(prost_types::Timestamp { seconds: 1_000_252, nanos: 0 }),
            ..Default::default()
        }
    }

    fn table(jobs_: &[api::Job], width: Option<usize>, owners: bool) -> String {
        jobs(jobs_, Timestamp::from_second(2_000_000).unwrap(), Shape { width, owners }, Paint::plain())
    }

    #[test]
    fn a_row_shows_what_ended_how_and_when() {
        let text = table(&[job("nightly", "make -j8 test")], None, false);
        let row = text.lines().nth(1).unwrap();
        for part in ["3f9a1c2e  nightly  out-of-memory   137  ", "4m12s  standard  make -j8 test"] {
            assert!(row.contains(part), "{row}");
        }
    }

    #[test]
    fn lines_fit_the_terminal_and_cut_cells_end_in_an_ellipsis() {
        let long = job("a-rather-long-name-of-a-job", &"word ".repeat(50));
        for owners in [false, true] {
            for width in [90, 100, 120, 200] {
                for line in table(&[long.clone()], Some(width), owners).lines() {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                }
            }
        }
        assert!(table(&[long.clone()], Some(90), false).ends_with('…'));
        assert!(!table(&[long], None, false).contains('…'));
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert!(table(&[job("\x1b[2J", "echo \x07")], Some(100), true).contains("\\x1b[2J"));
    }

    #[test]
    fn a_live_job_has_no_exit_and_its_time_runs() {
        let live = api::Job { state: api::JobState::Running.into(), ended_at: None, ..job("x", "y") };
        let text = table(&[live], None, false);
        assert!(text.contains("running     -"), "{text}");
        assert!(text.contains("11d13h"), "{text}");
    }

    proptest! {
        #[test]
        fn no_width_and_no_data_makes_a_line_of_the_table_end_the_line(name in any::<String>(), command in any::<String>(), width in 0usize..300) {
            prop_assert_eq!(table(&[job(&name, &command)], Some(width), true).lines().count(), 2);
        }
    }
}
