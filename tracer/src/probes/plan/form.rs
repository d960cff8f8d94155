//! Whether a function takes what the programs of a way read.

use tracer_ebpf::table::{Form, Reads, Way, forms};

use super::{Obstacle, Offers};

/// The forms of its function that a way's programs are right for.
fn known(way: &Way) -> impl Iterator<Item = &'static Form> {
    let args = usize::from(way.args);
    forms(way.symbol).filter(move |form| args == 0 || form.args().is_none_or(|own| own == args))
}

/// Why a function with these parameters is not probed that way, if it is not.
pub(super) fn misfit(way: &Way, params: &[String]) -> Option<Obstacle> {
    let number = way.args == 0 || params.len() == usize::from(way.args);
    let fits = number && known(way).any(|form| form.fits(params.iter().map(String::as_str)));
    (!fits).then(|| Obstacle::Form(way.symbol, params.join(", ")))
}

/// The same of a kprobe, for which the kernel checks nothing.
pub(super) fn obstacle(way: &Way, offers: &impl Offers) -> Option<Obstacle> {
    if known(way).any(|form| form.fits([]) && form.args().is_none()) {
        return None;
    }
    if let Some(params) = offers.params(way.symbol).or_else(|| offers.module_params(way.symbol)) {
        return misfit(way, &params);
    }
    // Where there is no such function, the attach says so.
    let absent = offers.has_function(way.symbol) == Some(false);
    let untold = |form: &Form| form.untold && offers.has_old_iterators();
    // What takes registers takes them first, on every kernel.
    if absent || way.reads == Reads::Registers {
        return None;
    }
    // Of the forms that such kernels have, this way's has to be the one.
    (!known(way).any(untold)).then_some(Obstacle::Untold(way.symbol))
}
