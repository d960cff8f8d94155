//! The shapes of the pictures: which arrows a mechanism has, and what is written on them.

use super::measured::Field;

/// A box of the picture. Two of them are named by the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    Disk,
    Cache,
    User,
    /// Where the bytes go in the kernel: a socket buffer, a pipe, another page cache.
    Third,
    /// Where they go from there.
    Last,
}

impl Node {
    pub const ALL: [Node; 5] = [Node::Disk, Node::Cache, Node::User, Node::Third, Node::Last];
}

/// What an arrow, or a box's note, tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// So many copies per byte by the CPU; none is "by reference".
    Cpu(Field),
    /// So many bytes per byte by a device.
    Dma(Field),
    /// From the disk if this run has one in its way, else "cached".
    Disk,
    /// To the NIC if this run has one, else to the receiver by the CPU.
    Out,
    /// The same on every kernel, and no copy.
    Fixed(&'static str),
}

#[derive(Debug)]
pub struct Edge {
    pub from: Node,
    pub to: Node,
    pub by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    None,
    /// The bytes that the cipher went over.
    Cipher,
    /// Copies that were put off.
    AfterAll,
}

#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    pub cache: &'static str,
    pub third: &'static str,
    pub last: &'static str,
    pub edges: &'static [Edge],
    /// Below the third box.
    pub note: Note,
}

const fn edge(from: Node, to: Node, by: By) -> Edge {
    Edge { from, to, by }
}

const FROM_DISK: Edge = edge(Node::Disk, Node::Cache, By::Disk);
const READ: Edge = edge(Node::Cache, Node::User, By::Cpu(Field::ToUser));
const WRITTEN: Edge = edge(Node::User, Node::Third, By::Cpu(Field::FromUser));
const MAPPED: Edge = edge(Node::Cache, Node::User, By::Fixed("mapped"));
const HANDED_ON: Edge = edge(Node::Cache, Node::Third, By::Cpu(Field::InKernel));
const LENT: Edge = edge(Node::User, Node::Third, By::Fixed("by reference"));
const OUT: Edge = edge(Node::Third, Node::Last, By::Out);
const TAKEN: Edge = edge(Node::Third, Node::Last, By::Cpu(Field::Receiver));
const LATER: Edge = edge(Node::Third, Node::Last, By::Fixed("written later"));

const READER: &str = "Reader's buffer";

const SHAPE: Shape =
    Shape { name: "", cache: "Page cache", third: "", last: "", edges: &[], note: Note::None };
/// `last` is named by what the run has.
const SOCKET: Shape = Shape { third: "Socket buffer", ..SHAPE };
const TLS: Shape = Shape { third: "TLS record", note: Note::Cipher, ..SHAPE };
const FILE: Shape = Shape { third: "Page cache (copy)", last: "Disk", ..SHAPE };
const PIPE: Shape = Shape { third: "Pipe", last: READER, ..SHAPE };

const SHAPES: &[Shape] = &[
    Shape { name: "buffer-to-socket", edges: &[FROM_DISK, READ, WRITTEN, OUT], ..SOCKET },
    Shape { name: "mapped-to-socket", edges: &[FROM_DISK, MAPPED, WRITTEN, OUT], ..SOCKET },
    Shape { name: "cache-to-socket", edges: &[FROM_DISK, HANDED_ON, OUT], ..SOCKET },
    Shape { name: "memory-to-socket", edges: &[LENT, OUT], note: Note::AfterAll, ..SOCKET },
    Shape { name: "buffer-to-tls", edges: &[FROM_DISK, READ, WRITTEN, OUT], ..TLS },
    Shape { name: "cache-to-tls", edges: &[FROM_DISK, HANDED_ON, OUT], ..TLS },
    Shape { name: "buffer-to-file", edges: &[FROM_DISK, READ, WRITTEN, LATER], ..FILE },
    Shape { name: "cache-to-file", edges: &[FROM_DISK, HANDED_ON, LATER], ..FILE },
    Shape {
        name: "memory-to-file",
        edges: &[edge(Node::User, Node::Third, By::Cpu(Field::InKernel)), LATER],
        ..FILE
    },
    Shape { name: "buffer-to-pipe", edges: &[FROM_DISK, READ, WRITTEN, TAKEN], ..PIPE },
    Shape { name: "cache-to-pipe", edges: &[FROM_DISK, HANDED_ON, TAKEN], ..PIPE },
    Shape {
        name: "pipe-to-memory",
        edges: &[FROM_DISK, HANDED_ON, edge(Node::Third, Node::User, By::Cpu(Field::ToUser))],
        ..PIPE
    },
    Shape {
        name: "tee",
        last: "Second pipe",
        edges: &[FROM_DISK, HANDED_ON, edge(Node::Third, Node::Last, By::Cpu(Field::InKernel))],
        ..PIPE
    },
    Shape {
        name: "direct",
        last: "Disk",
        edges: &[
            edge(Node::Disk, Node::User, By::Dma(Field::DiskRead)),
            edge(Node::User, Node::Last, By::Dma(Field::DiskWrite)),
        ],
        ..SOCKET
    },
    Shape { name: "pages", cache: "Shared page", third: "Page of its own", edges: &[HANDED_ON], ..SHAPE },
];

pub fn find(name: &str) -> Option<&'static Shape> {
    SHAPES.iter().find(|shape| shape.name == name)
}

impl Shape {
    /// Its last box is memory of another process: so it is on loopback, if no other is named.
    pub fn last_is_process(&self) -> bool {
        self.last.is_empty() || self.last == READER
    }

    pub fn uses(&self, node: Node) -> bool {
        self.edges.iter().any(|edge| edge.from == node || edge.to == node)
    }
}
