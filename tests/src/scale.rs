//! How large a test is: small in CI, large where there is time.

/// The environment variable that says how many times larger than in CI.
const VARIABLE: &str = "HOMING_TEST_SCALE";

/// How many times larger than in CI a test is to be: 1 unless
/// `HOMING_TEST_SCALE` says otherwise.
///
/// # Panics
///
/// Panics if the variable holds anything but a number from 1 up.
pub fn scale() -> usize {
    let Ok(text) = std::env::var(VARIABLE) else {
        return 1;
    };
    let scale = text.parse().ok().filter(|scale| *scale >= 1);
    scale.unwrap_or_else(|| panic!("{VARIABLE} is `{text}`; it takes a number from 1 up"))
}
