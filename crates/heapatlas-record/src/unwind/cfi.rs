//! From an object's unwind table to a rule.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry, LittleEndian,
    Pointer, Register, RegisterRule, UnwindContext, UnwindContextStorage, UnwindExpression,
    UnwindSection, UnwindTableRow, X86_64,
};

use super::expression::{self, Reader, Value};
use super::modules::Module;
use super::rule::{Cfa, Rule, SavedRbp};

type Section = EhFrame<Reader>;

/// A row of an unwind table.
pub type Row = UnwindTableRow<usize, Storage>;

/// Room for the rows of gimli: the six registers that callees keep, the return address, and some
/// more. (Signal trampolines have 17 rules; those need no row.)
pub struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); 12];
    type Stack = [Row; 4];
}

/// Where gimli works; 3 KiB that one thread keeps, so that its stack need not have them.
pub type Workspace = UnwindContext<usize, Storage>;

const WORD: i64 = 8;

/// Where every rule takes the return address: from the CFA.
const RETURN_ADDRESS: i64 = -WORD;

/// What a module's table says about the instruction at `address`. None when it is nothing.
pub fn entry_at(address: u64, module: Module) -> Option<Entry> {
    let table_bytes = section(module.eh_frame_hdr, module.end)?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(module.eh_frame_hdr);
    let header = EhFrameHdr::from(table_bytes).parse(&bases, 8).ok()?;
    let Pointer::Direct(eh_frame) = header.eh_frame_ptr() else {
        return None;
    };
    let bases = bases.set_eh_frame(eh_frame);
    let frames = EhFrame::from(section(eh_frame, module.end)?);
    let description = header
        .table()?
        .fde_for_address(&frames, &bases, address, Section::cie_from_offset)
        .ok()?;
    Some(Entry {
        description,
        frames,
        bases,
        address,
    })
}

/// The module's bytes from `start` to `end`.
fn section(start: u64, end: u64) -> Option<Reader> {
    let length = usize::try_from(end.checked_sub(start)?).ok()?;
    // SAFETY: the dynamic linker says that the module reaches up to `end` and that its tables begin
    // at `start`; gimli follows the tables only. They stay while code of the module is on a stack.
    let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, length) };
    Some(EndianSlice::new(bytes, LittleEndian))
}

/// What a module's table says about an instruction.
pub struct Entry {
    description: FrameDescriptionEntry<Reader>,
    frames: Section,
    bases: BaseAddresses,
    address: u64,
}

impl Entry {
    /// Whether the code is what the kernel has a signal handler return to.
    pub fn is_signal_trampoline(&self) -> bool {
        self.description.is_signal_trampoline()
    }

    /// The row for the instruction. None when it is damaged or too long.
    pub fn row<'w>(&self, workspace: &'w mut Workspace) -> Option<&'w Row> {
        self.description
            .unwind_info_for_address(&self.frames, &self.bases, workspace, self.address)
            .ok()
    }

    /// The value of an expression in the row, as far as it can be told without the registers.
    pub fn evaluate(&self, expression: &UnwindExpression<usize>) -> Option<Value> {
        let expression = expression.get(&self.frames).ok()?;
        expression::evaluate(expression, self.description.cie().encoding(), self.address)
    }

    /// The canonical frame address of a row.
    pub fn cfa(&self, cfa: &CfaRule<usize>) -> Option<Value> {
        match cfa {
            CfaRule::RegisterAndOffset { register, offset } => {
                Some(Value::Register(*register, *offset))
            }
            CfaRule::Expression(expression) => self.evaluate(expression),
        }
    }

    /// The rule for the instruction. None when the row is damaged.
    pub fn rule(&self, workspace: &mut Workspace) -> Option<Rule> {
        if self.is_signal_trampoline() {
            return Some(Rule::plain(Cfa::Signal));
        }
        let row = self.row(workspace)?;
        Some(self.rule_of(row).unwrap_or(Rule::plain(Cfa::AllRegisters)))
    }

    /// Where the code ends that the table describes in one piece with the instruction.
    pub fn end_address(&self) -> u64 {
        self.description.end_address()
    }

    /// None when the row asks for more than a rule can say.
    fn rule_of(&self, row: &Row) -> Option<Rule> {
        match row.register(X86_64::RA) {
            Some(RegisterRule::Undefined) => return Some(Rule::plain(Cfa::End)),
            Some(RegisterRule::Offset(RETURN_ADDRESS)) => {}
            _ => return None,
        }
        let mut rule = cfa_rule(self.cfa(row.cfa())?)?;
        rule.rbp = self.saved_rbp(row.register(X86_64::RBP), rule)?;
        Some(rule)
    }

    fn saved_rbp(&self, saved: Option<RegisterRule<usize>>, rule: Rule) -> Option<SavedRbp> {
        match saved {
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => {
                Some(SavedRbp::Unchanged)
            }
            Some(RegisterRule::Offset(offset)) => words(offset).map(SavedRbp::AtCfa),
            Some(RegisterRule::Expression(expression)) => match self.evaluate(&expression)? {
                Value::Register(X86_64::RBP, offset) => words(offset).map(SavedRbp::AtRbp),
                Value::Register(X86_64::RSP, offset) if rule.cfa == Cfa::Rsp => {
                    words(offset - i64::from(rule.offset)).map(SavedRbp::AtCfa)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

fn cfa_rule(value: Value) -> Option<Rule> {
    let (cfa, offset, addend) = match value {
        Value::Register(X86_64::RSP, offset) => (Cfa::Rsp, offset, 0),
        Value::Register(X86_64::RBP, offset) => (Cfa::Rbp, offset, 0),
        Value::Word(X86_64::RBP, offset, addend) => (Cfa::AtRbp, offset, addend),
        Value::Word(X86_64::RSP, offset, addend) => (Cfa::AtRsp, offset, addend),
        _ => return None,
    };
    Some(Rule {
        cfa,
        offset: i32::try_from(offset).ok()?,
        addend: u8::try_from(addend).ok()?,
        rbp: SavedRbp::Unchanged,
    })
}

fn words(offset: i64) -> Option<i8> {
    (offset % WORD == 0)
        .then(|| i8::try_from(offset / WORD).ok())
        .flatten()
}
