//! Control groups: limits, devices, statistics.
