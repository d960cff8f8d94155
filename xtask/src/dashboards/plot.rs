//! A page of panels as an SVG, readable on light and on dark.

use svg::Document;
use svg::node::element::{Group, Path, Rectangle, Style, Text, Title};

use super::panels::Kind;
use super::pictures::{Line, Shown};

/// Of Grafana's grid.
const CELL: (i32, i32) = (50, 32);
const TOP: i32 = 44;
const GAP: i32 = 4;
/// Of a plot within its panel: left, top, right, bottom.
const MARGIN: (i32, i32, i32, i32) = (64, 32, 12, 58);
/// Names below a plot.
const NAMES: usize = 6;

const STYLE: &str = "
text{font-family:system-ui,-apple-system,Helvetica,Arial,sans-serif;font-size:11px;fill:#1f2328}
.title{font-size:16px;font-weight:600}.name{font-size:12px;font-weight:600}.number{font-size:26px;font-weight:600}
.faint{fill:#6e7781}.ground{fill:#ffffff}.panel{fill:#f6f8fa;stroke:#d0d7de}.grid{stroke:#d0d7de;fill:none}
.line{fill:none;stroke-width:1.5}.area{stroke:none;fill-opacity:.3}
.s0{stroke:#0969da}.s1{stroke:#bc4c00}.s2{stroke:#1a7f37}.s3{stroke:#8250df}.s4{stroke:#bf3989}
.s5{stroke:#9a6700}.s6{stroke:#1b7c83}.s7{stroke:#cf222e}.s8{stroke:#57606a}.s9{stroke:#4d2d00}
.f0{fill:#0969da}.f1{fill:#bc4c00}.f2{fill:#1a7f37}.f3{fill:#8250df}.f4{fill:#bf3989}
.f5{fill:#9a6700}.f6{fill:#1b7c83}.f7{fill:#cf222e}.f8{fill:#57606a}.f9{fill:#4d2d00}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.faint{fill:#8b949e}.ground{fill:#0d1117}.panel{fill:#161b22;stroke:#30363d}.grid{stroke:#30363d}
.s9{stroke:#d4a72c}.f9{fill:#d4a72c}}
";

type Place = (i32, i32, i32, i32);

pub fn page(title: &str, span: (f64, f64), places: &[(Place, String, Option<Shown>)]) -> String {
    let bottom = places.iter().map(|((_, y, _, h), ..)| y + h).max().unwrap_or(0);
    let (width, height) = (24 * CELL.0, TOP + bottom * CELL.1 + GAP);
    let below = format!(
        "{:.0} minutes of data from a real Prometheus; not drawn by Grafana",
        (span.1 - span.0) / 60.0
    );
    let mut document = Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .set("role", "img")
        .add(Title::new(title))
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("class", "ground").set("width", width).set("height", height))
        .add(text(12, 28, "title", "start", title))
        .add(text(width - 12, 28, "faint", "end", &below));
    for ((x, y, w, h), title, shown) in places {
        let (x, y) = (x * CELL.0, TOP + y * CELL.1);
        let Some(shown) = shown else {
            document = document.add(text(x + 12, y + 22, "title", "start", title));
            continue;
        };
        let (w, h) = (w * CELL.0 - GAP, h * CELL.1 - GAP);
        document = document.add(panel(shown, span, w, h).set("transform", format!("translate({x} {y})")));
    }
    format!("{document}\n")
}

fn text(x: i32, y: i32, class: &str, anchor: &str, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("class", class).set("text-anchor", anchor)
}

fn panel(shown: &Shown, span: (f64, f64), w: i32, h: i32) -> Group {
    let ground = Rectangle::new().set("class", "panel").set("width", w).set("height", h).set("rx", 3);
    let group = Group::new().add(ground).add(text(10, 18, "name", "start", shown.title));
    if shown.lines.iter().all(|line| line.points.is_empty()) {
        return group.add(text(w / 2, h / 2, "faint", "middle", "no data"));
    }
    match shown.kind {
        Kind::Number => number(group, shown, w, h),
        Kind::Table => table(group, shown, w),
        Kind::Lines | Kind::Stacked => plot(group, shown, span, w, h),
    }
}

fn number(group: Group, shown: &Shown, w: i32, h: i32) -> Group {
    let (value, name) = shown
        .lines
        .first()
        .map_or((0.0, ""), |line| (line.points.last().map_or(0.0, |(_, value)| *value), line.name.as_str()));
    group.add(text(w / 2, h / 2 + 14, "number", "middle", &amount(value, shown.unit))).add(text(
        w / 2,
        h - 12,
        "faint",
        "middle",
        name,
    ))
}

fn table(group: Group, shown: &Shown, w: i32) -> Group {
    let mut group = group;
    let mut y = 44;
    for line in &shown.lines {
        let value = line.points.last().map_or(0.0, |(_, value)| *value);
        group = group.add(text(10, y, "", "start", &shortened(&line.name, 78)));
        group = group.add(text(w - 10, y, "", "end", &amount(value, shown.unit)));
        y += 24;
    }
    match shown.more {
        0 => group,
        more => group.add(text(10, y, "faint", "start", &format!("and {more} more"))),
    }
}

fn plot(group: Group, shown: &Shown, span: (f64, f64), w: i32, h: i32) -> Group {
    let (left, top, right, bottom) = (MARGIN.0, MARGIN.1, w - MARGIN.2, h - MARGIN.3);
    let stacked = shown.kind == Kind::Stacked;
    let lines = if stacked { stack(&shown.lines) } else { flat(&shown.lines) };
    let highest = lines.iter().flatten().map(|(_, _, high)| *high).fold(0.0, f64::max);
    let highest = if highest > 0.0 { nice(highest, shown.unit) } else { 1.0 };
    let x = |time: f64| f64::from(left) + (time - span.0) / (span.1 - span.0) * f64::from(right - left);
    let y = |value: f64| f64::from(bottom) - value / highest * f64::from(bottom - top);
    let mut group = group;
    for quarter in 0..=4 {
        let value = highest * f64::from(quarter) / 4.0;
        let at = y(value) as i32;
        group = group
            .add(Path::new().set("class", "grid").set("d", format!("M{left} {at}H{right}")))
            .add(text(left - 6, at + 4, "faint", "end", &amount(value, shown.unit)));
    }
    for minute in 0..=((span.1 - span.0) / 60.0) as i32 {
        if minute % 2 == 0 {
            let at = x(span.0 + f64::from(minute) * 60.0) as i32;
            group = group.add(text(at, bottom + 14, "faint", "middle", &format!("{minute} min")));
        }
    }
    for (i, points) in lines.iter().enumerate() {
        let colour = i % 10;
        // What was not there is not drawn: a line across a gap would be a guess.
        for part in points.chunk_by(|a, b| b.0 - a.0 < 1.5 * shown.step) {
            let upper: Vec<String> =
                part.iter().map(|(t, _, high)| format!("{:.1} {:.1}", x(*t), y(*high))).collect();
            if stacked {
                let lower = part.iter().rev().map(|(t, low, _)| format!("{:.1} {:.1}", x(*t), y(*low)));
                let d = format!("M{}L{}Z", upper.join("L"), lower.collect::<Vec<_>>().join("L"));
                group = group.add(Path::new().set("class", format!("area f{colour}")).set("d", d));
            }
            let d = format!("M{}", upper.join("L"));
            group = group.add(Path::new().set("class", format!("line s{colour}")).set("d", d));
        }
    }
    names(group, shown, bottom, w)
}

fn names(group: Group, shown: &Shown, bottom: i32, w: i32) -> Group {
    let mut group = group;
    let column = (w - 20) / 3;
    for (i, line) in shown.lines.iter().take(NAMES).enumerate() {
        let (x, y) = (10 + (i as i32 % 3) * column, bottom + 32 + (i as i32 / 3) * 16);
        group = group
            .add(
                Rectangle::new()
                    .set("class", format!("f{i}"))
                    .set("x", x)
                    .set("y", y - 7)
                    .set("width", 10)
                    .set("height", 3),
            )
            .add(text(x + 15, y, "", "start", &shortened(&line.name, 28)));
    }
    match shown.lines.len().saturating_sub(NAMES) {
        0 => group,
        more => group.add(text(w - 10, bottom + 48, "faint", "end", &format!("and {more} more"))),
    }
}

/// Time, lower and upper edge.
type Band = Vec<(f64, f64, f64)>;

fn flat(lines: &[Line]) -> Vec<Band> {
    lines.iter().map(|line| line.points.iter().map(|(time, value)| (*time, 0.0, *value)).collect()).collect()
}

/// On top of each other. Times are those of the queries, so equal ones meet.
fn stack(lines: &[Line]) -> Vec<Band> {
    let mut sums = std::collections::HashMap::<u64, f64>::new();
    let mut add = |(time, value): &(f64, f64)| {
        let sum = sums.entry(time.to_bits()).or_default();
        let low = *sum;
        *sum += value;
        (*time, low, *sum)
    };
    lines.iter().map(|line| line.points.iter().map(&mut add).collect()).collect()
}

/// The next number that people like at the end of an axis.
fn nice(value: f64, unit: &str) -> f64 {
    if unit == "bytes" {
        return value.log2().ceil().exp2();
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|nice| *nice >= value)
        .unwrap_or(value)
}

fn shortened(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A value in a unit, as Grafana calls it.
fn amount(value: f64, unit: &str) -> String {
    let scaled = |base: f64, endings: &[&str]| {
        let (mut value, mut i) = (value, 0);
        while value.abs() >= base && i + 1 < endings.len() {
            (value, i) = (value / base, i + 1);
        }
        format!("{} {}", short(value), endings[i]).trim_end().to_owned()
    };
    match unit {
        "Bps" => scaled(1000.0, &["B/s", "kB/s", "MB/s", "GB/s"]),
        "bytes" => scaled(1024.0, &["B", "KiB", "MiB", "GiB"]),
        "ops" => scaled(1000.0, &["/s", "k/s", "M/s"]),
        "percentunit" => format!("{}%", short(value * 100.0)),
        "s" if value < 1.0 => format!("{} ms", short(value * 1000.0)),
        "s" => format!("{} s", short(value)),
        "bool_yes_no" => if value > 0.0 { "Yes" } else { "No" }.to_owned(),
        _ => scaled(1000.0, &["", "k", "M", "G"]),
    }
}

fn short(value: f64) -> String {
    let places = if value.abs() >= 100.0 || value.fract() == 0.0 {
        0
    } else if value.abs() >= 1.0 {
        1
    } else {
        3
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (value, unit, expected) in [
            (1_500.0, "Bps", "1.5 kB/s"),
            (0.25, "percentunit", "25%"),
            (2048.0, "bytes", "2 KiB"),
            (0.012, "s", "12 ms"),
            (1.0, "bool_yes_no", "Yes"),
            (0.0, "none", "0"),
        ] {
            assert_eq!(amount(value, unit), expected);
        }
    }

    #[test]
    fn parts_lie_on_each_other() {
        let line = |value: f64| Line { name: String::new(), points: vec![(1.0, value), (2.0, value)] };
        assert_eq!(stack(&[line(1.0), line(2.0)])[1], [(1.0, 1.0, 3.0), (2.0, 1.0, 3.0)]);
        assert_eq!((nice(3.2, "none"), nice(3.2, "bytes"), nice(30.0, "bytes")), (4.0, 4.0, 32.0));
    }
}
