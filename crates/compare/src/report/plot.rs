use std::fmt::{self, Write};
use std::ops::Range;

use poloto::build::{markers, plot};
use poloto::ticks::TickDistribution;

/// Lines over an axis, as SVG without a style of its own: the page's style sheet gives the colours.
pub(crate) struct Plot {
    /// Unique on its page.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// What the numbers along an axis are.
#[derive(Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
    pub(crate) show: fn(f64) -> String,
}

/// How far apart numbers stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// By their difference, from zero.
    Linear,
    /// By their ratio.
    Logarithmic,
}

/// What one subject did.
pub(crate) struct Series {
    pub(crate) label: String,
    /// The same as it stands at the end of its line.
    pub(crate) short: String,
    /// The number of its colour, and of its kind of line, in the style sheet.
    pub(crate) look: Look,
    /// The points that a line connects.
    pub(crate) line: Vec<[f64; 2]>,
    /// Further points, one for each round.
    pub(crate) dots: Vec<[f64; 2]>,
}

/// What tells a line from the others: by its colour, and for who does not see that by its dashes.
#[derive(Clone, Copy)]
pub(crate) struct Look(pub(crate) usize);

impl fmt::Display for Look {
    /// As declarations of a style.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (colour, dash) = (self.0 % COLOURS, self.0 % DASHES);
        write!(f, "--colour:var(--colour{colour});--dash:var(--dash{dash})")
    }
}

/// How many colours and kinds of line the style sheet has.
const COLOURS: usize = 10;
const DASHES: usize = 4;

/// Where the library draws, in its own units.
const X: Range<f64> = 150.0..650.0;
const Y: Range<f64> = 100.0..400.0;
/// The height of what stands at the end of a line.
const LINE_HEIGHT: f64 = 21.0;

impl Plot {
    /// The `svg` element, with a title and a description for who cannot see it.
    pub(crate) fn svg(&self) -> Result<String, fmt::Error> {
        let place = |series: &[[f64; 2]]| -> Vec<[f64; 2]> {
            let inside = series.iter().filter(|[x, y]| self.x.has(*x) && self.y.has(*y));
            inside.map(|[x, y]| [self.x.scale.place(*x), self.y.scale.place(*y)]).collect()
        };
        let points = || self.series.iter().flat_map(|it| it.line.iter().chain(&it.dots));
        let ticks_x = self.x.ticks(points().map(|point| point[0]));
        let ticks_y = self.y.ticks(points().map(|point| point[1]));
        let lines: Vec<_> = self.series.iter().map(|it| plot("").line(place(&it.line))).collect();
        let dots: Vec<_> = self.series.iter().map(|it| plot("").scatter(place(&it.dots))).collect();
        let ends = |ticks: &[f64]| {
            [ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0)]
        };
        let edges = [ends(&ticks_x), ends(&ticks_y)];
        let labels = self.labels(edges)?;
        let edges = markers(edges[0], edges[1]);
        let (x, y) = (self.x, self.y);
        let mut inner = poloto::frame()
            .with_tick_lines([false, true])
            .num_css_class(None)
            .build()
            .data(poloto::plots!(edges, lines, dots))
            .map_xticks(|_| TickDistribution::new(ticks_x).with_tick_fmt(move |&at| x.text(at)))
            .map_yticks(|_| TickDistribution::new(ticks_y).with_tick_fmt(move |&at| y.text(at)))
            .build_and_label(("", self.x.label, ""))
            .headless()
            .render_string()?;
        // The library numbers its parts in each plot anew, and an id is for the whole page.
        for number in 0..=2 * self.series.len() {
            inner = inner.replace(&format!("id=\"poloto_plot{number}\""), "");
        }
        let mut svg = String::new();
        let id = &self.id;
        // The colours of the lines, and then those of their dots.
        let mut style = String::new();
        for (index, series) in self.series.iter().chain(&self.series).enumerate() {
            write!(style, ".{id} .poloto{index}{{{}}}", series.look)?;
        }
        let title = escaped(&self.title);
        write!(
            svg,
            "<svg class=\"poloto {id}\" viewBox=\"50 80 720 410\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-text\"><title id=\"{id}-title\">{title}</title>\
             <desc id=\"{id}-text\">{}</desc><style>{style}</style>{inner}{labels}</svg>",
            escaped(&self.describe())
        )?;
        Ok(svg)
    }

    /// The names of the lines at their ends, each below the one before where they would meet.
    fn labels(&self, [x, y]: [[f64; 2]; 2]) -> Result<String, fmt::Error> {
        let share = |value: f64, [from, to]: [f64; 2]| (value - from) / (to - from);
        let mut ends: Vec<_> = self
            .series
            .iter()
            .filter_map(|series| {
                let is_inside = |point: &&[f64; 2]| self.x.has(point[0]) && self.y.has(point[1]);
                let end = series.line.iter().rfind(is_inside)?;
                let right = X.start + share(self.x.scale.place(end[0]), x) * (X.end - X.start);
                let down = Y.end - share(self.y.scale.place(end[1]), y) * (Y.end - Y.start);
                Some((series, right, down))
            })
            .collect();
        ends.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.2.total_cmp(&other.2)));
        for column in ends.chunk_by_mut(|one, other| one.1 == other.1) {
            // So many that they would leave the plot stand closer.
            let height = LINE_HEIGHT.min((Y.end - Y.start) / column.len() as f64);
            let mut next = f64::MIN;
            for (_, _, down) in &mut *column {
                *down = down.max(next);
                next = *down + height;
            }
            let mut next = Y.end;
            for (_, _, down) in column.iter_mut().rev() {
                *down = down.min(next);
                next = *down - height;
            }
        }
        let mut labels = String::new();
        for (series, right, down) in ends {
            write!(
                labels,
                "<text class=\"end\" x=\"{:.0}\" y=\"{down:.0}\" style=\"{}\">{}</text>",
                right + 9.0,
                series.look,
                escaped(&series.short)
            )?;
        }
        Ok(labels)
    }

    /// The plot in words.
    fn describe(&self) -> String {
        let mut text = format!("{} over {}.", self.y.label, self.x.label);
        for series in &self.series {
            // A long curve is told by its ends and its extremes.
            let values = series.line.iter().map(|point| point[1]);
            let (Some([x0, y0]), Some([x1, y1])) = (series.line.first(), series.line.last()) else {
                text += &format!(" {}: no values.", series.label);
                continue;
            };
            let low = values.clone().min_by(f64::total_cmp).unwrap_or_default();
            let high = values.max_by(f64::total_cmp).unwrap_or_default();
            text += &format!(
                " {}: from {} at {} to {} at {}, lowest {}, highest {}.",
                series.label,
                (self.y.show)(*y0),
                (self.x.show)(*x0),
                (self.y.show)(*y1),
                (self.x.show)(*x1),
                (self.y.show)(low),
                (self.y.show)(high)
            );
        }
        text
    }
}

