//! The page of a rule set's expressions: where each begins, and then the programs and the text of each.
//!
//! ```text
//! 2   Place, Place   Block { ethernet: 17, ip: 18, text: 27 }   17 + 18 instructions   27 bytes   Block …
//! ```
//!
//! Rules with the same expression share one, and say which by a test of its answer's bit. Reading
//! believes nothing: what is no expression is nothing.

use nke_ebpf::abi::{
    self,
    classic::{Block, EXPRESSIONS, Instruction, Place, WORDS},
    field,
};

use super::{Expression, Program};
use crate::{
    filter::{Error, Rule},
    kernel::Version,
    object::has_helper,
};

/// The page of the expressions that these rules ask, and its words.
///
/// # Errors
///
/// [`Error::ExpressionsFull`], and [`Error::NoExpressions`] if this kernel runs none.
pub(in crate::filter) fn laid_out(rules: &[Rule]) -> Result<(Page<'_>, Vec<u64>), Error> {
    let page = Page::of(rules.iter().filter_map(|rule| rule.expression.as_ref()));
    let wanted = page.count();
    if wanted > 0 && !has_helper("loop") {
        return Err(Error::NoExpressions {
            running: Version::running(),
        });
    }
    let words = page.words().ok_or(Error::ExpressionsFull { wanted })?;
    Ok((page, words))
}

/// The expressions of rules, each once, in their order.
#[derive(Default)]
pub(in crate::filter) struct Page<'a>(Vec<&'a Expression>);

impl<'a> Page<'a> {
    /// The page of these.
    pub(in crate::filter) fn of(expressions: impl Iterator<Item = &'a Expression>) -> Self {
        let mut all: Vec<&Expression> = Vec::new();
        for expression in expressions {
            // More than there can be need not be told apart.
            if all.len() <= EXPRESSIONS && !all.contains(&expression) {
                all.push(expression);
            }
        }
        Self(all)
    }

    /// How many there are, or one more than there can be.
    pub(in crate::filter) fn count(&self) -> usize {
        self.0.len()
    }

    /// The test that a rule with this one has.
    pub(in crate::filter) fn test(&self, expression: &Expression) -> abi::Test {
        let number = self.0.iter().position(|known| *known == expression);
        let bit = number.map_or(0, |number| 1u64.unbounded_shl(number as u32));
        abi::Test::masked(field::EXPRESSIONS, [bit, 0], [bit, 0])
    }

    /// The page's words; nothing if there are too many, or they are too long together. No words
    /// if there are none.
    pub(in crate::filter) fn words(&self) -> Option<Vec<u64>> {
        let Self(all) = self;
        if all.is_empty() {
            return Some(Vec::new());
        }
        let mut words = vec![0; 1 + all.len()];
        words[0] = all.len() as u64;
        for (index, expression) in (1..).zip(all) {
            let at = words.len() + Block::WORDS;
            let ethernet = u32::try_from(at).ok()?;
            let length = u32::try_from(expression.ethernet.instructions().len()).ok()?;
            let ip = ethernet + length;
            words[index] = Place { ethernet, ip }.to_word();
            words.extend(block(expression)?);
        }
        (all.len() <= EXPRESSIONS && words.len() <= WORDS).then_some(words)
    }
}

fn block(Expression { text, ethernet, ip }: &Expression) -> Option<Vec<u64>> {
    // It says no.
    const NO: Instruction = Instruction {
        code: abi::classic::RETURN,
        yes: 0,
        no: 0,
        k: 0,
    };
    let on_ip = ip.as_ref().map_or(&[NO][..], Program::instructions);
    let block = Block {
        ethernet: u32::try_from(ethernet.instructions().len()).ok()?,
        ip: u32::try_from(on_ip.len()).ok()?,
        text: u32::try_from(text.len()).ok()?,
        no_ip: ip.is_none().into(),
    };
    let mut words = block.to_words().to_vec();
    let programs = ethernet.instructions().iter().chain(on_ip);
    words.extend(programs.map(|instruction| instruction.to_word()));
    words.extend(text.as_bytes().chunks(8).map(|chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(bytes)
    }));
    Some(words)
}

