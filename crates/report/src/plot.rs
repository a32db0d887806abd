//! A plot for each work: a row for each case, with what every side reached on a logarithmic axis.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::case::{Case, Round};
use crate::work::Work;

const WIDTH: u32 = 960;
const ROW: u32 = 20;
const HEAD: u32 = 44;
const FOOT: u32 = 50;
const LABELS: u32 = 370;
const RAW: RGBColor = RGBColor(150, 150, 150);
const OWN: RGBColor = RGBColor(20, 90, 180);
const PEER: RGBColor = RGBColor(210, 110, 20);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One dot with the spread of its rounds.
struct Mark {
    row: f64,
    low: f64,
    middle: f64,
    high: f64,
    colour: RGBColor,
}

/// Draws the cases, ours and those of peers, from top to bottom, as an SVG picture.
pub(crate) fn draw(work: Work, cases: &[&Case]) -> Result<String, Box<dyn Error>> {
    let count = u32::try_from(cases.len())?;
    let mut picture = String::new();
    let area = SVGBackend::with_string(&mut picture, (WIDTH, HEAD + FOOT + ROW * count));
    let area = area.into_drawing_area();
    area.fill(&WHITE)?;
    draw_labels(&area, cases)?;
    draw_marks(&area, work, cases)?;
    area.present()?;
    drop(area);
    Ok(picture)
}

fn draw_labels(area: &Area<'_>, cases: &[&Case]) -> Result<(), Box<dyn Error>> {
    let style = ("sans-serif", 13).into_font().color(&BLACK);
    let style = style.pos(Pos::new(HPos::Right, VPos::Center));
    let (x, mut y) = (i32::try_from(LABELS)? - 10, i32::try_from(HEAD + ROW / 2)?);
    for case in cases {
        let label = if case.is_ours() {
            format!("{}: {}", case.store, case.name)
        } else {
            format!("{}, {}: {}", case.by, case.store, case.name)
        };
        area.draw(&Text::new(label, (x, y), style.clone()))?;
        y += i32::try_from(ROW)?;
    }
    let legend = [("raw limit", RAW), ("votive", OWN), ("peer", PEER)];
    for ((name, colour), x) in legend.into_iter().zip([380, 480, 560]) {
        area.draw(&Circle::new((x, 18), 5, colour.filled()))?;
        let style = ("sans-serif", 13).into_font().color(&BLACK);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(name, (x + 10, 18), style))?;
    }
    Ok(())
}

fn draw_marks(area: &Area<'_>, work: Work, cases: &[&Case]) -> Result<(), Box<dyn Error>> {
    let marks = marks(cases);
    let low = marks.iter().map(|mark| mark.low).fold(f64::MAX, f64::min);
    let high = marks.iter().map(|mark| mark.high).fold(f64::MIN, f64::max);
    let rows = f64::from(u32::try_from(cases.len())?);
    let mut chart = ChartBuilder::on(area)
        .margin_left(LABELS)
        .margin_top(HEAD)
        .margin_right(20)
        .x_label_area_size(FOOT)
        .build_cartesian_2d((low / 1.3..high * 1.3).log_scale(), rows..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(WHITE)
        .x_desc(work.unit().name())
        .x_label_formatter(&|value| crate::figure::figure(Some(*value)))
        .draw()?;
    for mark in marks {
        let line = [(mark.low, mark.row), (mark.high, mark.row)];
        chart.draw_series([PathElement::new(line, mark.colour.stroke_width(2))])?;
        let dot = Circle::new((mark.middle, mark.row), 5, mark.colour.filled());
        chart.draw_series([dot])?;
    }
    Ok(())
}

fn marks(cases: &[&Case]) -> Vec<Mark> {
    let rows = (0u32..).map(|row| f64::from(row) + 0.5);
    let marks = rows.zip(cases).flat_map(|(row, case)| {
        let colour = if case.is_ours() { OWN } else { PEER };
        [
            mark(row, case, RAW, |round| Some(round.raw?.value)),
            mark(row, case, colour, |round| Some(round.own.value)),
        ]
    });
    marks.flatten().collect()
}

/// Nothing where nothing was measured, or where it was too little to have a place on the axis.
fn mark(
    row: f64,
    case: &Case,
    colour: RGBColor,
    of: impl Fn(&Round) -> Option<f64>,
) -> Option<Mark> {
    let values: Vec<f64> = case.rounds.iter().filter_map(of).collect();
    let low = values.iter().copied().fold(f64::MAX, f64::min);
    let high = values.iter().copied().fold(f64::MIN, f64::max);
    let middle = crate::figure::median(values)?;
    (low > 0.0).then_some(Mark {
        row,
        low,
        middle,
        high,
        colour,
    })
}
