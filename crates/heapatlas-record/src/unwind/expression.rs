//! Expressions of unwind tables, evaluated as far as they go before the registers are known.
//!
//! A rule belongs to one instruction, so `rip` is a constant. What remains of the expressions that
//! linkers and compilers write (procedure linkage table, realigned stack) is a register plus an
//! offset, or the word there.

use gimli::{Encoding, EndianSlice, Expression, LittleEndian, Operation, Register, X86_64};

/// The bytes of a module's tables.
pub type Reader = EndianSlice<'static, LittleEndian>;

/// What an expression stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Constant(i64),
    /// A register plus a number.
    Register(Register, i64),
    /// The word at a register plus a number, plus another number.
    Word(Register, i64, i64),
}

/// Room for the values that wait for their operation: in practice three.
const DEPTH: usize = 4;

/// The value of an expression for the instruction at `address`. None when it is more involved.
pub fn evaluate(expression: Expression<Reader>, encoding: Encoding, address: u64) -> Option<Value> {
    let mut stack = Stack {
        values: [Value::Constant(0); DEPTH],
        length: 0,
    };
    let mut operations = expression.operations(encoding);
    while let Some(operation) = operations.next().ok()? {
        let value = match pushed(&operation, address) {
            Some(value) => value,
            None => stack.apply(&operation)?,
        };
        stack.push(value)?;
    }
    let value = stack.pop()?;
    (stack.length == 0).then_some(value)
}

/// The value of an operation that needs none from the stack.
fn pushed(operation: &Operation<Reader>, address: u64) -> Option<Value> {
    match *operation {
        Operation::UnsignedConstant { value } => Some(Value::Constant(value as i64)),
        Operation::SignedConstant { value } => Some(Value::Constant(value)),
        Operation::RegisterOffset {
            register: X86_64::RA,
            offset,
            ..
        } => Some(Value::Constant((address as i64).wrapping_add(offset))),
        Operation::RegisterOffset {
            register, offset, ..
        } => Some(Value::Register(register, offset)),
        _ => None,
    }
}

struct Stack {
    values: [Value; DEPTH],
    length: usize,
}

impl Stack {
    fn push(&mut self, value: Value) -> Option<()> {
        *self.values.get_mut(self.length)? = value;
        self.length += 1;
        Some(())
    }

    fn pop(&mut self) -> Option<Value> {
        self.length = self.length.checked_sub(1)?;
        Some(self.values[self.length])
    }

    /// Takes the operands of `operation` off and returns its result.
    fn apply(&mut self, operation: &Operation<Reader>) -> Option<Value> {
        let top = self.pop()?;
        match (operation, top) {
            (Operation::Deref { size: 8, .. }, Value::Register(register, offset)) => {
                Some(Value::Word(register, offset, 0))
            }
            (Operation::PlusConstant { value }, _) => Some(top.plus(*value as i64)),
            (_, Value::Constant(right)) => self.pop()?.combine(operation, right),
            _ => None,
        }
    }
}

impl Value {
    fn plus(self, constant: i64) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(value.wrapping_add(constant)),
            Self::Register(register, offset) => {
                Self::Register(register, offset.wrapping_add(constant))
            }
            Self::Word(register, offset, addend) => {
                Self::Word(register, offset, addend.wrapping_add(constant))
            }
        }
    }

    fn combine(self, operation: &Operation<Reader>, right: i64) -> Option<Self> {
        match (operation, self) {
            (Operation::Plus, _) => Some(self.plus(right)),
            (Operation::Minus, _) => Some(self.plus(right.wrapping_neg())),
            (Operation::And, Self::Constant(left)) => Some(Self::Constant(left & right)),
            (Operation::Ge, Self::Constant(left)) => Some(Self::Constant((left >= right).into())),
            (Operation::Shl, Self::Constant(left)) => {
                Some(Self::Constant(left.checked_shl(right as u32)?))
            }
            _ => None,
        }
    }
}
