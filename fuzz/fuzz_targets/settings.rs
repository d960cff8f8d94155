//! Any bytes as the daemon's two configuration files: problems with a text, or settings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::serve::settings::Settings;
use tracer::http::WebConfig;

fuzz_target!(|bytes: &[u8]| {
    let refusals = [Settings::parse(bytes).err(), WebConfig::parse(bytes).err()];
    for problems in refusals.into_iter().flatten() {
        assert!(!problems.is_empty());
        for problem in problems {
            let text = problem.to_string();
            assert!(!text.is_empty() && !text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        }
    }
});
