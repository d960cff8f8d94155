//! Which function that copies is called where, and what counts each call.

pub mod after;
pub mod classify;
pub mod coverage;
pub mod decode;
pub mod kcore;
pub mod scan;
pub mod size;
pub mod survey;
pub mod text;
