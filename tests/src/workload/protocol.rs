//! The life of a workload: set up, ready, windows on demand, verification,
//! books.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::registry::Entry;
use super::{Mechanism, Options, counts, memory, signals, special, sys};

/// How the windows are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// By signals, as the harness does.
    Signals,
    /// One window at once, for `tracer run -- workload --once NAME`.
    Once,
}

pub fn run(entry: &Entry, options: &Options, drive: Drive) -> Result<()> {
    let set = signals::Set::of(&[signals::GO, signals::STOP]);
    set.block();
    memory::lock_all();
    let options = entry.adapt(options);
    let mut mechanism = entry.make(&options)?;
    let windows = match drive {
        Drive::Signals => {
            let notifies = options.notify.is_some() && mechanism.peer_notifies();
            ready(mechanism.peer(), notifies);
            on_demand(mechanism.as_mut(), &set)?
        }
        Drive::Once => {
            counts::reset();
            mechanism.window()?;
            1
        }
    };
    // Before verification, which uses booked calls too.
    let books = counts::report(windows);
    let control = mechanism.visible_control();
    mechanism.verify(windows).context("verification")?;
    println!("{}", report(entry.name, &options, books, control));
    Ok(())
}

fn ready(peer: Option<u32>, peer_notifies: bool) {
    let pid = std::process::id();
    println!("{}", json!({"ready": true, "pid": pid, "peer": peer, "peer_notifies": peer_notifies}));
}

fn on_demand(mechanism: &mut dyn Mechanism, set: &signals::Set) -> Result<u64> {
    // Asked for once, here: in the window it would be a call.
    let parent = std::os::unix::process::parent_id() as i32;
    let mut windows = 0;
    while set.wait()? == signals::GO {
        if windows == 0 {
            // The wait that ends here was entered before the window.
            counts::reset();
        } else {
            mechanism.rewind().context("rewind")?;
        }
        mechanism.window().context("window")?;
        windows += 1;
        sys::kill(parent, signals::DONE)?;
    }
    Ok(windows)
}

fn report(name: &str, options: &Options, mut books: Value, control: (u64, u64)) -> Value {
    books["name"] = json!(name);
    books["bytes"] = json!(options.bytes);
    books["chunk"] = json!(options.chunk);
    books["static"] = json!(cfg!(target_feature = "crt-static"));
    books["control"] = json!({"to_user": control.0, "from_user": control.1});
    books["zerocopy_copied"] = json!(special::copied_after_all());
    books
}
