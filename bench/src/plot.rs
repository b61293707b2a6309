//! Curves as SVG pictures: both axes logarithmic, so that equal steps are equal factors.

use std::{fmt::Write, fs, path::Path};

use anyhow::Result;

use crate::measure::Curve;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 50.0;
const MARGIN: f64 = 20.0;

/// Writes one picture into the folder, under the curve's name.
pub fn write(folder: &Path, curve: &Curve) -> Result<()> {
    Ok(fs::write(folder.join(format!("{}.svg", curve.name)), picture(curve)?)?)
}

fn picture(curve: &Curve) -> Result<String> {
    let points: Vec<(f64, f64)> = curve.points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).copied().collect();
    let (x, y) = (Axis::of(points.iter().map(|p| p.0)), Axis::of(points.iter().map(|p| p.1)));
    let at = |(px, py): (f64, f64)| {
        let right = LEFT + x.place(px) * (WIDTH - LEFT - MARGIN);
        let down = HEIGHT - BOTTOM - y.place(py) * (HEIGHT - BOTTOM - MARGIN);
        (right, down)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for mark in x.marks() {
        let (right, _) = at((mark, y.low));
        writeln!(
            svg,
            "<line x1=\"{right:.1}\" y1=\"{MARGIN}\" x2=\"{right:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
            HEIGHT - BOTTOM
        )?;
        writeln!(
            svg,
            "<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{mark}</text>",
            HEIGHT - BOTTOM + 16.0
        )?;
    }
    for mark in y.marks() {
        let (_, down) = at((x.low, mark));
        writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{down:.1}\" x2=\"{:.1}\" y2=\"{down:.1}\" stroke=\"#ddd\"/>",
            WIDTH - MARGIN
        )?;
        writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>", LEFT - 6.0, down + 4.0)?;
    }
    if let (Some(first), Some(last)) = (points.first(), points.last()) {
        let highest = first.1 * last.0 / first.0;
        // Cut where it leaves the picture.
        let end = if highest > y.high { (first.0 * y.high / first.1, y.high) } else { (last.0, highest) };
        let ((x1, y1), (x2, y2)) = (at(*first), at(end));
        writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>"
        )?;
    }
    let line: Vec<String> =
        points.iter().map(|p| at(*p)).map(|(right, down)| format!("{right:.1},{down:.1}")).collect();
    writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>", line.join(" "))?;
    for (right, down) in points.iter().map(|p| at(*p)) {
        writeln!(svg, "<circle cx=\"{right:.1}\" cy=\"{down:.1}\" r=\"3\" fill=\"#06c\"/>")?;
    }
    let middle = LEFT + (WIDTH - LEFT - MARGIN) / 2.0;
    writeln!(svg, "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", HEIGHT - 12.0, curve.of)?;
    let half = (HEIGHT - BOTTOM) / 2.0;
    writeln!(
        svg,
        "<text x=\"14\" y=\"{half:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {half:.1})\">{}</text>",
        curve.cost
    )?;
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// From a power of ten to a power of ten.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = 10f64.powf(values.clone().fold(f64::INFINITY, f64::min).log10().floor());
        let high = 10f64.powf(values.fold(0.0, f64::max).log10().ceil());
        if !low.is_finite() || !high.is_finite() {
            return Self { low: 1.0, high: 10.0 };
        }
        Self { low, high: if high > low { high } else { low * 10.0 } }
    }

    // From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value / self.low).log10() / (self.high / self.low).log10()
    }

    fn marks(&self) -> Vec<f64> {
        let (first, last) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
        (first..=last).map(|power| 10f64.powi(power)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_stands_in_the_picture_at_its_place() -> Result<()> {
        let curve = Curve { name: "x", of: "jobs", cost: "ms", points: vec![(1.0, 10.0), (100.0, 1000.0)] };
        let svg = picture(&curve)?;
        assert!(svg.contains("cx=\"70.0\" cy=\"270.0\""), "{svg}");
        assert!(svg.contains("cx=\"540.0\" cy=\"20.0\""), "{svg}");
        Ok(())
    }
}
