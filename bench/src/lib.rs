//! Part of Homing.
