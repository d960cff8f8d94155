//! MariaDB: a bulk load and a scan, with InnoDB's files opened for direct I/O and through the page cache.

use std::fs;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::disk_trace::DiskTrace;
use tracer_tests::harness::process;
use tracer_tests::harness::programs::batch::{Load, Ready};
use tracer_tests::harness::programs::books::{Books, DISK, Expected, about, exactly};
use tracer_tests::harness::programs::files::{Dir, SIZE};
use tracer_tests::harness::programs::server::{self, Server};

use crate::{Check, program_batch};

struct Variant {
    /// Of `innodb_flush_method`.
    name: &'static str,
    expected: fn(InnoDb) -> Vec<Expected>,
    /// Bytes that the disk must have written, whatever its trace says.
    written: fn(InnoDb) -> u64,
    explanation: &'static str,
}

static VARIANTS: [Variant; 2] = [
    Variant {
        name: "fsync",
        expected: |moved| {
            vec![
                about("read", "to_user", moved.read, OTHER_FILES),
                about("write", "from_user", moved.written, OTHER_FILES),
            ]
        },
        // A page that changes twice goes once.
        written: |_| SIZE as u64,
        explanation: "pread and pwrite copy each byte between InnoDB's buffer pool and the page cache",
    },
    Variant {
        name: "O_DIRECT",
        expected: |moved| {
            vec![
                about("read", "payload_bytes", moved.read, OTHER_FILES),
                about("read", "to_user", 0, OTHER_FILES),
                about("write", "from_user", 0, OTHER_FILES),
                // Less than InnoDB asked for: what was allocated and never written is zeros without the disk.
                exactly(DISK, "read", moved.from_disk),
                about("read", "discarded_bytes", moved.read - moved.from_disk, OTHER_FILES),
            ]
        },
        written: |moved| moved.written + moved.logged,
        explanation: "the disk reads and writes InnoDB's buffer pool itself, past the page cache",
    },
];

/// Table definitions and the like, which the server reads and writes through the page cache.
const OTHER_FILES: u64 = 16 << 10;

/// Small, so that the table does not fit, and with nothing that runs by itself. Without native AIO the
/// transfers are pread and pwrite, which say how much they moved; io_uring does not.
const OPTIONS: &[&str] = &[
    "--no-defaults",
    "--user=root",
    "--skip-networking",
    "--skip-log-bin",
    "--skip-grant-tables",
    "--performance-schema=OFF",
    "--innodb-use-native-aio=OFF",
    "--innodb-buffer-pool-size=6M",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--innodb-log-file-size=4M",
    // The default where the disk's block size is known: the redo log goes past the page cache.
    "--innodb-log-file-buffering=OFF",
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-autoextend-increment=1",
    "--innodb-temp-data-file-path=ibtmp1:4M:autoextend",
    "--innodb-stats-persistent=OFF",
    "--innodb-doublewrite=OFF",
];

const ROW: usize = 1024;

pub fn checks() -> Vec<Check> {
    program_batch(&["mariadb"], start_all, |_| None)
}

fn start_all(bench: &Bench) -> Result<Vec<Ready>> {
    let dir = Dir::new(bench, "mariadb")?;
    VARIANTS.iter().map(|variant| start(&dir, variant)).collect()
}

