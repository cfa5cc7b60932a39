//! Homing.
