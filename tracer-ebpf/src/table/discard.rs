//! Payload for which no memory is copied or handed on: thrown away, or made of nothing. What MSG_TRUNC throws away is
//! told by `sys_exit`.

use super::row::{Group, Row, Way, kprobe, optional, other, trampoline};

/// /dev/null, /dev/zero, /dev/full.
pub const ROWS: &[Row] = &[
    discard(
        "null_write",
        "bytes written to /dev/null",
        &[
            trampoline("write_null", 4, &["null_write_fexit"]),
            kprobe("write_null", &["null_write_entry", "null_write_return"]),
        ],
    ),
    discard(
        "null_write_iter",
        "the same by vectors, and by io_uring",
        &[
            trampoline("write_iter_null", 2, &["null_write_iter_fexit"]),
            kprobe("write_iter_null", &["null_write_iter_entry", "null_write_iter_return"]),
        ],
    ),
    discard(
        "null_splice",
        "pages spliced to /dev/null",
        &[
            trampoline("splice_write_null", 5, &["null_splice_fexit"]),
            kprobe("splice_write_null", &["null_splice_entry", "null_splice_return"]),
        ],
    ),
    discard(
        "zero_read",
        "zeroes read from /dev/zero",
        &[
            trampoline("read_zero", 4, &["zero_read_fexit"]),
            kprobe("read_zero", &["zero_read_entry", "zero_read_return"]),
        ],
    ),
    Row {
        covers: &["read_iter_zero"],
        ..discard(
            "zero_read_iter",
            "the same by vectors and by io_uring, and from /dev/full",
            &[
                trampoline("read_iter_zero", 2, &["zero_read_iter_fexit"]),
                kprobe("read_iter_zero", &["zero_read_iter_entry", "zero_read_iter_return"]),
            ],
        )
    },
];

const fn discard(name: &'static str, help: &'static str, ways: &'static [Way]) -> Row {
    optional(other(Group::Reference, name, help, ways))
}