fn start(dir: &Rc<Dir>, variant: &'static Variant) -> Result<Ready> {
    let mariadb = Mariadb::start(dir, variant.name)?;
    let (pid, dir) = (mariadb.server.pid(), Rc::clone(dir));
    let drive = move || {
        let disk = DiskTrace::start(pid)?;
        let before = mariadb.status()?;
        mariadb.load_and_scan()?;
        server::rest(pid)?;
        let moved = mariadb.status()?.since(before);
        let mut expected = (variant.expected)(moved);
        // Each write to the log is filled up to a whole block of the disk.
        let filling = OTHER_FILES + moved.logged / 100;
        expected.extend([
            about("write", "payload_bytes", moved.written + moved.logged, filling),
            about("recv", "to_user", 0, OTHER_FILES),
            about("send", "from_user", 0, OTHER_FILES),
        ]);
        let known = move |_: &Books| {
            // Not what InnoDB asked for: the page cache has a page that changes twice written once, and where a block
            // of the log was never written, ext4 writes zeros around it.
            let (written, least) = (disk.written()?, (variant.written)(moved));
            ensure!(written >= least, "its trace has {written} bytes written to the disk, {least} are known");
            expected.push(exactly(DISK, "write", written));
            Ok(expected)
        };
        let bytes = moved.read + moved.written;
        Ok(Load { bytes, expected: Box::new(known), keep: Box::new((mariadb, dir)) })
    };
    let (name, explanation) = (variant.name, variant.explanation);
    Ok(Ready { test: "mariadb", program: "MariaDB", variant: name, explanation, pid, drive: Box::new(drive) })
}

/// InnoDB's own count of bytes, and the kernel's of what the process read from disks.
#[derive(Clone, Copy, Debug)]
struct InnoDb {
    read: u64,
    written: u64,
    logged: u64,
    from_disk: u64,
}

impl InnoDb {
    fn since(self, before: InnoDb) -> InnoDb {
        InnoDb {
            read: self.read - before.read,
            written: self.written - before.written,
            logged: self.logged - before.logged,
            from_disk: self.from_disk - before.from_disk,
        }
    }
}

struct Mariadb {
    server: Server,
    socket: String,
}

impl Mariadb {
    /// Without system tables: nothing here needs them, and making them takes a minute.
    fn start(dir: &Dir, method: &str) -> Result<Mariadb> {
        let data = dir.path().join(method);
        fs::create_dir_all(data.join("test"))?;
        let socket = data.join("socket").display().to_string();
        let mut command = Command::new("/usr/sbin/mariadbd");
        command.args(OPTIONS).arg(format!("--innodb-flush-method={method}"));
        command.arg(format!("--datadir={}", data.display())).arg(format!("--socket={socket}"));
        let mut server = Server::start(command, &dir.path().join(format!("{method}.output")))?;
        server.wait_for("MariaDB is ready", |server| {
            server.said().contains("ready for connections").then_some(())
        })?;
        let mariadb = Mariadb { server, socket };
        mariadb.query("create table t (id int primary key, b varbinary(1024)) engine=innodb")?;
        Ok(mariadb)
    }

    fn query(&self, text: &str) -> Result<String> {
        let mut client = Command::new("/usr/bin/mariadb");
        client.args(["--no-defaults", "-N", "-S", &self.socket, "test", "-e", text]);
        let output = client.output().context("cannot start /usr/bin/mariadb")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{text}: {errors}\nthe server said:\n{}", self.server.said());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `SIZE` bytes in rows, written out; then all of them, of which the buffer pool has lost most.
    fn load_and_scan(&self) -> Result<()> {
        let rows = SIZE / ROW;
        self.query(&format!(
            "insert into t select seq, repeat(char(65 + seq % 26), {ROW}) from seq_1_to_{rows}; \
             flush table t for export; unlock tables"
        ))?;
        let sum = self.query("select sum(length(b)) from t")?;
        ensure!(sum.trim() == SIZE.to_string(), "the scan found {sum} of {SIZE} bytes");
        Ok(())
    }

    fn status(&self) -> Result<InnoDb> {
        let one = |name: &str| -> Result<u64> {
            let line = self.query(&format!("show global status like '{name}'"))?;
            let value = line.split_whitespace().nth(1).with_context(|| format!("no {name}"))?;
            Ok(value.parse()?)
        };
        Ok(InnoDb {
            read: one("Innodb_data_read")?,
            written: one("Innodb_data_written")?,
            logged: one("Innodb_os_log_written")?,
            from_disk: process::read_from_disk(self.server.pid())?,
        })
    }
}
