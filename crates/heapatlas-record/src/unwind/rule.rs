//! One step from a frame to its caller, in eight bytes.

/// Where the canonical frame address (CFA) is. The return address lies in the word below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cfa {
    /// `rsp + offset`.
    Rsp = 1,
    /// `rbp + offset`.
    Rbp = 2,
    /// `[rbp + offset] + addend`: the stack was realigned.
    AtRbp = 3,
    /// `[rsp + offset] + addend`: hand-written code that keeps the old stack pointer in its frame.
    AtRsp = 4,
    /// No caller: the entry of the process or of a thread.
    End = 5,
    /// What the kernel pushed for a signal handler: `rsp` is the address of a `ucontext_t`.
    Signal = 6,
    /// Code of a JIT compiler or the like: follow the frame pointer, if it is one.
    FramePointer = 7,
    /// The module's table is silent about the address: code of another compiler (V8's builtins), which keeps
    /// the frame pointer, or code that has no caller to come back to.
    Silent = 8,
    /// No call returns to the address: whoever laid a coroutine's stack out put it there, as `makecontext`
    /// does with that of `__start_context`. The end, unless a signal interrupted the code there.
    LaidOut = 10,
    /// By registers or expressions beyond these: see `all_registers`.
    AllRegisters = 9,
}

/// Where the caller's `rbp` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedRbp {
    /// In the register.
    Unchanged,
    /// In the word at CFA + 8 * so much, never 0.
    AtCfa(i8),
    /// In the word at the frame's own `rbp` + 8 * so much: the stack was realigned.
    AtRbp(i8),
}

/// How to find the caller of a frame, given the frame's `rsp` and `rbp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where the CFA is.
    pub cfa: Cfa,
    /// Bytes added to the register.
    pub offset: i32,
    /// Bytes added to the word there, in the kinds that read one.
    pub addend: u8,
    /// Where the caller's `rbp` is.
    pub rbp: SavedRbp,
}

impl Rule {
    /// A rule of a kind that has no numbers.
    #[must_use]
    pub const fn plain(cfa: Cfa) -> Self {
        Self {
            cfa,
            offset: 0,
            addend: 0,
            rbp: SavedRbp::Unchanged,
        }
    }

    /// The rule of code that keeps the frame pointer.
    #[must_use]
    pub const fn frame_pointer() -> Self {
        Self {
            cfa: Cfa::Rbp,
            offset: 16,
            addend: 0,
            rbp: SavedRbp::AtCfa(-2),
        }
    }
}

impl Rule {
    /// The rule as a number, never 0.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        let (rbp_kind, rbp_words) = match self.rbp {
            SavedRbp::Unchanged => (UNCHANGED, 0),
            SavedRbp::AtCfa(words) => (AT_CFA, words),
            SavedRbp::AtRbp(words) => (AT_RBP, words),
        };
        let fields = [
            self.cfa as u8,
            self.addend,
            rbp_kind,
            rbp_words.cast_unsigned(),
        ];
        u32::from_le_bytes(fields) as u64 | (self.offset.cast_unsigned() as u64) << 32
    }

    /// The rule of a number of `to_bits`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        let [cfa, addend, rbp_kind, rbp_words] = (bits as u32).to_le_bytes();
        Self {
            cfa: Cfa::from_number(cfa),
            offset: ((bits >> 32) as u32).cast_signed(),
            addend,
            rbp: match rbp_kind {
                AT_CFA => SavedRbp::AtCfa(rbp_words.cast_signed()),
                AT_RBP => SavedRbp::AtRbp(rbp_words.cast_signed()),
                _ => SavedRbp::Unchanged,
            },
        }
    }
}

const UNCHANGED: u8 = 0;
const AT_CFA: u8 = 1;
const AT_RBP: u8 = 2;

impl Cfa {
    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Rsp,
            2 => Self::Rbp,
            3 => Self::AtRbp,
            4 => Self::AtRsp,
            5 => Self::End,
            6 => Self::Signal,
            7 => Self::FramePointer,
            8 => Self::Silent,
            10 => Self::LaidOut,
            _ => Self::AllRegisters,
        }
    }
}
