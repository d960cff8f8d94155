use super::*;
use crate::callsites::classify::{self, Verdict};
use crate::callsites::scan::{Doubt, Kind};
use crate::callsites::size::Size;
use crate::callsites::text::{Segment, Text, Unread};
use crate::kernel::kallsyms::TextRange;

const DATA: &str = "copy_page_to_iter";
const STRUCT: &str = "_copy_to_user";

fn site(addr: u64, primitive: &str, kind: Kind) -> Site {
    let primitive = tracer_ebpf::table::primitive(primitive) as usize;
    let (function, function_start) = ("f".to_owned(), 0x1000);
    Site { addr, primitive, kind, function, function_start, module: None, offset: addr - function_start }
}

/// A kernel whose text was read, with sites covered like this.
fn coverage(sites: &[(&str, Covered)]) -> Coverage {
    let symbols = Kallsyms::parse("0000000000001000 t f\n".into()).expect("a symbol");
    let text = Text::default();
    let scanned = Scanned { symbols, text, sites: Vec::new(), doubts: Vec::new(), calls: Vec::new() };
    let mut coverage = Coverage::of(Ok(scanned));
    let place = |(i, (primitive, covered)): (usize, &(&str, Covered))| {
        (site(0x1000 + i as u64, primitive, Kind::Call), *covered)
    };
    coverage.sites = sites.iter().enumerate().map(place).collect();
    coverage
}

fn scanned(coverage: &mut Coverage) -> &mut Scanned {
    coverage.scanned.as_mut().expect("scanned")
}

fn unknown(judged: &snapshot::Coverage) -> Vec<(&'static str, u64)> {
    judged.sites.iter().filter(|s| s.coverage == "unknown").map(|s| (s.primitive, s.sites)).collect()
}

#[test]
fn covered_sites_are_complete() {
    let sites = [(DATA, Covered::Wrapper), (DATA, Covered::CallSite), (STRUCT, Covered::Uncovered)];
    let judged = coverage(&sites).judge(&[], true);
    assert_eq!((judged.state, judged.reasons.len()), (CoverageState::Complete, 0));
    assert!(unknown(&judged).is_empty());
    assert_eq!(coverage(&sites).judge(&[], false).state, CoverageState::None);
}

#[test]
fn a_gap_is_named_once() {
    let mut gap = coverage(&[(DATA, Covered::Uncovered), (DATA, Covered::Uncovered)]);
    gap.failed.push((name(&gap.sites[0].0), Refusal { why: "no".into(), hint: String::new() }));
    let judged = gap.judge(&[], true);
    assert_eq!(judged.state, CoverageState::Incomplete);
    assert_eq!(
        judged.reasons,
        [
            "call site f+0x0 -> copy_page_to_iter has no probe: no",
            "call site f+0x1 -> copy_page_to_iter is not covered"
        ]
    );
}

#[test]
fn text_that_cannot_be_read_is_unknown() {
    let range = TextRange { module: Some("m".into()), start: 0, end: 1 };
    let mut partly = coverage(&[(DATA, Covered::Wrapper)]);
    scanned(&mut partly).text.unread.push(Unread { range, cause: "gone".into() });
    let judged = partly.judge(&[], true);
    assert_eq!(judged.state, CoverageState::Unproven);
    assert_eq!(unknown(&judged), [("any", 1)]);
    assert!(judged.reasons[0].contains("the text of m cannot be read: gone"), "{:?}", judged.reasons);

    let judged = Coverage::of(Err("no kcore".into())).judge(&[], true);
    assert_eq!((judged.state, unknown(&judged)), (CoverageState::Unproven, vec![("any", 1)]));

    let mut later = coverage(&[(DATA, Covered::Wrapper)]);
    later.not_read_again = Some("lockdown".into());
    let judged = later.judge(&[], true);
    assert_eq!((judged.state, unknown(&judged)), (CoverageState::Unproven, vec![("any", 1)]));
}

#[test]
fn code_that_cannot_be_decoded_is_unknown() {
    let judged = coverage(&[(DATA, Covered::Unknown), (DATA, Covered::Wrapper)]).judge(&[], true);
    assert_eq!((judged.state, unknown(&judged)), (CoverageState::Unproven, vec![(DATA, 1)]));
    assert!(judged.reasons[0].contains("f+0x0"), "{:?}", judged.reasons);
    // Whether a check covers a structure's copy or its size is constant: no payload is lost.
    let judged = coverage(&[(STRUCT, Covered::Unknown)]).judge(&[], true);
    assert_eq!((judged.state, unknown(&judged)), (CoverageState::Complete, vec![(STRUCT, 1)]));

    let mut doubtful = coverage(&[(DATA, Covered::Wrapper)]);
    let primitive = tracer_ebpf::table::primitive(DATA) as usize;
    scanned(&mut doubtful).doubts.push(Doubt { addr: 0x1234, primitive, function: Some("g".into()) });
    let judged = doubtful.judge(&[], true);
    assert_eq!((judged.state, unknown(&judged)), (CoverageState::Unproven, vec![(DATA, 1)]));
    assert!(judged.reasons[0].contains("0x1234 in g"), "{:?}", judged.reasons);
}

#[test]
fn a_known_gap_outweighs_a_doubt() {
    let judged = coverage(&[(DATA, Covered::Unknown), (DATA, Covered::Uncovered)]).judge(&[], true);
    assert_eq!((judged.state, judged.reasons.len()), (CoverageState::Incomplete, 2));
}

