//! Pages of `list` over very many records.

use std::{process::Command, time::Instant};

use airlock_client::{Client, api};
use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::{
    measure::{Budget, Curve, Findings, Row, Series},
    stack::{finished, start},
};

/// Copies of one record in the past days: every seventh failed, ids that no real job can have.
const COPY: &str = "
CREATE TEMP TABLE seed AS SELECT * FROM jobs WHERE live = 0 ORDER BY created_ns DESC LIMIT 1;
CREATE TEMP TABLE number AS WITH RECURSIVE n(i) AS (SELECT :from UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :to) SELECT i FROM n;
UPDATE seed SET name = NULL;
";

/// A page of the newest, of one state, and from the depth.
pub fn run(bench: &Bench) -> Result<Findings> {
    let steps: &[u64] = bench.size(&[1, 1_000, 10_000, 100_000, 1_000_000], &[1, 2_000]);
    bench.runtime.block_on(async {
        let client = bench.stack.client()?;
        finished(&client, &start(&client, &["true"]).await?).await
    })?;
    let (mut have, mut rows, mut points) = (1, Vec::new(), Vec::new());
    for step in steps {
        if *step > have {
            bench.stack.down()?;
            copy(bench, have, *step)?;
            bench.stack.up()?;
            have = *step;
        }
        let client = bench.runtime.block_on(async { bench.stack.client() })?;
        let newest = pages(bench, &client, &api::ListJobsRequest::default())?;
        points.push((*step as f64, newest.median()));
        if Some(step) != steps.last() {
            continue;
        }
        let budget = Budget::AtMost(10.0);
        let row = |what: &str, series| {
            Row::alone(format!("{have} records: a page of 100, {what}"), "ms", series).budget(budget)
        };
        let failed = api::ListJobsRequest { states: vec![api::JobState::Failed.into()], ..Default::default() };
        let all = api::ListJobsRequest { all: true, page_token: deep(bench, &client)?, ..Default::default() };
        let none = api::ListJobsRequest { all: true, command: "no job says this".into(), ..Default::default() };
        rows.push(row("the newest", newest));
        rows.push(row("of one state", pages(bench, &client, &failed)?));
        rows.push(row("a hundred pages down", pages(bench, &client, &all)?));
        let found = pages(bench, &client, &none)?;
        rows.push(Row::alone(format!("{have} records: text that no command contains"), "ms", found));
    }
    let curve = Curve { name: "records", of: "records", cost: "ms for a page of 100", points };
    Ok(Findings { rows, curves: vec![curve] })
}

fn pages(bench: &Bench, client: &Client, request: &api::ListJobsRequest) -> Result<Series> {
    let mut took = Series::default();
    for round in 0..=bench.size(30, 2) {
        let begun = Instant::now();
        bench.runtime.block_on(client.list(request.clone()))?;
        if round > 0 {
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    Ok(took)
}

fn deep(bench: &Bench, client: &Client) -> Result<String> {
    let mut token = String::new();
    for _ in 0..bench.size(100, 2) {
        let request = api::ListJobsRequest { all: true, page_token: token, ..Default::default() };
        token = bench.runtime.block_on(client.list(request))?.next_page_token;
        ensure!(!token.is_empty(), "the list is shorter than expected");
    }
    Ok(token)
}

// Writes the records while nobody has the database open, in its own form.
fn copy(bench: &Bench, from: u64, to: u64) -> Result<()> {
    let database = bench.stack.state().join(DATABASE);
    let columns = sqlite(&database, "SELECT name FROM pragma_table_info('jobs')")?;
    let chosen: Vec<String> =
        columns.lines().map(|column| value(column).unwrap_or_else(|| column.to_owned())).collect();
    let names: Vec<&str> = columns.lines().collect();
    let copy = COPY.replace(":from", &from.to_string()).replace(":to", &to.to_string());
    let insert = format!("INSERT INTO jobs ({}) SELECT {} FROM seed, number;", names.join(", "), chosen.join(", "));
    sqlite(&database, &format!("PRAGMA synchronous=OFF; BEGIN; {copy} {insert} COMMIT;"))?;
    Ok(())
}

// What differs from record to record.
fn value(column: &str) -> Option<String> {
    const STEP_NS: &str = "i * 1000000000";
    let text = match column {
        "id" => "printf('%08x-0000-4000-8000-%012x', i, i)".to_owned(),
        "request_id" => "printf('bench-%d', i)".to_owned(),
        "created_ns" | "started_ns" | "ended_ns" => format!("{column} - {STEP_NS}"),
        "state" => "CASE WHEN i % 7 = 0 THEN 'failed' ELSE state END".to_owned(),
        _ => return None,
    };
    Some(text)
}

fn sqlite(database: &std::path::Path, text: &str) -> Result<String> {
    let output = Command::new("sqlite3").arg("-bail").arg(database).arg(text).output().context("sqlite3")?;
    ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}

const DATABASE: &str = "records.db";
