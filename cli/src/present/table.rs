//! Jobs as a table that fits its terminal.

use super::{sanitize, style::Paint, time};
use airlock_client::{JobEnd, api, is_live, short_id, state_word};
use jiff::Timestamp;
use std::io::{self, IsTerminal};

/// Columns of free text in the order in which they give way, and down to which width. A long name does not take the room of
/// commands, and of a command less than this tells nothing.
const GIVING: [(&str, usize); 5] = [("NAME", 20), ("COMMAND", 12), ("NAME", 8), ("OWNER", 8), ("PROFILE", 8)];
/// Columns left out, in this order, when even the narrowest table is too wide.
const DISPENSABLE: [&str; 5] = ["PROFILE", "STARTED", "OWNER", "TIME", "NAME"];

/// How a table may look.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Columns of the terminal; none: nothing is cut.
    pub width: Option<usize>,
    /// With a column of owners.
    pub owners: bool,
}

/// The width of standard output when it is a terminal. One that does not know its width has COLUMNS, else 80.
pub fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
    let variable =
        || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    Some(if told > 0 { told } else { variable().unwrap_or(80) })
}

/// The table, without a last end of line.
pub fn jobs(jobs: &[api::Job], now: Timestamp, shape: Shape, paint: Paint) -> String {
    let mut header = vec!["JOB", "NAME", "STATE", "EXIT", "STARTED", "TIME", "PROFILE", "COMMAND"];
    if shape.owners {
        header.insert(2, "OWNER");
    }
    let mut rows = vec![header.into_iter().map(String::from).collect::<Vec<_>>()];
    rows.extend(jobs.iter().map(|job| row(job, now, shape.owners)));
    let widths = fit(&mut rows, shape.width);
    let header = rows.first().cloned().unwrap_or_default();
    let mut lines = Vec::with_capacity(rows.len());
    for (number, cells) in rows.iter().enumerate() {
        let mut line = String::new();
        for ((cell, width), title) in cells.iter().zip(&widths).zip(&header) {
            let cut = cut(cell, *width);
            let padding = " ".repeat(width.saturating_sub(columns_of(&cut)));
            let shown = match number.checked_sub(1).and_then(|index| jobs.get(index)) {
                Some(job) if title == "STATE" => paint.state(job.state(), &cut),
                Some(_) => cut,
                None => paint.bold(&cut),
            };
            let right = title == "EXIT" || title == "TIME";
            line.push_str(&if right { format!("{padding}{shown}  ") } else { format!("{shown}{padding}  ") });
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

// Free text gives way, then whole columns do; ids, states and exit statuses stay.
fn fit(rows: &mut [Vec<String>], terminal: Option<usize>) -> Vec<usize> {
    let Some(terminal) = terminal else { return natural_widths(rows) };
    for dispensable in DISPENSABLE {
        if narrowest_widths(rows).iter().sum::<usize>() + separators(rows) <= terminal {
            break;
        }
        if let Some(column) = column(rows, dispensable) {
            rows.iter_mut().for_each(|row| drop(row.remove(column)));
        }
    }
    let mut widths = natural_widths(rows);
    for (title, least) in GIVING {
        let Some(column) = column(rows, title) else { continue };
        let excess = (widths.iter().sum::<usize>() + separators(rows)).saturating_sub(terminal);
        widths[column] = widths[column].saturating_sub(excess).max(widths[column].min(least));
    }
    widths
}

fn column(rows: &[Vec<String>], title: &str) -> Option<usize> {
    rows.first()?.iter().position(|known| known == title)
}

fn separators(rows: &[Vec<String>]) -> usize {
    2 * rows.first().map_or(0, Vec::len).saturating_sub(1)
}

fn natural_widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = 0..rows.first().map_or(0, Vec::len);
    columns.map(|column| rows.iter().map(|row| columns_of(&row[column])).max().unwrap_or(0)).collect()
}

fn narrowest_widths(rows: &[Vec<String>]) -> Vec<usize> {
    let header = rows.first().map(Vec::as_slice).unwrap_or_default();
    let least = |title: &String| GIVING.iter().filter(|(giving, _)| giving == title).map(|(_, least)| *least).min();
    let widths = natural_widths(rows).into_iter().zip(header);
    widths.map(|(width, title)| least(title).map_or(width, |least| width.min(least))).collect()
}

fn cut(cell: &str, width: usize) -> String {
    if columns_of(cell) <= width {
        return cell.to_owned();
    }
    let (mut text, mut taken) = (String::new(), 1);
    for c in cell.chars() {
        taken += columns_of_char(c);
        if taken > width {
            break;
        }
        text.push(c);
    }
    text.push('…');
    text
}

fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

// What terminals agree on: accents over a letter take no column of their own, the scripts of East Asia and emoji two.
fn columns_of_char(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f
        | 0x483..=0x489
        | 0x591..=0x5bd
        | 0x610..=0x61a
        | 0x64b..=0x65f
        | 0xfe00..=0xfe0f
        | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
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
            for width in [60, 80, 90, 100, 120, 200] {
                for line in table(std::slice::from_ref(&long), Some(width), owners).lines() {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                }
            }
        }
        assert!(table(std::slice::from_ref(&long), Some(100), false).ends_with('…'));
        assert!(!table(&[long], None, false).contains('…'));
    }

    #[test]
    fn a_narrow_terminal_loses_columns_before_its_commands_say_nothing() {
        let long = job("a-rather-long-name-of-a-job", &"word ".repeat(50));
        for width in 43..200 {
            let text = table(std::slice::from_ref(&long), Some(width), true);
            let row = text.lines().nth(1).unwrap();
            assert!(columns_of(row) <= width, "{width}: {row}");
            assert!(row.contains("out-of-memory   137") && row.contains("  word word w"), "{width}: {row}");
        }
        let text = table(&[long], Some(100), false);
        assert!(text.contains("  a-rather-long-name-…  "), "a long name leaves room for commands: {text}");
    }

    #[test]
    fn columns_stand_below_each_other_whatever_the_script() {
        let rows = [job("世界", "echo 世界世界世界"), job("nightly", "echo e\u{301}e\u{301}")];
        let text = table(&rows, None, false);
        let before_state = |line: &str| columns_of(line.split("out-of-memory").next().unwrap());
        let at: Vec<usize> = text.lines().skip(1).map(before_state).collect();
        assert_eq!(at, [19, 19], "{text}");
        for width in 60..120 {
            let long = [job("x", &"世界".repeat(50))];
            assert!(table(&long, Some(width), false).lines().all(|line| columns_of(line) <= width), "{width}");
        }
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
