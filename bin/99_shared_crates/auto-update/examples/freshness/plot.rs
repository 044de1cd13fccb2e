use std::fmt::Write as _;

use super::Figures;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// A curve: its name, its colour, and where it is among the figures.
type Curve = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

const CURVES: [Curve; 5] = [
    ("cargo build", "#b3261e", |figures| Some(figures.cargo_build_no_op)),
    ("git status", "#8a6d00", |figures| Some(figures.git_status)),
    ("check", "#0b57d0", |figures| Some(figures.check)),
    ("bare stat loop", "#5f6368", |figures| Some(figures.bare_stat_loop)),
    ("watched check", "#146c2e", |figures| Some(figures.watched)),
];

/// Time against the number of inputs, both in powers of ten.
pub(crate) fn svg(all: &[Figures]) -> String {
    let inputs = all.iter().map(|figures| figures.inputs as f64);
    let times = all.iter().flat_map(|figures| CURVES.iter().filter_map(|curve| curve.2(figures)));
    let x = Axis::over(inputs, LEFT, WIDTH - RIGHT);
    let y = Axis::over(times, HEIGHT - BOTTOM, TOP);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Is it fresh? Time for one answer</text>\n"
    );
    let mut draw = |part: std::fmt::Arguments<'_>| {
        picture.write_fmt(part).expect("a string takes all that is written");
    };
    for power in y.powers() {
        let at = y.at(power);
        let label = time(power);
        draw(format_args!(
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        ));
    }
    for power in x.powers() {
        draw(format_args!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{power}</text>\n",
            x.at(power),
            HEIGHT - BOTTOM + 20.0
        ));
    }
    draw(format_args!(
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">inputs</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    ));
    for (name, colour, value) in CURVES {
        let points: Vec<(f64, f64)> = all
            .iter()
            .filter_map(|figures| Some((x.at(figures.inputs as f64), y.at(value(figures)?))))
            .collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        draw(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            line.join(" ")
        ));
        for (x, y) in &points {
            draw(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\n"));
        }
        if let Some((x, y)) = points.last() {
            draw(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>\n",
                x + 10.0,
                y + 4.0
            ));
        }
    }
    picture.push_str("</svg>\n");
    picture
}

fn time(micros: f64) -> String {
    match micros {
        micros if micros >= 1e6 => format!("{} s", micros / 1e6),
        micros if micros >= 1e3 => format!("{} ms", micros / 1e3),
        micros => format!("{micros} us"),
    }
}

/// A logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values
            .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        Self { low, high: high.max(low + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn powers(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}
