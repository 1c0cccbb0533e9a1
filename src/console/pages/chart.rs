//! Small charts by the minute, as SVG.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 96.0;

/// Room above the highest value, for the width of its line.
const TOP: f64 = 2.0;

/// One line or one layer of bars: its class in the style sheet, its name, and a value for each minute.
pub(super) struct Series {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    /// What it is called where there is no value at all.
    pub(super) absent: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

/// How the values are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One layer upon the other.
    Bars,
    Lines,
}

/// A chart with a title, a legend and a sentence that says the same.
pub(super) fn chart(title: &str, kind: Kind, series: &[Series], shown: fn(f64) -> String, says: &str) -> Markup {
    let max = highest(kind, series);
    html! {
        figure.chart {
            figcaption {
                span.title { (title) }
                span.legend {
                    @for one in series { span class={ "key " (one.class) } { (one.name) } }
                }
            }
            // Texts are beside the picture, where their size does not depend on its own.
            @if max > 0.0 {
                p.mark aria-hidden="true" { (shown(max)) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (title) ", the last " (minutes(series)) " minutes: " (says) } {
                    line.axis x1="0" x2=(WIDTH) y1=(HEIGHT - 1.0) y2=(HEIGHT - 1.0) {}
                    line.grid x1="0" x2=(WIDTH) y1=(TOP) y2=(TOP) {}
                    (drawn(kind, series, max))
                }
            } @else {
                p.none { (why_empty(series)) }
            }
            p.axis-label { span { (minutes(series)) " min ago" } span { "now" } }
        }
    }
}

fn minutes(series: &[Series]) -> usize {
    series.iter().map(|one| one.values.len()).max().unwrap_or(0)
}

fn why_empty(series: &[Series]) -> &'static str {
    let has_values = |one: &&Series| one.values.iter().any(Option::is_some);
    match series.iter().find(|one| !has_values(one)) {
        Some(one) => one.absent,
        None => "none all the time",
    }
}

fn highest(kind: Kind, series: &[Series]) -> f64 {
    let at = |minute: usize| {
        series
            .iter()
            .filter_map(move |one| one.values.get(minute).copied().flatten())
    };
    let height = |minute| match kind {
        Kind::Bars => at(minute).sum(),
        Kind::Lines => at(minute).fold(0.0, f64::max),
    };
    (0..minutes(series)).map(height).fold(0.0, f64::max)
}

fn drawn(kind: Kind, series: &[Series], max: f64) -> Markup {
    match kind {
        Kind::Bars => bars(series, max),
        Kind::Lines => html! { @for one in series { (line(one, max)) } },
    }
}

fn scaled(value: f64, max: f64) -> f64 {
    value / max * (HEIGHT - TOP - 1.0)
}

fn bars(series: &[Series], max: f64) -> Markup {
    let mut floors = vec![0.0; minutes(series)];
    let step = WIDTH / floors.len().max(1) as f64;
    let mut svg = String::new();
    for one in series {
        for (minute, value) in one.values.iter().enumerate() {
            let (Some(value), Some(floor)) = (value, floors.get_mut(minute)) else {
                continue;
            };
            let (x, height) = (minute as f64 * step, scaled(*value, max));
            *floor += height;
            let y = HEIGHT - 1.0 - *floor;
            // Writing to a text can't fail; all of it are numbers and a class of ours.
            let _ = write!(
                svg,
                r#"<rect class="{}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}"/>"#,
                one.class,
                (step - 1.0).max(1.0)
            );
        }
    }
    PreEscaped(svg)
}

/// Where there are no values, the line has a gap.
fn line(one: &Series, max: f64) -> Markup {
    let step = WIDTH / one.values.len().max(2) as f64;
    let (mut path, mut pen_is_down, mut last) = (String::new(), false, None);
    for (minute, value) in one.values.iter().enumerate() {
        let Some(value) = value else {
            pen_is_down = false;
            continue;
        };
        let (x, y) = ((minute as f64 + 0.5) * step, HEIGHT - 1.0 - scaled(*value, max));
        let _ = write!(path, "{}{x:.1} {y:.1}", if pen_is_down { 'L' } else { 'M' });
        pen_is_down = true;
        last = Some((x, y));
    }
    html! {
        path class={ "line " (one.class) } d=(path) {}
        @if let Some((x, y)) = last { circle class=(one.class) cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="2.5" {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_not_drawn_as_nothing() {
        let drawn = |values: [Option<f64>; 2]| {
            let series = [Series {
                class: "first",
                name: "parked",
                absent: "unknown",
                values: values.into(),
            }];
            chart("Parked", Kind::Lines, &series, |value| value.to_string(), "").into_string()
        };
        let unknown = drawn([None, None]);
        assert!(unknown.contains(">unknown<") && !unknown.contains("<path"), "{unknown}");
        assert!(drawn([Some(0.0), None]).contains(">none all the time<"));
        assert!(drawn([Some(1.0), None]).contains("<path"));
    }
}
