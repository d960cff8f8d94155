use super::*;
use crate::claims::measured::parse;
use crate::claims::shape;

fn draw_row(picture: &str, hops: &str, worker: &str) -> String {
    let row: Row = toml::from_str(&format!(
        "id='a'\nsection='s'\ntitle='A & B'\nwhy=''\nsource=[]\nhops=[{hops}]\npicture='{picture}'"
    ))
    .unwrap();
    let text = format!(r#"{{"row":"a","kernel":"6.1","release":"","bytes":100,"worker":{worker}}}"#);
    let lines = parse(&text).unwrap();
    draw(&row, shape::find(picture).unwrap(), &[&lines[0]]).unwrap()
}

#[test]
fn arrows_tell_who_moves_the_bytes() {
    let text = draw_row(
        "buffer-to-socket",
        "'disk','nic'",
        r#"{"to_user":100,"from_user":200,"device_bytes":{"block":{"read":100},"net":{"tx":105}}}"#,
    );
    for wanted in ["CPU 1\n", "CPU 2\n", "DMA 1\n", "DMA 1.05\n", "NIC\n"] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
    }
}

#[test]
fn no_copy_is_by_reference_and_what_was_not_measured_says_so() {
    let text = draw_row("cache-to-socket", "'disk'", r#"{"referenced":100}"#);
    assert!(text.contains("by reference") && text.contains("not measured"), "{text}");
    assert!(!text.contains("CPU 1"), "{text}");
}

#[test]
fn text_is_escaped() {
    assert!(draw_row("pages", "", r#"{"in_kernel":100}"#).contains("A &amp; B"));
}