impl Axis {
    /// Whether a value can stand on it.
    fn has(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    /// Round numbers from below the smallest to above the largest value, as places.
    fn ticks(&self, values: impl Iterator<Item = f64>) -> Vec<f64> {
        let values: Vec<_> = values.filter(|value| self.has(*value)).collect();
        let low = values.iter().copied().min_by(f64::total_cmp).unwrap_or(1.0);
        let high = values.iter().copied().max_by(f64::total_cmp).unwrap_or(1.0);
        match self.scale {
            Scale::Linear => {
                let step = round_up(high / 5.0);
                let steps = (high / step).ceil().max(1.0) as u32;
                (0..=steps).map(|index| f64::from(index) * step).collect()
            }
            Scale::Logarithmic => {
                let first = low.log10().floor() as i32;
                let last = (high.log10().ceil() as i32).max(first + 1);
                (first..=last).map(f64::from).collect()
            }
        }
    }

    /// What stands at a place.
    fn text(&self, place: f64) -> String {
        (self.show)(match self.scale {
            Scale::Linear => place,
            Scale::Logarithmic => 10_f64.powf(place),
        })
    }
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
        }
    }
}

/// The next of 1, 2, 5, 10, 20, …, as large as that or larger.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|it| it * power).find(|it| *it >= value).unwrap_or(value)
}

/// Text as it may stand between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { label: "it", scale, show: |value| format!("{value}") }
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        let ticks = |scale, values: &[f64]| axis(scale).ticks(values.iter().copied());
        assert_eq!(ticks(Scale::Linear, &[3.0, 9.0]), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(Scale::Logarithmic, &[3.0, 900.0]), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(ticks(Scale::Logarithmic, &[0.0, f64::NAN]), [0.0, 1.0]);
        assert_eq!(ticks(Scale::Linear, &[0.0]).len(), 2);
    }

    #[test]
    fn a_plot_says_in_words_what_it_shows() {
        let series = Series {
            label: "06 <readiness>".to_owned(),
            short: "06".to_owned(),
            look: Look(5),
            line: vec![[1.0, 10.0], [10.0, 500.0]],
            dots: vec![],
        };
        let (x, y) = (axis(Scale::Logarithmic), axis(Scale::Logarithmic));
        let plot =
            Plot { id: "p".to_owned(), title: "A & B".to_owned(), x, y, series: vec![series] };
        let svg = plot.svg().unwrap();
        assert!(svg.contains("<title id=\"p-title\">A &amp; B</title>"));
        assert!(svg.contains("06 &lt;readiness&gt;: from 10 at 1 to 500 at 10"));
        assert!(svg.contains("--colour:var(--colour5);--dash:var(--dash1)"));
        assert!(svg.contains(">06</text>") && !svg.contains("http"));
    }

    #[test]
    fn names_at_the_ends_of_lines_do_not_meet() {
        let series = |look: usize| Series {
            label: String::new(),
            short: look.to_string(),
            look: Look(look),
            line: vec![[1.0, 1.0], [10.0, 1.0]],
            dots: vec![],
        };
        let (x, y) = (axis(Scale::Logarithmic), axis(Scale::Logarithmic));
        let series = (0..4).map(series).collect();
        let plot = Plot { id: "p".to_owned(), title: String::new(), x, y, series };
        let labels = plot.labels([[0.0, 1.0], [0.0, 1.0]]).unwrap();
        for down in ["337", "358", "379", "400"] {
            assert!(labels.contains(&format!("x=\"659\" y=\"{down}\"")), "{labels}");
        }
    }
}
