//! A window as the contract's JSON has it (`tracer/1`), read back: live ones and saved ones go this way,
//! so that both are judged by the same numbers.
//!
//! Absent and `null` mean "not observed", never 0. Fields that are not known are skipped: they may be added
//! under `tracer/1`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Deserializer};

use tracer_ebpf::abi::Count;

use crate::model::counts::{Named, Part};

/// What this program writes and fully understands.
pub const SCHEMA: &str = "tracer/1";

/// Larger than any window that tracer writes: 4096 processes are about 10 MB.
const MAX_BYTES: u64 = 256 << 20;

/// One window.
#[derive(Clone, Debug, Deserialize)]
pub struct Recording {
    pub schema: String,
    #[serde(default, deserialize_with = "or_default")]
    pub kernel: String,
    pub started: Option<String>,
    pub window_seconds: Option<f64>,
    #[serde(default, deserialize_with = "or_default")]
    pub observed: Observed,
    #[serde(default, deserialize_with = "or_default")]
    pub coverage: Coverage,
    #[serde(default, deserialize_with = "or_default")]
    pub probes: Vec<Probe>,
    pub lost_events: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub losses: Named,
    pub adds_up: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    pub notes: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub processes: Vec<Process>,
    /// All processes together.
    pub totals: Option<Part>,
    /// Processes that share one row.
    pub overflow: Option<Part>,
    /// Processes that ended long ago, when there were too many to list them.
    pub ended: Option<Ended>,
    /// Which probes counted the copies; written by `tracer check` and `tracer record`.
    #[serde(default, deserialize_with = "or_default")]
    pub sources: Vec<Source>,
    /// What came of the calibration before the window; written by the same.
    pub calibration: Option<Calibration>,
}

/// What could be seen at all. A flag that is absent is false.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Observed {
    #[serde(deserialize_with = "or_default")]
    pub copies: bool,
    #[serde(deserialize_with = "or_default")]
    pub mode_switches: bool,
    #[serde(deserialize_with = "or_default")]
    pub context_switches: bool,
    #[serde(deserialize_with = "or_default")]
    pub device_bytes: bool,
    /// Copies that ended at memory that is not mapped; `None` of earlier versions, which did not look.
    pub cut_short: Option<bool>,
    /// Absent in recordings of versions that did not tell.
    pub references: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Coverage {
    pub state: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub reasons: Vec<String>,
    pub call_sites: Option<Named>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    pub probe: String,
    #[serde(default, deserialize_with = "or_default")]
    pub method: String,
    #[serde(default, deserialize_with = "or_default")]
    pub attached: bool,
    pub missed: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub symbol: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    pub pid: u32,
    #[serde(default, deserialize_with = "or_default")]
    pub comm: String,
    #[serde(default, deserialize_with = "or_default")]
    pub exited: bool,
    #[serde(flatten)]
    pub part: Part,
}

/// Several processes, and no longer which.
#[derive(Clone, Debug, Deserialize)]
pub struct Ended {
    #[serde(default, deserialize_with = "or_default")]
    pub processes: u64,
    #[serde(flatten)]
    pub part: Part,
}

/// Copies that one probe counted.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Source {
    pub probe: String,
    #[serde(default, deserialize_with = "or_default")]
    pub symbol: String,
    #[serde(default, deserialize_with = "or_default")]
    pub copied_bytes: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Calibration {
    pub exact: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub detail: String,
}

/// `null` is absent.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What a file of recordings holds.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The last object: the total.
    pub recording: Recording,
    /// How many there were.
    pub objects: usize,
}

impl Recording {
    /// Reads a file as `--format json` or `tracer record` wrote it.
    pub fn read(path: &Path) -> Result<Saved> {
        let name = path.display();
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
        if bytes.len() as u64 > MAX_BYTES {
            bail!("{name} is larger than {} MiB: not a recording", MAX_BYTES >> 20);
        }
        Self::parse(&bytes).with_context(|| format!("{name} is no recording of tracer"))
    }

    /// The last of one or more objects.
    pub fn parse(bytes: &[u8]) -> Result<Saved> {
        let mut last: Option<Recording> = None;
        let mut objects = 0;
        for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Recording>() {
            let hint = || "a recording is what `tracer record`, or `tracer --pid` and `tracer run` with --format json, write";
            last = Some(value.with_context(hint)?);
            objects += 1;
        }
        let Some(recording) = last else { bail!("it is empty") };
        if !recording.schema.starts_with("tracer/") {
            let schema = crate::fmt::human::label(&recording.schema, 40);
            bail!("its schema is `{schema}`, not {SCHEMA}");
        }
        Ok(Saved { recording, objects })
    }

    /// True if every field means what this program thinks.
    pub fn is_known_schema(&self) -> bool {
        self.schema == SCHEMA
    }

    /// All processes together.
    pub fn everything(&self) -> Part {
        match &self.totals {
            Some(totals) => totals.clone(),
            None => {
                let unnamed = self.overflow.iter().chain(self.ended.iter().map(|ended| &ended.part));
                self.sum(unnamed.chain(self.processes.iter().map(|p| &p.part)))
            }
        }
    }

    /// Processes with this name or pid together; `None` if there is none.
    pub fn processes_called(&self, word: &str) -> Option<Part> {
        let matches = |process: &&Process| process.comm == word || process.pid.to_string() == word;
        let mut found = self.processes.iter().filter(matches).map(|p| &p.part).peekable();
        found.peek()?;
        Some(self.sum(found))
    }

