//! The command line as a user meets it, as far as it needs no BPF: one clear message, the documented exit
//! status, no panic.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn tracer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tracer")).args(arguments).output().expect("tracer starts")
}

/// Runs it; the status must be this one, and standard error must say all of these words.
fn refused(arguments: &[&str], status: i32, said: &[&str]) {
    let output = tracer(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
    for words in said {
        assert!(error.contains(words), "{arguments:?} does not say {words:?}: {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed {:?}", String::from_utf8_lossy(&output.stdout));
    let lines = error.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 6, "{arguments:?}: {lines} lines are not one message: {error}");
}

fn own_pid() -> String {
    std::process::id().to_string()
}

#[test]
fn pids_that_are_none() {
    for bad in ["0", "-1", "999999999", "4194305"] {
        refused(&["--pid", bad], 2, &[bad, "1 to 4194304"]);
        refused(&["audit", "--pid", bad], 2, &[bad, "1 to 4194304"]);
    }
    refused(&["--pid", "abc"], 2, &["abc", "pgrep"]);
    refused(&["--pid", ""], 2, &["a number is needed"]);
    refused(&["--pid"], 2, &["--pid <PID>"]);
}

#[test]
fn processes_that_cannot_be_counted() {
    let mut gone = Command::new("true").spawn().expect("true");
    let pid = gone.id().to_string();
    gone.wait().expect("ended");
    refused(&["--pid", &pid], 1, &["no process", &pid, "ps -e"]);
    // One that is there does not make up for one that is not.
    refused(&["--pid", &own_pid(), "--pid", &pid], 1, &["no process", &pid]);

    let mut zombie = Command::new("true").spawn().expect("true");
    // Its files are closed before it is one, so that their end would not tell.
    let stat = format!("/proc/{}/stat", zombie.id());
    while !std::fs::read_to_string(&stat).expect("not yet waited for").contains(") Z ") {
        std::thread::yield_now();
    }
    refused(&["--pid", &zombie.id().to_string()], 1, &["has ended already", "zombie", &own_pid()]);
    zombie.wait().expect("reaped");
}

#[test]
fn a_thread_is_not_a_process() {
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let link = std::fs::read_link("/proc/thread-self").expect("proc is mounted");
        tell.send(link.file_name().expect("a tid").to_string_lossy().into_owned()).expect("waited for");
        let _ = ended.recv();
    });
    let tid = told.recv().expect("the thread's id");
    let own = own_pid();
    refused(&["--pid", &tid], 1, &["is a thread", &format!("tracer --pid {own}")]);
    drop(end);
    thread.join().expect("no panic");
}

#[test]
fn selections_that_find_nothing() {
    refused(&[], 2, &["nothing to count", "--pid PID", "tracer run -- CMD"]);
    refused(&["--children"], 2, &["nothing to count"]);
    refused(&["--comm", "no-such-name"], 1, &["no process is called", "ps -e"]);
    refused(&["--comm", "a-name-of-twenty-bytes"], 1, &["--comm 'a-name-of-twent'"]);
    refused(&["--cgroup", "/no/such/cgroup"], 1, &["no cgroup /no/such/cgroup", "/proc/PID/cgroup"]);
    refused(&["--comm", "\x1b[2J\n"], 1, &[r"\u{1b}[2J\n"]);
}

#[test]
fn times_that_are_none() {
    let own = own_pid();
    for option in ["--duration", "--interval"] {
        for (bad, why) in [
            ("0", "more than 0"),
            ("0s", "more than 0"),
            ("-5s", option),
            ("5", "10s, 500ms or 2m"),
            ("soon", "10s, 500ms or 2m"),
            ("1000000000000000000000s", "10s, 500ms or 2m"),
            ("400d", "at most a year"),
        ] {
            refused(&["--pid", &own, option, bad], 2, &[option, why]);
        }
    }
    refused(&["--pid", &own, "--interval", "1ms"], 2, &["at least 10ms"]);
    refused(&["audit", "--pid", &own, "--duration", "0"], 2, &["more than 0"]);
}

#[test]
fn addresses_that_cannot_be_served() {
    let own = own_pid();
    for bad in ["", "x", "127.0.0.1", "127.0.0.1:99999", "[::1]:x"] {
        refused(&["--pid", &own, "--listen", bad], 2, &["--listen", "is not a port", "127.0.0.1:9435"]);
    }
    refused(&["--pid", &own, "--listen", "::1:9435"], 2, &["brackets"]);
    refused(&["--pid", &own, "--listen", "no-such-host.invalid:1"], 1, &["is not known"]);
    // Documentation's own network, which no machine has (RFC 5737).
    refused(&["--pid", &own, "--listen", "192.0.2.1:9435"], 1, &["192.0.2.1:9435", "ip addr"]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    refused(&["--pid", &own, "--listen", &address], 1, &[&address, "in use", "ss -ltnp"]);
}

#[test]
fn words_that_are_no_commands() {
    refused(&["bogus"], 2, &["bogus"]);
    refused(&["--bogus"], 2, &["--bogus"]);
    refused(&["--pid", &own_pid(), "--attach", "magic"], 2, &["magic", "fentry"]);
    refused(&["--pid", &own_pid(), "--format", "xml"], 2, &["xml", "json"]);
    refused(&["--pid", &own_pid(), "run", "--", "true"], 2, &["run"]);
    refused(&["run"], 2, &["CMD"]);
    refused(&["audit"], 2, &["--pid"]);
}

#[test]
fn every_help_says_what_is_seen() {
    for (command, words) in [
        (&["--help"][..], &["What is traced", "By which probes", "What cannot be seen", "Exit status"][..]),
        (&["run", "--help"], &["What is traced", "Exit status", "127"]),
        (&["doctor", "--help"], &["What it does", "What it cannot see", "Exit status"]),
        (&["audit", "--help"], &["What is traced", "What it cannot see", "Exit status"]),
        (&["probes", "--help"], &["doctor", "Exit status"]),
        (&["-h"], &["tracer --help"]),
        (&["--version"], &["tracer 0.", "rustc 1.", "x86_64"]),
    ] {
        let output = tracer(command);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        for word in words {
            assert!(text.contains(word), "{command:?} lacks {word:?}:\n{text}");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [&["probes"][..], &["probes", "--format", "json"], &["--help"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tracer"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tracer starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Standard error closed as well: no panic, the same status.
#[test]
fn nobody_hears_the_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["--comm", "no-such-name"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("tracer starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

#[test]
fn the_daemon_refuses_wrong_configurations_before_it_attaches() {
    let dir = std::env::temp_dir().join(format!("tracer-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let config = file("config.yml", "version: 3\ngroup_by: [exe]\n");
    refused(
        &["serve", "--config", &config],
        2,
        &["config.yml:1: version 3", "config.yml:2: unknown dimension"],
    );
    let web = file("web.yml", "basic_auth_users: {alice: secret}\n");
    refused(
        &["serve", "--web.config.file", &web],
        2,
        &["web.yml:1: the password of `alice` is no bcrypt hash"],
    );
    for (option, value, said) in [
        ("--config", "/nonexistent", "cannot read /nonexistent"),
        ("--web.config.file", "/nonexistent", "cannot read /nonexistent"),
        ("--group-by", "exe", "possible values: pid, comm"),
        ("--max-series", "3", "at least 500"),
        ("--comm", "", "matches nothing"),
        ("--listen", "x", "is not a port"),
    ] {
        refused(&["serve", option, value], 2, &[said]);
    }
    std::fs::remove_dir_all(&dir).expect("removed");
}
