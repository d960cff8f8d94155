//! The picture of a row: disk, page cache, user buffer, socket buffer, NIC, and on each arrow who moves the
//! bytes and how often. An SVG of its own, readable on light and on dark.

use svg::Document;
use svg::node::element::{Definitions, Line as Stroke, Marker, Path, Rectangle, Style, Text, Title};

use super::measured::{Field, Figure, Line, by_kernel};
use super::rows::{Hop, Row};
use super::shape::{By, Edge, Node, Note, Shape};

const WIDTH: i32 = 940;
const HEIGHT: i32 = 320;
/// Height of the two rows of boxes.
const USER: i32 = 88;
const KERNEL: i32 = 206;
/// Between them.
const RULE: i32 = 140;
/// Half of a box.
const HALF: (i32, i32) = (72, 24);
const LEADING: i32 = 16;

/// Colours of both modes have at least 4.5 to 1 of contrast with the ground. Light without a rule, so that a
/// renderer without media queries draws that.
const STYLE: &str = "
text{font-family:system-ui,-apple-system,Helvetica,Arial,sans-serif;font-size:13px;fill:#1f2328}
.title{font-size:16px;font-weight:600}
.name{font-weight:600}
.ground{fill:#ffffff}
.box{fill:#f6f8fa;stroke:#1f2328;stroke-width:1.5}
.aside{fill:#ffffff;stroke:#8c959f;stroke-width:1.5;stroke-dasharray:3 3}
.faint{fill:#6e7781}
.rule{stroke:#8c959f;stroke-dasharray:2 4}
.way{stroke-width:2.5}
.label{stroke:#ffffff;stroke-width:5px;paint-order:stroke;stroke-linejoin:round}
.cpu{stroke:#b35900}.dma{stroke:#0550ae}.free{stroke:#57606a;stroke-dasharray:6 4}
.cpu-tip{fill:#b35900}.dma-tip{fill:#0550ae}.free-tip{fill:#57606a}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.ground{fill:#0d1117}
.box{fill:#161b22;stroke:#e6edf3}
.aside{fill:#0d1117;stroke:#8b949e}
.faint{fill:#8b949e}
.rule{stroke:#8b949e}
.label{stroke:#0d1117}
.cpu{stroke:#ffa657}.dma{stroke:#79c0ff}.free{stroke:#9ea7b3}
.cpu-tip{fill:#ffa657}.dma-tip{fill:#79c0ff}.free-tip{fill:#9ea7b3}
}
";

/// The colour of an arrow: who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cpu,
    Dma,
    /// Nobody: nothing is moved there, or nothing is known.
    Free,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Kind::Cpu => "cpu",
            Kind::Dma => "dma",
            Kind::Free => "free",
        }
    }

    /// For what is filled and not drawn: words and tips.
    fn fill(self) -> &'static str {
        match self {
            Kind::Cpu => "cpu-tip",
            Kind::Dma => "dma-tip",
            Kind::Free => "free-tip",
        }
    }
}

/// None if the row has no picture, or no kernel has the row.
pub fn draw(row: &Row, shape: &Shape, lines: &[&Line]) -> Option<String> {
    let lines: Vec<&Line> = lines.iter().copied().filter(|line| line.worker.is_some()).collect();
    if lines.is_empty() {
        return None;
    }
    let kernels: Vec<&str> = lines.iter().map(|line| line.kernel.as_str()).collect();
    let below = format!("copies per byte, measured on Linux {}", kernels.join(", "));
    let mut document = Document::new()
        .set("viewBox", (0, 0, WIDTH, HEIGHT))
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("role", "img")
        .add(Title::new(format!("{}: {below}", row.title)))
        .add(Style::new(STYLE))
        .add(tips())
        .add(Rectangle::new().set("class", "ground").set("width", WIDTH).set("height", HEIGHT).set("rx", 8))
        .add(text(20, 28, "title", "start", &row.title))
        .add(text(20, 47, "faint", "start", &below));
    document = document
        .add(
            Stroke::new()
                .set("class", "rule")
                .set("x1", 20)
                .set("x2", WIDTH - 20)
                .set("y1", RULE)
                .set("y2", RULE),
        )
        .add(text(20, RULE - 8, "faint", "start", "user space"))
        .add(text(20, RULE + 16, "faint", "start", "kernel"));
    for node in Node::ALL {
        document = boxed(document, row, shape, node);
    }
    for edge in shape.edges {
        document = arrow(document, row, shape, edge, &lines);
    }
    let (kind, notes) = note(shape.note, &lines);
    let (x, y) = place(row, shape, Node::Third);
    for (index, line) in (0..).zip(notes) {
        document = document.add(text(x, y + HALF.1 + 30 + LEADING * index, kind.fill(), "middle", &line));
    }
    Some(format!("{}\n", legend(document)))
}

fn text(x: i32, y: i32, class: &str, anchor: &str, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("class", class).set("text-anchor", anchor)
}

fn tips() -> Definitions {
    [Kind::Cpu, Kind::Dma, Kind::Free].into_iter().fold(Definitions::new(), |definitions, kind| {
        let tip = Path::new().set("d", "M0,0 L9,4.5 L0,9 z").set("class", kind.fill());
        definitions.add(
            Marker::new()
                .set("id", kind.class())
                .set("markerWidth", 9)
                .set("markerHeight", 9)
                .set("refX", 8)
                .set("refY", 4.5)
                .set("markerUnits", "userSpaceOnUse")
                .set("orient", "auto")
                .add(tip),
        )
    })
}

/// The middle of a box.
fn place(row: &Row, shape: &Shape, node: Node) -> (i32, i32) {
    // With two boxes there is no reason to be far apart.
    let shift = if shape.uses(Node::Disk) || shape.uses(Node::Last) { 0 } else { 20 };
    match node {
        Node::Disk => (100, KERNEL),
        Node::Cache => (340 + shift, KERNEL),
        Node::User => (470, USER),
        Node::Third => (600 - shift, KERNEL),
        // A process has its buffer in user space, a device has none there.
        Node::Last if shape.last.is_empty() && row.has(Hop::Nic) => (840, KERNEL),
        Node::Last => (840, if shape.last_is_process() { USER } else { KERNEL }),
    }
}

fn name<'a>(row: &Row, shape: &'a Shape, node: Node) -> &'a str {
    match node {
        Node::Disk => "Disk",
        Node::Cache => shape.cache,
        Node::User => "User buffer",
        Node::Third => shape.third,
        Node::Last if !shape.last.is_empty() => shape.last,
        Node::Last if row.has(Hop::Nic) => "NIC",
        Node::Last => "Receiver's buffer",
    }
}

/// A box; one that the mechanism leaves out is faint, or not there if it would say nothing.
fn boxed(document: Document, row: &Row, shape: &Shape, node: Node) -> Document {
    let used = shape.uses(node);
    let bypassed = matches!(node, Node::User | Node::Cache) && shape.name != "pages";
    if !(used || bypassed) {
        return document;
    }
    let (x, y) = place(row, shape, node);
    let (outline, words) = if used { ("box", "name") } else { ("aside", "name faint") };
    document
        .add(
            Rectangle::new()
                .set("class", outline)
                .set("x", x - HALF.0)
                .set("y", y - HALF.1)
                .set("width", 2 * HALF.0)
                .set("height", 2 * HALF.1)
                .set("rx", 6),
        )
        .add(text(x, y + 5, words, "middle", name(row, shape, node)))
}

fn arrow(document: Document, row: &Row, shape: &Shape, edge: &Edge, lines: &[&Line]) -> Document {
    let (kind, labels) = label(row, edge.by, lines);
    let (from, to) = ends(row, shape, edge);
    let (class, words) = (kind.class(), format!("{} label", kind.fill()));
    let (middle_x, middle_y) = ((from.0 + to.0) / 2, (from.1 + to.1) / 2);
    let height = LEADING * (labels.len() as i32 - 1);
    // Along a level arrow the words are below it; beside a slanting one they are on its outer side.
    let (x, y, anchor) = match (from.1 == to.1, from.0.min(to.0) < 400) {
        (true, _) => (middle_x, middle_y + 18, "middle"),
        (false, true) => (middle_x - 12, middle_y - height, "end"),
        // Below one that rises.
        (false, false) if (to.1 < from.1) == (from.0 < to.0) => (middle_x + 12, middle_y + 14, "start"),
        (false, false) => (middle_x + 12, middle_y - height, "start"),
    };
    let stroke = Stroke::new()
        .set("class", format!("way {class}"))
        .set("x1", from.0)
        .set("y1", from.1)
        .set("x2", to.0)
        .set("y2", to.1)
        .set("marker-end", format!("url(#{class})"));
    let document = document.add(stroke);
    (0..).zip(labels).fold(document, |document, (index, label)| {
        document.add(text(x, y + LEADING * index, &words, anchor, &label))
    })
}

/// Where an arrow leaves and arrives: at the sides on one level, else above, below, or from far to the side.
fn ends(row: &Row, shape: &Shape, edge: &Edge) -> ((i32, i32), (i32, i32)) {
    let (from, to) = (place(row, shape, edge.from), place(row, shape, edge.to));
    if from.1 == to.1 {
        return ((from.0 + HALF.0, from.1), (to.0 - HALF.0, to.1));
    }
    let end = |at: (i32, i32), other: (i32, i32)| {
        let (distance, toward) = ((other.0 - at.0).abs(), (other.0 - at.0).signum());
        match at.1 {
            USER if distance > 200 => (at.0 + toward * HALF.0, at.1),
            USER => (at.0 + toward * 40, at.1 + HALF.1),
            _ => (at.0 + toward * 24, at.1 - HALF.1),
        }
    };
    (end(from, to), end(to, from))
}

fn label(row: &Row, by: By, lines: &[&Line]) -> (Kind, Vec<String>) {
    match by {
        By::Fixed(words) => (Kind::Free, vec![words.into(), "0 copies".into()]),
        By::Cpu(field) => cpu(field, lines),
        By::Dma(field) => dma(field, lines),
        By::Disk if row.has(Hop::Disk) => dma(Field::DiskRead, lines),
        By::Disk => (Kind::Free, vec!["cached".into(), "before".into()]),
        By::Out if row.has(Hop::Nic) => dma(Field::Sent, lines),
        By::Out => cpu(Field::Receiver, lines),
    }
}

fn cpu(field: Field, lines: &[&Line]) -> (Kind, Vec<String>) {
    let figures: Vec<(&str, Figure)> =
        lines.iter().map(|line| (line.kernel.as_str(), line.figure(field))).collect();
    if figures.iter().all(|(_, figure)| figure.is_zero()) {
        return (Kind::Free, vec!["by reference".into(), "0 copies".into()]);
    }
    (Kind::Cpu, stacked(&figures, |figure| format!("CPU {figure}")))
}

fn dma(field: Field, lines: &[&Line]) -> (Kind, Vec<String>) {
    let figures: Vec<(&str, Figure)> =
        lines.iter().map(|line| (line.kernel.as_str(), line.figure(field))).collect();
    if figures.iter().all(|(_, figure)| *figure == Figure::NotMeasured) {
        return (Kind::Free, vec!["DMA".into(), "not measured".into()]);
    }
    let kind = if figures.iter().all(|(_, figure)| figure.is_zero()) { Kind::Free } else { Kind::Dma };
    (kind, stacked(&figures, |figure| format!("DMA {figure}")))
}

/// One line, or one per group of kernels that agree: `CPU 1 (5.10)`, `CPU 0 (from 6.1)`.
fn stacked(figures: &[(&str, Figure)], say: impl Fn(&Figure) -> String) -> Vec<String> {
    let texts: Vec<(&str, String)> = figures.iter().map(|(kernel, figure)| (*kernel, say(figure))).collect();
    let all: Vec<&str> = figures.iter().map(|(kernel, _)| *kernel).collect();
    let group = |(kernels, text): (String, String)| match kernels.split_once(", ") {
        _ if kernels.is_empty() => text,
        Some((first, _)) if all.join(", ").ends_with(&kernels) => format!("{text} (from {first})"),
        _ => format!("{text} ({kernels})"),
    };
    by_kernel(&texts).into_iter().map(group).collect()
}

fn note(note: Note, lines: &[&Line]) -> (Kind, Vec<String>) {
    let (field, words) = match note {
        Note::None => return (Kind::Free, Vec::new()),
        Note::Cipher => (Field::Cipher, "cipher (CPU, no copy): passes per byte"),
        Note::AfterAll => (Field::InKernel, "copied after all, in softirq: CPU"),
    };
    let figures: Vec<(&str, Figure)> =
        lines.iter().map(|line| (line.kernel.as_str(), line.figure(field))).collect();
    if figures.iter().all(|(_, figure)| figure.is_zero()) {
        return (Kind::Free, Vec::new());
    }
    (Kind::Cpu, stacked(&figures, |figure| format!("{words} {figure}")))
}

fn legend(document: Document) -> Document {
    let entries = [
        (Kind::Cpu, "copied by the CPU, times per byte"),
        (Kind::Dma, "moved by a device, times per byte"),
        (Kind::Free, "not copied, or not measured"),
    ];
    let y = HEIGHT - 22;
    (0..).zip(entries).fold(document, |document, (index, (kind, words))| {
        let x = 20 + index * 300;
        let stroke = Stroke::new().set("class", format!("way {}", kind.class()));
        let stroke = stroke.set("x1", x).set("x2", x + 30).set("y1", y - 4).set("y2", y - 4);
        document.add(stroke).add(text(x + 40, y, "legend", "start", words))
    })
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
