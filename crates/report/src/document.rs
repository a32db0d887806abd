//! `docs/performance.md`, made of what was measured and of the texts beside this file.

use std::fmt::Write;

use crate::case::{Case, Round};
use crate::figure::{figure, median};
use crate::plot;
use crate::work::Work;
use crate::{Error, Report};

/// A document with its pictures.
#[derive(Debug)]
pub struct Made {
    /// `docs/performance.md`.
    pub document: String,
    /// The name of each plot, to be put beside the reports, and the picture.
    pub plots: Vec<(String, String)>,
}

/// Makes the document of what votive reached, and of what its peers did with the same work.
///
/// # Errors
/// If a plot cannot be drawn.
pub fn make(own: &Report, peers: &Report) -> Result<Made, Error> {
    let mut made = Made {
        document: include_str!("text/method.md").to_owned(),
        plots: Vec::new(),
    };
    let text = &mut made.document;
    write_origin(text, "Measured", own);
    if !peers.cases.is_empty() {
        write_origin(text, "Peers were measured", peers);
    }
    for work in Work::ALL {
        let ours: Vec<&Case> = of(own, work);
        let theirs: Vec<&Case> = of(peers, work);
        let all: Vec<&Case> = ours.iter().chain(&theirs).copied().collect();
        if all.is_empty() {
            continue;
        }
        let name = format!("{}.svg", work.to_string().to_lowercase());
        line(text, &format!("\n## {work}: {}\n", work.title()));
        line(
            text,
            &format!("![{work}, in {}](performance/{name})", work.unit().name()),
        );
        write_ours(text, &ours);
        write_theirs(text, &theirs, &ours);
        made.plots.push((name, picture(work, &all)?));
    }
    text.push('\n');
    text.push_str(include_str!("text/limits.md"));
    Ok(made)
}

fn write_origin(text: &mut String, what: &str, report: &Report) {
    let Report {
        day,
        machine,
        flushes,
        caveat,
        cases,
    } = report;
    let rounds = cases.iter().map(|case| case.rounds.len()).max();
    let rounds = rounds.unwrap_or(0);
    line(
        text,
        &format!("\n{what} on {day}: {machine}, {rounds} rounds. Flushes: {flushes}."),
    );
    if !caveat.is_empty() {
        line(text, &format!("**{caveat}**"));
    }
}

fn of(report: &Report, work: Work) -> Vec<&Case> {
    let cases = report.cases.iter();
    cases.filter(|case| case.work == work).collect()
}

fn picture(work: Work, cases: &[&Case]) -> Result<String, Error> {
    plot::draw(work, cases).map_err(|error| Error::Plot {
        work,
        reason: error.to_string(),
    })
}

fn write_ours(text: &mut String, cases: &[&Case]) {
    line(
        text,
        "\n| store | work | raw limit | votive | ratio | flushes raw / votive | trips raw / votive | to reach |",
    );
    line(text, "| --- | --- | --: | --: | --: | --: | --: | --- |");
    for case in cases {
        let goals: Vec<String> = case.goals.iter().map(|goal| case.judged(*goal)).collect();
        let cells = [
            case.store.clone(),
            case.name.clone(),
            value(case, |round| round.raw),
            value(case, |round| Some(round.own)),
            case.ratio_text(),
            case.both(|sample| sample.flushes),
            case.both(|sample| sample.trips),
            goals.join("; "),
        ];
        line(text, &format!("| {} |", cells.join(" | ")));
    }
    line(text, "\nBy hand:\n");
    for case in cases.iter().filter(|case| !case.note.is_empty()) {
        line(
            text,
            &format!("- {}, {}: {}", case.store, case.name, case.note),
        );
    }
}

/// The middle of a side's figures; of times the 99th percentile as well.
fn value(case: &Case, of: impl Fn(&Round) -> Option<crate::Sample>) -> String {
    let middle = case.median_of(|round| Some(of(round)?.value));
    match case.median_of(|round| of(round)?.p99) {
        Some(p99) => format!("p50 {}, p99 {}", figure(middle), figure(Some(p99))),
        None => figure(middle),
    }
}

fn write_theirs(text: &mut String, peers: &[&Case], ours: &[&Case]) {
    if peers.is_empty() {
        return;
    }
    line(
        text,
        "\n| peer | store | work | reached | flushes | votive ÷ peer | settings |",
    );
    line(text, "| --- | --- | --- | --: | --: | --: | --- |");
    for peer in peers {
        let ours = ours
            .iter()
            .find(|case| case.store == peer.store && case.name == peer.name);
        let middle = |case: &Case| case.median_of(|round| Some(round.own.value));
        let times = ours.and_then(|ours| Some(middle(ours)? / middle(peer)?));
        let cells = [
            peer.by.clone(),
            peer.store.clone(),
            peer.name.clone(),
            with_spread(peer),
            figure(peer.median_of(|round| round.own.flushes)),
            figure(times),
            peer.note.clone(),
        ];
        line(text, &format!("| {} |", cells.join(" | ")));
    }
}

fn with_spread(case: &Case) -> String {
    let mut values: Vec<f64> = case.rounds.iter().map(|round| round.own.value).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.first().copied(), values.last().copied());
    let middle = value(case, |round| Some(round.own));
    match median(values) {
        Some(_) => format!("{middle} ({}–{})", figure(low), figure(high)),
        None => middle,
    }
}

/// Writing to a string cannot fail.
fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").unwrap_or_default();
}
