/// Evidence that what takes the place of a delivery is safe.
///
/// A delivery is acked only in exchange for one: the broker's confirm of what
/// was published instead, or the store's commit. Only the crates that obtain
/// the evidence can make a value of their type.
pub trait Proof {}
