//! What has one door: only one room of `tracer/src` uses it. Exceptions are named, each with its reason.

use std::collections::BTreeSet;

use super::imports::{Module, Modules};

struct Door {
    /// The room; first in the path of its modules.
    room: &'static str,
    what: What,
    exceptions: &'static [(&'static str, &'static str)],
}

enum What {
    /// A crate with this name.
    Crate(&'static str),
    /// Files whose path begins so.
    Files(&'static [&'static str]),
}

const DOORS: &[Door] = &[
    Door {
        room: "probes",
        what: What::Crate("aya"),
        exceptions: &[("session::everyone", "to be moved: a slot that is taken by nobody else")],
    },
    Door {
        room: "sys",
        what: What::Crate("libc"),
        exceptions: &[
            ("callsites::coverage::untraceable", "a number of errno"),
            ("check::run::calibrate", "to be moved: a socket pair and its buffers"),
            ("check::run::child", "to be moved: fork, process groups, limits"),
            ("check::run::plan", "numbers of signals"),
            ("check::run::supervisor", "to be moved: a subreaper, and what ends with it"),
            ("cli::commands::live", "a number of errno"),
            ("cli::commands::run", "to be moved: exec, and the status of what ended"),
            ("kernel::process", "a number of errno"),
            ("probes::attach_error", "numbers of errno"),
            ("session::everyone", "a number of errno"),
        ],
    },
    Door {
        room: "kernel",
        what: What::Files(&["/proc/", "/sys/"]),
        exceptions: &[
            ("callsites::coverage::modules", "to be moved: the list of modules"),
            ("callsites::kcore", "to be moved: the live text"),
            ("callsites::survey::sockets", "names in a table"),
            ("check::run::calibrate", "to be moved: what the kernel says of its own transfers"),
            ("check::run::child", "to be moved: the descriptors of a child"),
            ("cli::commands::check", "to be moved: whether it is the kernel's own file"),
            ("cli::commands::doctor", "to be moved: settings that it shows"),
            ("output::self_stat", "to be moved: this process's own numbers"),
            ("probes::links", "to be moved: the state of ftrace"),
            ("serve::cgroup_paths", "to be moved: the tree of cgroups"),
            ("serve::collector", "to be moved: names of processes"),
            ("session::begun", "to be moved: threads in a call"),
            ("session::workers", "to be moved: whether vhost is loaded"),
            ("sys", "/proc/self/fd"),
            ("sys::leave", "/proc/self/fd"),
            ("sys::sandbox", "the files that the sandbox leaves readable"),
        ],
    },
];

/// Uses of a crate or file outside of its room, and exceptions that are none any more.
pub fn violations(modules: &Modules) -> Vec<String> {
    DOORS.iter().flat_map(|door| door.violations(modules)).collect()
}

impl Door {
    fn violations(&self, modules: &Modules) -> Vec<String> {
        let outside = modules.iter().filter(|(at, _)| at.first().is_some_and(|room| room != self.room));
        let using: BTreeSet<String> =
            outside.filter(|(_, module)| self.what.is_used(module)).map(|(at, _)| at.join("::")).collect();
        let excepted = |name: &String| self.exceptions.iter().any(|(known, _)| known == name);
        let (what, room) = (self.what.name(), self.room);
        let wrong = using.iter().filter(|name| !excepted(name));
        let wrong = wrong.map(|name| format!("{name} uses {what}, whose door is `{room}`"));
        let idle = self.exceptions.iter().filter(|(known, _)| !using.contains(*known));
        let idle =
            idle.map(|(known, _)| format!("xtask/src/tidy/doors.rs: {known} does not use {what} any more"));
        wrong.chain(idle).collect()
    }
}

impl What {
    fn is_used(&self, module: &Module) -> bool {
        match self {
            What::Crate(name) => module.paths.iter().any(|path| path[0] == *name),
            What::Files(starts) => {
                module.texts.iter().any(|text| starts.iter().any(|start| text.starts_with(start)))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            What::Crate(name) => format!("{name}::"),
            What::Files(starts) => starts.join(" and "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(path: &str, text: &str) -> Modules {
        let words = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
        let module =
            Module { paths: [words(path)].into(), texts: [text.to_owned()].into(), ..Module::default() };
        [(words("check::run"), module)].into()
    }

    #[test]
    fn each_door_is_held() {
        let door = |what, exceptions| Door { room: "sys", what, exceptions };
        let by_crate = door(What::Crate("libc"), &[]);
        assert_eq!(by_crate.violations(&modules("libc::kill", "")).len(), 1);
        assert!(by_crate.violations(&modules("libcrypto::kill", "")).is_empty());
        let by_file = door(What::Files(&["/proc/"]), &[]);
        assert_eq!(by_file.violations(&modules("a::b", "/proc/self/fd")).len(), 1);
        assert!(by_file.violations(&modules("a::b", "see /proc/self/fd")).is_empty());
    }

    #[test]
    fn an_exception_that_is_none_is_a_problem() {
        let door = Door { room: "sys", what: What::Crate("libc"), exceptions: &[("check::run", "reason")] };
        assert!(door.violations(&modules("libc::kill", "")).is_empty());
        assert_eq!(door.violations(&modules("a::b", "")).len(), 1);
    }
}
