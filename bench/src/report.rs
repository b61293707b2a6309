//! The table for people, and the same for programs.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::measure::{Budget, Curve, Row, Series};

/// Where and when it was measured.
#[derive(Debug)]
pub struct Setting {
    /// Name and unit of what matters.
    facts: Vec<(&'static str, String)>,
}

impl Setting {
    /// Of this machine, now.
    pub fn here(short: bool, airlock: &str, cgroups: &str, load: [f64; 2]) -> Result<Self> {
        let first = |file: &str, name: &str| -> Result<String> {
            let text = fs::read_to_string(file).with_context(|| file.to_owned())?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once([':', '=']));
            Ok(line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().trim_matches('"').to_owned()))
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let cores = std::thread::available_parallelism()?;
        let facts = vec![
            ("date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
            (
                "machine",
                format!(
                    "{}, {cores} cores, {} of memory",
                    first("/proc/cpuinfo", "model name")?,
                    first("/proc/meminfo", "MemTotal")?
                ),
            ),
            ("system", format!("{}, Linux {}", first("/etc/os-release", "PRETTY_NAME")?, kernel.trim())),
            ("airlock", format!("{airlock}, cgroups {cgroups}; every guarantee active")),
            ("load", format!("{:.1} before and {:.1} after (one-minute average)", load[0], load[1])),
            ("rounds", if short { "shortened: only shows that the bench works" } else { "full" }.to_owned()),
        ];
        Ok(Self { facts })
    }
}

/// Writes RESULTS.md and results.json into a folder.
pub fn write(folder: &Path, setting: &Setting, rows: &[Row], curves: &[Curve]) -> Result<()> {
    fs::write(folder.join("RESULTS.md"), markdown(setting, rows, curves)?)?;
    let curve = |c: &Curve| json!({ "name": c.name, "of": c.of, "cost": c.cost, "points": c.points });
    let facts: serde_json::Map<_, _> =
        setting.facts.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    let all = json!({
        "setting": facts,
        "rows": rows.iter().map(object).collect::<Vec<_>>(),
        "curves": curves.iter().map(curve).collect::<Vec<_>>(),
    });
    Ok(fs::write(folder.join("results.json"), format!("{all:#}\n"))?)
}

/// One row on one line, for who watches.
pub fn line(row: &Row) -> String {
    let ratio = row.ratio().map_or(String::new(), |ratio| format!(" = {:.2} ×", ratio.median()));
    let peer =
        row.peer.as_ref().map_or(String::new(), |(name, theirs)| format!(" / {} {name}", figure(theirs.median())));
    let verdict = match row.holds() {
        Some(true) => "  holds",
        Some(false) => "  MISSED",
        None => "",
    };
    format!("{}: {} {}{peer}{ratio}{verdict}", row.what, figure(row.ours.median()), row.unit)
}

fn markdown(setting: &Setting, rows: &[Row], curves: &[Curve]) -> Result<String> {
    let mut text = String::from(
        "# What Airlock costs\n\nWritten by `make bench`. Each figure is the median over all rounds, with its 10th to 90th percentile; pairs are \
         measured in turns,\nand a ratio is the median of the rounds' ratios. On another machine only the ratios mean something.\n\n",
    );
    for (name, fact) in &setting.facts {
        writeln!(text, "- {name}: {fact}")?;
    }
    text.push_str("\n| what | Airlock | beside | its figure | ratio | budget | |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let (peer, theirs) =
            row.peer.as_ref().map_or((String::new(), String::new()), |(name, s)| (name.clone(), spread(s, row.unit)));
        let ratio = row.ratio().map_or(String::new(), |ratio| spread(&ratio, "×"));
        let verdict = match row.holds() {
            Some(true) => "holds",
            Some(false) => "**missed**",
            None => "",
        };
        let note = if row.note.is_empty() { String::new() } else { format!(" ({})", row.note) };
        let ours = spread(&row.ours, row.unit);
        writeln!(text, "| {}{note} | {ours} | {peer} | {theirs} | {ratio} | {} | {verdict} |", row.what, budget(row))?;
    }
    text.push_str("\n## Growth\n\nBoth axes are logarithmic; the dashed line grows with the number.\n\n");
    for curve in curves {
        writeln!(text, "![{} over {}](plots/{}.svg)", curve.cost, curve.of, curve.name)?;
    }
    Ok(text)
}

fn object(row: &Row) -> Value {
    let series = |s: &Series| json!({ "median": s.median(), "p10": s.quantile(0.1), "p90": s.quantile(0.9), "values": s.values() });
    json!({
        "what": row.what, "unit": row.unit, "airlock": series(&row.ours),
        "peer": row.peer.as_ref().map(|(name, theirs)| json!({ "name": name, "figures": series(theirs) })),
        "ratio": row.ratio().as_ref().map(series),
        "budget": budget(row), "holds": row.holds(), "note": row.note,
    })
}

fn budget(row: &Row) -> String {
    match row.budget {
        Budget::RatioAtMost(most) => format!("≤ {most} ×"),
        Budget::RatioAtLeast(least) => format!("≥ {least} ×"),
        Budget::AtMost(most) => format!("≤ {most} {}", row.unit),
        Budget::None => String::new(),
    }
}

fn spread(series: &Series, unit: &str) -> String {
    let median = figure(series.median());
    match series.values().len() {
        0 | 1 => format!("{median} {unit}"),
        _ => format!("{median} {unit} ({} to {})", figure(series.quantile(0.1)), figure(series.quantile(0.9))),
    }
}

// Three digits that mean something.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_budget_is_said_in_the_table_and_on_the_line() -> Result<()> {
        let row = Row::alone("lines", "ms", Series::one(2.5)).budget(Budget::AtMost(1.0));
        let setting = Setting { facts: vec![("date", "today".to_owned())] };
        let table = markdown(&setting, std::slice::from_ref(&row), &[])?;
        assert!(table.contains("| lines | 2.50 ms |  |  |  | ≤ 1 ms | **missed** |"), "{table}");
        assert!(line(&row).ends_with("MISSED"));
        Ok(())
    }
}