    fn sum<'a>(&self, parts: impl Iterator<Item = &'a Part>) -> Part {
        parts.cloned().reduce(Part::plus).unwrap_or_default()
    }

    /// How many copies of a part, and bytes at most, were counted and not made. Where that is not observed, as far as
    /// the recording tells, nothing of what was counted is sure.
    pub fn cut_short(&self, part: &Part) -> Count {
        if self.observed.cut_short == Some(false) {
            return Count { bytes: u64::MAX, calls: u64::MAX };
        }
        part.cut_short.map_or_else(Count::default, |cut| Count {
            bytes: cut.bytes_at_most.unwrap_or(0),
            calls: cut.copies.unwrap_or(0),
        })
    }

    /// Events known to be missed; `None` if the recording does not tell.
    pub fn missed_events(&self) -> Option<u64> {
        let probes = self.probes.iter().filter_map(|p| p.missed).fold(0, u64::saturating_add);
        // tracer's own sum has those of the probes in it.
        self.lost_events.map(|lost| lost.max(probes))
    }

    /// Events that were counted, but not by process.
    pub fn merged_events(&self) -> u64 {
        self.losses.get("slots_used_up").copied().flatten().unwrap_or(0)
    }

    /// Processes that are in the sums, and no longer listed.
    pub fn unlisted(&self) -> u64 {
        self.ended.as_ref().map_or(0, |ended| ended.processes)
    }

    /// Names of losses that are not 0.
    pub fn losses(&self) -> Vec<String> {
        let named = self.losses.iter().map(|(name, count)| (name, count.unwrap_or(0)));
        let named = named.filter(|(_, count)| *count > 0);
        let probes = self.probes.iter().filter(|p| p.missed.is_some_and(|missed| missed > 0));
        let probes = probes.map(|p| format!("{} of probe {}", p.missed.unwrap_or(0), p.probe));
        named.map(|(name, count)| format!("{count} by {name}")).chain(probes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's sample.
    const SAMPLE: &str = include_str!("../../testdata/sample.json");

    #[test]
    fn the_contracts_sample() {
        let saved = Recording::parse(SAMPLE.as_bytes()).expect("valid");
        let recording = saved.recording;
        assert!(recording.is_known_schema() && recording.observed.copies);
        assert_eq!((recording.kernel.as_str(), recording.missed_events()), ("6.1.0-56-amd64", Some(0)));
        let part = recording.everything();
        let observed = recording.observed;
        assert_eq!(part.payload(Some("sendfile")), Some(1 << 20));
        assert_eq!(part.copied(&observed, Some("sendfile"), None), Some(0));
        assert_eq!(part.switches(None), Some(40));
        assert_eq!(part.control(&observed, Some("to_user")), Some(144));
        assert_eq!(recording.processes_called("nginx").map(|p| p.calls(None)), Some(Some(16)));
        assert!(recording.processes_called("1234").is_some());
        assert!(recording.processes_called("httpd").is_none());
    }

    #[test]
    fn the_last_object_counts() {
        let two = format!("{SAMPLE}\n{}", SAMPLE.replace("6.1.0", "6.2.0"));
        let saved = Recording::parse(two.as_bytes()).expect("valid");
        assert_eq!((saved.objects, saved.recording.kernel.as_str()), (2, "6.2.0-56-amd64"));
    }

    #[test]
    fn absent_and_null_are_not_observed() {
        let text = r#"{"schema":"tracer/1","observed":{"copies":true,"mode_switches":null},"coverage":null,
            "probes":null,"new_field":[1],"processes":[{"pid":1,"paths":{"read":{"calls":null}}}]}"#;
        let recording = Recording::parse(text.as_bytes()).expect("valid").recording;
        let part = recording.everything();
        assert_eq!(part.calls(Some("read")), None);
        assert_eq!(part.calls(Some("write")), Some(0));
        assert_eq!(part.copied(&recording.observed, Some("read"), None), None);
        assert_eq!(part.switches(Some("syscall")), None);
        assert_eq!((recording.missed_events(), recording.coverage.state), (None, None));
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", " ", "{}", "[]", "nonsense", "{\"schema\":1}", "{\"schema\":\"promtool/1\"}", &deep]
        {
            assert!(Recording::parse(text.as_bytes()).is_err(), "{text:.40}");
        }
        for number in ["-1", "1.5", "1e30", "\"7\"", "[]"] {
            let text = format!("{{\"schema\":\"tracer/1\",\"lost_events\":{number}}}");
            assert!(Recording::parse(text.as_bytes()).is_err(), "{number}");
        }
        assert!(Recording::parse(b"{\"schema\":\"tracer/1\"}\n\xff").is_err());
    }

    #[test]
    fn processes_that_are_not_listed_count() {
        let part = r#""paths":{"read":{"calls":1,"payload_bytes":5}}"#;
        let text = format!(
            r#"{{"schema":"tracer/1","processes":[{{"pid":1,{part}}}],"ended":{{"processes":7,{part}}}}}"#
        );
        let recording = Recording::parse(text.as_bytes()).expect("valid").recording;
        assert_eq!((recording.unlisted(), recording.everything().payload(None)), (7, Some(10)));
    }

    #[test]
    fn another_version_is_read_and_told_apart() {
        let text = SAMPLE.replace("tracer/1", "tracer/2");
        assert!(!Recording::parse(text.as_bytes()).expect("valid").recording.is_known_schema());
    }
}
