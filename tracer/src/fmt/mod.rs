//! How things are written for people: units, names, times. Imports nothing.

pub mod human;