#[test]
fn probes_go_where_they_count_right() {
    let verdict =
        |coverage| Verdict { coverage, checked: false, reached: true, mixed: false, size: Size::Variable };
    let want = |kind, verdict: &Verdict, attach| wanted(&site(0x1000, DATA, kind), verdict, attach, true);
    let (bare, unclear) = (verdict(classify::Coverage::CallSite), verdict(classify::Coverage::Unknown));
    assert_eq!(want(Kind::Call, &bare, Attach::Auto), Wanted::Probe("site_page_to_iter"));
    assert_eq!(want(Kind::Tail, &bare, Attach::Auto), Wanted::Probe("site_page_to_iter"));
    assert!(matches!(want(Kind::ConditionalTail, &bare, Attach::Auto), Wanted::Impossible(_)));
    // The check may count it already; where there is no check, only the site can.
    assert_eq!(want(Kind::Call, &unclear, Attach::Auto), Wanted::Nothing(Covered::Unknown));
    assert_eq!(want(Kind::Call, &unclear, Attach::Callsite), Wanted::Probe("site_page_to_iter"));
    // No probe tells the calls that the check counts from the others; where it is patched out, there are only the others.
    let mixed = Verdict { mixed: true, ..bare };
    let of_structures = |checks| wanted(&site(0x1000, STRUCT, Kind::Call), &mixed, Attach::Auto, checks);
    assert!(matches!(of_structures(true), Wanted::Impossible(_)));
    assert_eq!(of_structures(false), Wanted::Probe("site_to_user"));
    let lib = verdict(classify::Coverage::InLib);
    assert_eq!(want(Kind::Call, &lib, Attach::Callsite), Wanted::Nothing(Covered::Wrapper));
}

#[test]
fn a_return_address_tells_the_site() {
    let mut coverage = coverage(&[(DATA, Covered::Wrapper)]);
    coverage.sites.push((site(0x1040, DATA, Kind::Call), Covered::CallSite));
    coverage.sites.push((site(0x1080, STRUCT, Kind::Tail), Covered::Uncovered));
    assert_eq!(coverage.primitive_at(0x1040).map(|p| p.name), Some(DATA));
    assert_eq!(coverage.before(DATA, 0x1045), Some(Covered::CallSite));
    assert_eq!(coverage.before(STRUCT, 0x1045), None, "another primitive");
    // 0x2000: call 0x1000, which is `f`, whose tail jump goes to the primitive.
    let bytes = vec![0xe8, 0xfb, 0xef, 0xff, 0xff];
    scanned(&mut coverage).text.segments.push(Segment { module: None, start: 0x2000, bytes });
    assert_eq!(coverage.before(STRUCT, 0x2005), Some(Covered::Uncovered));
    assert_eq!(coverage.before(DATA, 0x2005), None, "no tail jump there");
}

#[test]
fn a_module_that_came_later_is_named_once_with_its_time() {
    let mut late = coverage(&[(DATA, Covered::CallSite)]);
    late.sites[0].0.module = Some("btrfs".into());
    late.note_late(vec!["dummy".into()]);
    assert_eq!(late.judge(&[], true).state, CoverageState::Complete, "it calls no copy function");
    late.note_late(vec!["btrfs".into()]);
    let first = late.judge(&[], true);
    assert_eq!((first.state.name(), first.reasons.len()), ("complete since", 1));
    assert!(first.since.is_some() && first.reasons[0].contains("module btrfs was loaded"), "{first:?}");
    late.note_late(vec!["btrfs".into()]);
    let again = late.judge(&[], true);
    assert!(again.reasons.len() == 1 && again.since >= first.since, "{again:?}");
    // Its copies that nothing counts outweigh that the rest is counted since.
    late.sites.push((site(0x1040, DATA, Kind::Call), Covered::Uncovered));
    let judged = late.judge(&[], true);
    assert_eq!((judged.state, judged.since, judged.reasons.len()), (CoverageState::Incomplete, None, 2));
}

#[test]
fn nothing_is_kept_of_a_module_that_was_removed() {
    let mut coverage = coverage(&[(DATA, Covered::CallSite)]);
    let mut gone = site(0x1040, DATA, Kind::Call);
    gone.module = Some("tun".into());
    let kept = Site { module: Some("tun_more".into()), addr: 0x1080, ..gone.clone() };
    for site in [&gone, &kept] {
        coverage.failed.push((name(site), Refusal { why: "busy".into(), hint: String::new() }));
        coverage.untraceable.entry("files".into()).or_default().insert(name(site));
    }
    coverage.sites.extend([(gone, Covered::Uncovered), (kept.clone(), Covered::CallSite)]);
    let module = |name: &str, directory| Module { name: name.into(), directory };
    coverage.modules = [module("tun", 1), module("tun_more", 2)].into();
    // Loaded again, it is another one.
    assert_eq!(coverage.note_modules([module("tun", 3), module("tun_more", 2)].into()), ["tun"]);
    assert_eq!(coverage.sites.iter().map(|(site, _)| site.addr).collect::<Vec<_>>(), [0x1000, 0x1080]);
    assert_eq!(coverage.failed.iter().map(|(site, _)| site.clone()).collect::<Vec<_>>(), [name(&kept)]);
    assert_eq!(coverage.untraceable["files"], [name(&kept)].into());
}

impl Coverage {
    /// Of a kernel whose text was read, and in which no call site is left uncovered.
    pub(crate) fn proven() -> Coverage {
        coverage(&[(DATA, Covered::Wrapper)])
    }
}
