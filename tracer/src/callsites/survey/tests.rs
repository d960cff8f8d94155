use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use tracer_ebpf::table::{ROWS, caller_class};

use super::*;

#[test]
fn what_a_row_counts_is_in_the_row() {
    for entry in entries() {
        let Status::Rows(names) = entry.status else { continue };
        let rows: Vec<_> = names
            .iter()
            .map(|name| ROWS.iter().find(|row| row.name == *name).unwrap_or_else(|| panic!("no row {name}")))
            .collect();
        for function in entry.functions {
            let is_of = |name: &str| {
                rows.iter()
                    .any(|row| row.covers.contains(&name) || row.ways.iter().any(|way| way.symbol == name))
            };
            let by_caller = caller_class(entry.by, function).is_some();
            assert!(is_of(function) || is_of(entry.by) || by_caller, "{function} is in none of {names:?}");
        }
    }
}

#[test]
fn entries_are_told_apart_and_name_their_kernels() {
    let mut seen = BTreeSet::new();
    for entry in entries() {
        assert!(seen.insert(entry.what), "{} is there twice", entry.what);
        assert!(!entry.kernels.is_empty(), "{}", entry.what);
        assert!(entry.inlined.iter().all(|kernel| entry.kernels.contains(kernel)), "{}", entry.what);
        assert_eq!(entry.functions.is_empty(), entry.by.is_empty(), "{}", entry.what);
    }
}

/// A machine made of files, below a directory of the test's own.
struct Made(PathBuf);

impl Made {
    fn new(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("tracer-survey-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("sys/block")).expect("a directory");
        Made(root)
    }

    fn has(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn watch(&self) -> Watch {
        Watch::new(&self.0)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// As /sys/block/DISK/stat has it.
fn stat(read: u64, written: u64) -> String {
    format!(
        "       1        0 {read}        0        1        0 {written}        0        0        0        0\n"
    )
}

fn reasons(watch: &Watch) -> String {
    watch.reasons().join("\n")
}

#[test]
fn a_machine_without_them_is_complete() {
    let made = Made::new("without");
    made.has("sys/block/vda/stat", &stat(100, 100));
    made.has("sys/block/zram/stat", &stat(100, 100));
    made.has("sys/block/md0/stat", &stat(100, 100));
    made.has("sys/block/md0/md/level", "raid1\n");
    made.has("sys/module/dm_integrity/refcnt", "0\n");
    made.has("proc/net/protocols", "protocol size sockets\nXDP 1 0 -1\nTCP 1 9 -1\n");
    made.has("proc/net/sctp/assocs", " ASSOC     SOCK\n");
    assert_eq!(reasons(&made.watch()), "");
    let present = made.watch().present();
    let names: Vec<&str> = present.iter().map(|(entry, _)| entry.place()).collect();
    assert_eq!(names, ["__journal_read_write", "__xsk_rcv", "sctp_packet_transmit"], "told, but not in use");
    assert!(present.iter().all(|(_, used)| !used));
}

#[test]
fn disks_count_by_what_moved_since_counting_began() {
    let made = Made::new("disks");
    made.has("sys/block/zram0/stat", &stat(8, 0));
    let mut watch = made.watch();
    assert!(reasons(&watch).contains("zram"), "since boot");
    watch.begin();
    assert_eq!(reasons(&watch), "");
    made.has("sys/block/zram0/stat", &stat(8, 16));
    assert!(reasons(&watch).contains("zram"));
    made.has("proc/swaps", "Filename Type\n/dev/zram0 partition 1 0 100\n");
    assert_eq!(reasons(&watch), "", "a swap device moves no payload");

    made.has("sys/block/md0/stat", &stat(0, 0));
    made.has("sys/block/md0/md/level", "raid5\n");
    watch.begin();
    made.has("sys/block/md0/stat", &stat(80, 0));
    assert_eq!(reasons(&watch), "", "reads go by the cache");
    made.has("sys/block/md0/stat", &stat(80, 8));
    assert!(reasons(&watch).contains("RAID 4, 5 and 6"));
}

#[test]
fn what_was_in_use_stays_known() {
    let made = Made::new("met");
    let protocols = |sockets: u32| {
        made.has("proc/net/protocols", &format!("protocol size sockets\nXDP 1 {sockets} -1\n"))
    };
    protocols(0);
    let mut watch = made.watch();
    watch.begin();
    protocols(2);
    watch.look();
    protocols(0);
    assert!(reasons(&watch).contains("AF_XDP"), "{}", reasons(&watch));
    watch.begin();
    assert_eq!(reasons(&watch), "");
}

#[test]
fn mounts_and_modules_are_used_while_they_are_there() {
    let made = Made::new("mounts");
    made.has("proc/filesystems", "nodev\tsysfs\n\taffs\n");
    let mounts = |lines: &str| made.has("proc/self/mountinfo", lines);
    mounts("22 1 254:1 / / rw - ext4 /dev/vda1 rw\n");
    let mut watch = made.watch();
    watch.begin();
    assert_eq!(reasons(&watch), "");
    mounts("22 1 254:1 / / rw - ext4 /dev/vda1 rw\n30 22 7:0 / /mnt rw shared:1 - affs /dev/loop0 rw\n");
    assert!(reasons(&watch).contains("affs"), "no disk tells: a mount is a use");
    made.has("sys/dev/block/7:0/stat", &stat(8, 0));
    watch.begin();
    assert_eq!(reasons(&watch), "", "nothing was read since");
    made.has("sys/dev/block/7:0/stat", &stat(16, 0));
    assert!(reasons(&watch).contains("affs"));

    made.has("sys/module/rdma_rxe/refcnt", "1\n");
    assert!(reasons(&watch).contains("rxe"));
}

#[test]
fn what_cannot_be_read_is_not_taken_for_absent() {
    let made = Made::new("unread");
    for file in ["proc/filesystems", "proc/self/mountinfo", "proc/net/protocols"] {
        made.has(file, "");
    }
    let module = made.0.join("sys/module");
    assert_eq!(made.watch().unread(), [module.display().to_string()]);
    fs::create_dir_all(module).expect("a directory");
    assert!(made.watch().unread().is_empty());
}
