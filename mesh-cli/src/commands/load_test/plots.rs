//! The plots of the page, as SVG.

use anyhow::anyhow;
use plotters::prelude::*;

use super::report::Report;

const SIZE: (u32, u32) = (720, 300);
const BLUE: RGBColor = RGBColor(0x33, 0x67, 0xd6);

/// What there is a plot of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plot {
    Latency,
    Throughput,
    Hops,
}

impl Plot {
    pub(super) const ALL: [Self; 3] = [Self::Latency, Self::Throughput, Self::Hops];

    /// A comment that stands where the plot belongs.
    pub(super) const fn mark(self) -> &'static str {
        match self {
            Self::Latency => "<!-- plot: latency -->",
            Self::Throughput => "<!-- plot: throughput -->",
            Self::Hops => "<!-- plot: hops -->",
        }
    }

    /// The picture.
    pub(super) fn draw(self, report: &Report) -> anyhow::Result<String> {
        let drawn = match self {
            Self::Latency => {
                let bars = report.latency_histogram.iter();
                let bars = bars.map(|(to, count)| (format!("≤ {to} ms"), *count as f64));
                draw_bars("messages by latency", &bars.collect::<Vec<_>>())
            }
            Self::Throughput => {
                let seconds = report.throughput_msg_s.each_second.iter();
                let seconds = seconds.map(|count| *count as f64);
                draw_line("delivered in each second", &seconds.collect::<Vec<_>>())
            }
            Self::Hops => {
                let bars = report.latency_by_hops.iter();
                let bars = bars.map(|(hops, latency)| (format!("{hops} hops"), latency.p50));
                draw_bars("median latency by hops (ms)", &bars.collect::<Vec<_>>())
            }
        };
        drawn.map_err(|error| anyhow!("{self:?}: {error}"))
    }
}

fn highest(values: impl Iterator<Item = f64>) -> f64 {
    1.1 * values.fold(0.0, f64::max).max(1e-3)
}

fn draw_bars(
    title: &str,
    bars: &[(String, f64)],
) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let top = highest(bars.iter().map(|(_, value)| *value));
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d((0..bars.len().max(1)).into_segmented(), 0.0..top)?;
        let label = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) => {
                bars.get(*at).map_or_else(String::new, |bar| bar.0.clone())
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(bars.len().max(1)) // With none it looks for a step for ever.
            .x_label_formatter(&label)
            .draw()?;
        let bar = |(at, (_, value)): (usize, &(String, f64))| {
            let (from, to) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
            let mut bar = Rectangle::new([(from, 0.0), (to, *value)], BLUE.filled());
            bar.set_margin(0, 0, 6, 6);
            bar
        };
        chart.draw_series(bars.iter().enumerate().map(bar))?;
        area.present()?;
    }
    Ok(svg)
}

fn draw_line(title: &str, values: &[f64]) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let top = highest(values.iter().copied());
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(0..values.len().max(2) - 1, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("seconds")
            .draw()?;
        let points = values.iter().copied().enumerate();
        chart.draw_series(AreaSeries::new(points, 0.0, BLUE.mix(0.2)).border_style(BLUE))?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_was_delivered_there_are_empty_plots_and_no_hang() {
        for plot in [draw_bars("bars", &[]), draw_line("line", &[])] {
            assert!(plot.expect("drawn").contains("<svg"));
        }
    }
}
