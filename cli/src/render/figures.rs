//! Figures: a line each, with what is counted.

use tidegate_core::figures::Figures;
use tidegate_view::figure_lines;

use crate::line::{Line, Tone};

/// Columns of the terminal.
const NAME: usize = 22;
const VALUE: usize = 34;

/// The figures of a period.
pub fn figures(figures: &Figures) -> Vec<Line> {
    let period = format!("{:.0} to {:.0}", figures.period.since, figures.period.until);
    let told = figure_lines(figures).into_iter().map(|figure| {
        let line = Line::new().column(Tone::Plain, figure.name, NAME);
        line.column(Tone::Strong, &figure.value, VALUE).add(Tone::Faint, figure.about)
    });
    std::iter::once(Line::of(Tone::Faint, period)).chain(told).collect()
}