/// The number of the expression whose answer a test asks for; nothing if it asks for something else.
pub(in crate::filter) fn number(test: &abi::Test) -> Option<usize> {
    let [bit, _] = test.first;
    let asked = abi::Test::masked(field::EXPRESSIONS, [bit, 0], [bit, 0]);
    (bit.is_power_of_two() && *test == asked).then_some(bit.trailing_zeros() as usize)
}

/// The expressions of a page, up to the first that is none.
pub(in crate::filter) fn all(page: &[u64]) -> Vec<Expression> {
    let count = page.first().copied().unwrap_or_default();
    let count = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(EXPRESSIONS);
    (0..count).map_while(|number| read(page, number)).collect()
}

/// The expression of this number in a page.
fn read(page: &[u64], number: usize) -> Option<Expression> {
    let place = Place::from_word(*page.get(number + 1)?);
    let start = (place.ethernet as usize).checked_sub(Block::WORDS)?;
    let (head, words) = page.get(start..)?.split_first_chunk()?;
    let block = Block::from_words(head);
    let (ethernet, words) = program(words, block.ethernet)?;
    let (ip, words) = program(words, block.ip)?;
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
    let bytes: Vec<u8> = bytes.take(block.text as usize).collect();
    let text = str::from_utf8(&bytes).ok()?;
    let whole = bytes.len() == block.text as usize;
    Expression::compiled(text, ethernet, (block.no_ip == 0).then_some(ip)).filter(|_| whole)
}

/// A program of this length, and what lies behind it.
fn program(words: &[u64], length: u32) -> Option<(Program, &[u64])> {
    let (own, rest) = words.split_at_checked(length as usize)?;
    let instructions: Vec<_> = own.iter().copied().map(Instruction::from_word).collect();
    Some((Program::new(&instructions).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn program(length: usize) -> Program {
        let instruction = |code| Instruction {
            code,
            yes: 0,
            no: 0,
            k: 7,
        };
        let mut all = vec![instruction(0x04); length - 1];
        all.push(instruction(0x06));
        Program::new(&all).unwrap()
    }

    fn expression(number: usize, length: usize) -> Expression {
        let ip = (!number.is_multiple_of(3)).then(|| program(length + 1));
        Expression::compiled(&"x".repeat(number * 7), program(length), ip).unwrap()
    }

    #[test]
    fn what_is_laid_out_is_read_again() {
        let all: Vec<_> = (1..=EXPRESSIONS)
            .map(|number| expression(number, number))
            .collect();
        let page = Page::of(all.iter().chain(&all));
        let words = page.words().unwrap();
        for (index, expression) in all.iter().enumerate() {
            assert_eq!(number(&page.test(expression)), Some(index));
            assert_eq!(read(&words, index).as_ref(), Some(expression));
        }
        assert_eq!(number(&abi::Test::range(field::LENGTH, 1, 2)), None);
        assert_eq!(Page::of(std::iter::empty()).words(), Some(Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let many: Vec<_> = (1..=EXPRESSIONS + 9)
            .map(|number| expression(number, 1))
            .collect();
        let page = Page::of(many.iter());
        assert_eq!((page.count(), page.words()), (EXPRESSIONS + 1, None));
        let long: Vec<_> = (1..6).map(|number| expression(number, 1000)).collect();
        assert_eq!(Page::of(long.iter()).words(), None);
    }

    proptest! {
        #[test]
        fn any_words_are_an_expression_or_not(
            words in prop::collection::vec(prop_oneof![0..9u64, any::<u64>()], 0..40),
            at in 0..40usize,
        ) {
            let _: Option<_> = read(&words, 0);
            let good = expression(2, 5);
            let mut page = Page::of([&good].into_iter()).words().unwrap();
            if let (Some(word), Some(other)) = (page.get_mut(at), words.first()) {
                *word = *other;
            }
            let _: Option<_> = read(&page, 0);
            page.truncate(at);
            let _: Option<_> = read(&page, 0);
        }

        #[test]
        fn whatever_a_page_holds_is_run_to_an_end(
            words in prop::collection::vec(prop_oneof![0..9u64, any::<u64>()], 1..200),
            packet in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut page = Box::new(abi::Page { words: [0; abi::PAGE_WORDS] });
            page.words[..words.len()].copy_from_slice(&words);
            let frame = nke_ebpf::Frame::new(&packet, nke_ebpf::Direction::In);
            let _: u64 = nke_ebpf::answers(&frame, &page);
        }
    }
}
