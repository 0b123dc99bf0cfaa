//! One frame of a walk.

/// A frame that a walk came through.
#[derive(Clone, Copy)]
pub struct Step {
    /// Where its return address lies.
    pub slot: u64,
    /// The byte before it belongs to the instruction at which the frame is.
    pub return_address: u64,
    /// `rbp` in the frame.
    pub rbp: u64,
    /// Where it keeps its caller's `rbp`; 0: in the register.
    pub rbp_slot: u64,
    /// The word that decided its CFA; 0: none did.
    pub cfa_slot: u64,
    /// Its CFA, or where its caller's `rbp` is, depends on `rbp`.
    pub uses_rbp: bool,
    /// What decided its caller is not among the words noted here: it is what the kernel pushed for a signal
    /// handler, or more registers than `rbp` were needed.
    pub is_unverifiable: bool,
}
