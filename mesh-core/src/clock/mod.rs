//! The two clocks of an agent: the time in which its process has run, and the civil time that its
//! room dates by.

mod civil;
mod driver;

pub(crate) use civil::CivilClock;
pub(crate) use driver::DriverClock;
