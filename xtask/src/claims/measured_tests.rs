use super::*;

fn line(worker: &str) -> Line {
    let text = format!(
        r#"{{"row":"r","kernel":"6.1","release":"6.1.0","bytes":1048576,"chunk":65536,"worker":{worker}}}"#
    );
    parse(&text).unwrap().remove(0)
}

#[test]
fn figures_are_per_byte_and_per_chunk() {
    let line = line(r#"{"to_user":1048576,"from_user":1048576,"mode_switches":{"syscall":64,"fault":0}}"#);
    assert_eq!(line.figure(Field::Cpu).to_string(), "2");
    assert_eq!(line.figure(Field::SwitchesPerChunk).to_string(), "4");
    assert_eq!(line.figure(Field::SwitchesPerMib).to_string(), "64");
    assert_eq!(line.figure(Field::DiskRead), Figure::NotMeasured);
}

#[test]
fn what_depends_on_timing_is_never_a_figure() {
    let line = line(
        r#"{"in_kernel":1100000,"referenced":7,"open":{"in_kernel":{"at_least":1},"referenced":"varies"}}"#,
    );
    assert_eq!(line.figure(Field::InKernel).to_string(), "≥ 1");
    assert_eq!(line.figure(Field::Cpu).agrees_with(1), Some(true));
    assert_eq!(line.figure(Field::Referenced), Figure::Varies);
}

#[test]
fn hundredths_without_trailing_zeroes() {
    assert_eq!(Figure::ratio(36, 16).to_string(), "2.25");
    assert_eq!(Figure::ratio(1, 2).to_string(), "0.5");
    assert_eq!(Figure::ratio(10, 1).to_string(), "10");
    assert_eq!(Figure::ratio(1, 0), Figure::NotMeasured);
}

#[test]
fn kernels_that_agree_are_one() {
    let texts = [("5.10", "1".to_string()), ("6.1", "0".into()), ("7.2", "0".into())];
    assert_eq!(by_kernel(&texts), [("5.10".into(), "1".to_string()), ("6.1, 7.2".into(), "0".into())]);
    assert_eq!(by_kernel(&texts[1..]), [(String::new(), "0".to_string())]);
}

#[test]
fn a_real_program_may_say_less() {
    let text = r#"{"row":"nginx-sendfile","kernel":"6.1","release":"6.1.0","bytes":100,"worker":{"referenced":100}}"#;
    let line = parse(text).unwrap().remove(0);
    assert_eq!(line.figure(Field::Cpu).to_string(), "0");
    assert_eq!(line.figure(Field::SwitchesPerChunk), Figure::NotMeasured);
    assert_eq!(line.figure(Field::Receiver), Figure::NotMeasured);
}
