//! The programs, by what they count. Entry points are one line; bodies are inlined into them.

mod account;
mod caller;
mod check;
mod cut_short;
mod descriptor;
mod device;
mod discard;
mod file;
mod iter;
mod kernel;
mod leaving;
mod life;
mod maps;
mod marked;
mod namespace;
mod pages;
mod preempt;
mod reference;
mod site;
mod skb;
mod splice;
mod switches;
mod worker;
mod wrapper;
