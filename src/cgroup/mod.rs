//! Control groups: limits, devices, statistics.
/// stand-in
#[derive(Debug)]
pub struct CgroupPlan;
