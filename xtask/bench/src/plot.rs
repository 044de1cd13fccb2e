use std::fmt::Write as _;

use crate::{figures::Figures, samples::shown};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 50.0;
/// From one name to the next.
const LINE: f64 = 15.0;

/// A line of the picture: its name, its colour and its value.
type Curve = (&'static str, &'static str, fn(&Figures) -> f64);

const CURVES: [Curve; 5] = [
    ("cargo build", "#c0392b", |figures| figures.cargo_build),
    ("git status", "#b7791f", |figures| figures.git_status),
    ("check", "#1f5fbf", |figures| figures.check),
    ("bare loop", "#777777", |figures| figures.bare_loop),
    ("watched", "#2e7d32", |figures| figures.watched),
];

/// The time of one answer over the number of inputs, both axes in powers of ten.
pub(crate) fn svg(all: &[Figures]) -> String {
    let across = Axis::of(all.iter().map(|figures| figures.inputs as f64), LEFT, WIDTH - RIGHT);
    let values = all.iter().flat_map(|figures| CURVES.iter().map(|(.., value)| value(figures)));
    let up = Axis::of(values, HEIGHT - BOTTOM, TOP);
    let mut lines = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">"
        ),
        format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"),
        text(LEFT, 18.0, "start", "black", "Is it fresh? Median time of one answer"),
    ];
    for power in up.powers() {
        let (y, end) = (up.place(power), WIDTH - RIGHT);
        lines.push(format!(
            "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#dddddd\"/>{}",
            text(LEFT - 8.0, y + 4.0, "end", "black", &shown(power))
        ));
    }
    for power in across.powers() {
        let label = format!("{power}");
        lines.push(text(across.place(power), HEIGHT - BOTTOM + 20.0, "middle", "black", &label));
    }
    lines.push(text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", "black", "inputs"));
    let mut labels = Vec::new();
    for (name, colour, value) in CURVES {
        let mut path = String::new();
        let mut last = (0.0, 0.0);
        for figures in all {
            last = (across.place(figures.inputs as f64), up.place(value(figures)));
            let letter = if path.is_empty() { 'M' } else { 'L' };
            // A string takes whatever is written.
            write!(path, "{letter}{:.1} {:.1}", last.0, last.1).unwrap_or(());
            lines.push(format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                last.0, last.1
            ));
        }
        lines.push(format!(
            "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"/>"
        ));
        labels.push((last.1 + 4.0, last.0 + 8.0, colour, name));
    }
    // Curves may end close together; their names must not.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::NEG_INFINITY;
    for (y, x, colour, name) in labels {
        let y = y.max(free);
        free = y + LINE;
        lines.push(text(x, y, "start", colour, name));
    }
    lines.push("</svg>\n".to_owned());
    lines.join("\n")
}

fn text(x: f64, y: f64, anchor: &str, colour: &str, text: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
    )
}

/// From values to places, by their logarithm.
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let logarithms: Vec<_> = values.map(f64::log10).filter(|value| value.is_finite()).collect();
        let low = logarithms.iter().copied().fold(f64::INFINITY, f64::min).floor() as i32;
        let high = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil() as i32;
        Self { low, high: high.max(low.saturating_add(1)), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + part * (self.to - self.from)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low..=self.high).map(|power| 10_f64.powi(power))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_place_inside_the_picture() {
        let figures = |inputs, seconds| Figures {
            inputs,
            check: seconds,
            bare_loop: seconds / 1.2,
            watched: 1e-6,
            cargo_build: seconds * 30.0,
            git_status: seconds * 4.0,
        };
        let picture = svg(&[figures(140, 1.3e-4), figures(1_040, 1.2e-3), figures(50_400, 0.07)]);
        let places = |name: &str| -> Vec<f64> {
            let mark = format!(" {name}=\"");
            let values = picture.split(&mark).skip(1);
            values.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
        };
        let (x, y) = (places("cx"), places("cy"));
        assert_eq!((x.len(), y.len()), (15, 15));
        assert!(x.iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)), "{x:?}");
        assert!(y.iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)), "{y:?}");
        // More inputs lie to the right, and a longer time lies higher.
        assert!(x[0] < x[1] && x[1] < x[2] && y[0] > y[1] && y[1] > y[2], "{x:?} {y:?}");
        // A curve that ends where another does has its name below the other's.
        let names = ["bare loop", "check"].map(|name| {
            let before = picture.split(&format!(">{name}<")).next().unwrap();
            let y = before.rsplit(" y=\"").next().unwrap();
            y.split('"').next().unwrap().parse::<f64>().unwrap()
        });
        assert!((names[0] - names[1]).abs() >= LINE - 0.1, "{names:?}");
        assert!(picture.contains(">100.0 ms</text>") && picture.contains(">10000</text>"));
    }
}
