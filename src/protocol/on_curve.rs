//! The points of P-384 with a given x: whether there are any, by a symbol instead of a square root, in a sixth of its time; and their
//! y, in half of the time that `p384` takes. A relay sees a key that it has not seen before with nearly every message, and finds its y for
//! every question. Keys are public, so how long it takes may depend on them.

/// A number below 2³⁸⁴, the lowest word first.
type Words = [u64; 6];

/// p = 2³⁸⁴ − 2¹²⁸ − 2⁹⁶ + 2³² − 1 (SP 800-186, section 3.2.1.4).
const P: Words = [0xffff_ffff, 0xffff_ffff_0000_0000, !1, !0, !0, !0];

/// 2⁷⁶⁸ modulo p: [`times`](Field::times) this a number takes [`Field`]'s form.
const R_SQUARED: Field =
    Field([0xffff_fffe_0000_0001, 0x2_0000_0000, 0xffff_fffe_0000_0000, 0x2_0000_0000, 1, 0]);

/// The curve's b (section 3.2.1.4), in [`Field`]'s form.
const B: Field = Field([
    0x0811_8871_9d41_2dcc,
    0xf729_add8_7a4c_32ec,
    0x77f2_209b_1920_022e,
    0xe337_4bee_9493_8ae2,
    0xb62b_21f4_1f02_2094,
    0xcd08_114b_604f_bff9,
]);

/// Whether `x`, big-endian, is less than p and x³ − 3x + b a square modulo p.
pub(super) fn has_points(x: &[u8; 48]) -> bool {
    // Not out of its form: 2³⁸⁴ is a square, and times a square it gives another, times anything else none.
    y_squared(x).is_some_and(|y_squared| is_square(y_squared.0, P))
}

/// The y, big-endian, of the point with this x, big-endian, and a y that is odd or even; if there is one.
pub(super) fn y(x: &[u8; 48], odd: bool) -> Option<[u8; 48]> {
    let y_squared = y_squared(x)?;
    let y = y_squared.root();
    if y.squared(1) != y_squared {
        return None;
    }
    let y = y.number();
    // It is not 0, since the curve has a prime order.
    let y = if (y[0] & 1 == 1) == odd { y } else { minus(&P, &y).0 };
    let mut bytes = [0; 48];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().rev().zip(y) {
        *bytes = word.to_be_bytes();
    }
    Some(bytes)
}

/// x³ − 3x + b, if x is less than p.
fn y_squared(x: &[u8; 48]) -> Option<Field> {
    let mut words = [0; 6];
    for (word, bytes) in words.iter_mut().rev().zip(x.as_chunks().0) {
        *word = u64::from_be_bytes(*bytes);
    }
    let (_, is_less) = minus(&words, &P);
    let x = is_less.then(|| Field(words).times(&R_SQUARED))?;
    Some(x.squared(1).times(&x).minus(&x).minus(&x).minus(&x).plus(&B))
}

/// A number modulo p, times 2³⁸⁴ modulo p (Montgomery's form): less than p.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Field(Words);

impl Field {
    fn number(&self) -> Words {
        let mut double = [0; 12];
        double[..6].copy_from_slice(&self.0);
        Self::reduced(double).0
    }

    fn plus(&self, other: &Self) -> Self {
        // Of 0 that is p, which `minus` takes away as well.
        self.minus(&Self(minus(&P, &other.0).0))
    }

    fn minus(&self, other: &Self) -> Self {
        let (difference, is_less) = minus(&self.0, &other.0);
        Self(if is_less { plus(&difference, &P) } else { difference })
    }

    fn times(&self, other: &Self) -> Self {
        let mut double = [0; 12];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (j, b) in other.0.iter().enumerate() {
                (double[i + j], carry) = a.carrying_mul_add(*b, double[i + j], carry);
            }
            double[i + 6] = carry;
        }
        Self::reduced(double)
    }

    /// Squared so many times.
    fn squared(mut self, times: u32) -> Self {
        for _ in 0..times {
            let mut double = [0; 12];
            // Each product of two different words once, then twice.
            for i in 0..6 {
                let mut carry = 0;
                for j in i + 1..6 {
                    (double[i + j], carry) = self.0[i].carrying_mul_add(self.0[j], double[i + j], carry);
                }
                double[i + 6] = carry;
            }
            let mut above = 0;
            for word in &mut double {
                (*word, above) = (*word << 1 | above, *word >> 63);
            }
            let mut carry = false;
            for (i, word) in self.0.iter().enumerate() {
                let (low, high) = word.carrying_mul(*word, 0);
                (double[2 * i], carry) = double[2 * i].carrying_add(low, carry);
                (double[2 * i + 1], carry) = double[2 * i + 1].carrying_add(high, carry);
            }
            self = Self::reduced(double);
        }
        self
    }

    /// A number below p · 2³⁸⁴, divided by 2³⁸⁴.
    ///
    /// Montgomery's reduction adds to the number, word by word, as many times p as make that word 0. p ends in a word whose
    /// negative inverse is 2³² + 1, and what is to be added, m · p, is m · 2³⁸⁴ less m · (2¹²⁸ + 2⁹⁶ − 2³² + 1): sums, and no product.
    fn reduced(mut double: [u64; 12]) -> Self {
        let mut carry = false;
        for i in 0..6 {
            let m = double[i].wrapping_add(double[i] << 32);
            // The lowest word of what is taken away is the word that becomes 0.
            let (_, borrow) = m.overflowing_sub(m << 32);
            let (second, borrow) = (m << 32).borrowing_sub(m >> 32, borrow);
            // It is 0 for m = 0 and for m = 2⁶⁴ − 2³² + 1 only, where nothing is borrowed.
            let (third, above) = m.overflowing_add(m >> 32);
            let third = third - u64::from(borrow);
            let mut borrow = false;
            for (j, less) in [second, third, u64::from(above), 0, 0].into_iter().enumerate() {
                let word = &mut double[i + 1 + j];
                (*word, borrow) = word.borrowing_sub(less, borrow);
            }
            // Nothing is taken away if m is 0.
            (double[i + 6], carry) = double[i + 6].carrying_add(m - u64::from(borrow), carry);
        }
        let [.., a, b, c, d, e, f] = double;
        let number = [a, b, c, d, e, f];
        let (less, is_less) = minus(&number, &P);
        Self(if is_less && !carry { number } else { less })
    }

    /// A number whose square this is, if there is one: this to the power of (p + 1) / 4, for p is 3 modulo 4.
    ///
    /// In bits that is 255 ones, 0, 32 ones, 63 zeros, 1 and 30 zeros.
    fn root(&self) -> Self {
        let ones_2 = self.squared(1).times(self);
        let ones_3 = ones_2.squared(1).times(self);
        let ones_6 = ones_3.squared(3).times(&ones_3);
        let ones_12 = ones_6.squared(6).times(&ones_6);
        let ones_15 = ones_12.squared(3).times(&ones_3);
        let ones_30 = ones_15.squared(15).times(&ones_15);
        let ones_32 = ones_30.squared(2).times(&ones_2);
        let ones_60 = ones_30.squared(30).times(&ones_30);
        let ones_120 = ones_60.squared(60).times(&ones_60);
        let ones_240 = ones_120.squared(120).times(&ones_120);
        let ones_255 = ones_240.squared(15).times(&ones_15);
        ones_255.squared(33).times(&ones_32).squared(64).times(self).squared(30)
    }
}

/// Whether `a` is a square modulo `n`, a prime but 2: whether the Jacobi symbol (a/n) is not −1.
///
/// The binary algorithm: (2/n) is −1 for n = 3 and 5 modulo 8; (a/n) is −(n/a) if both are 3 modulo 4, else (n/a);
/// (a/n) = (a−n/n). `crypto-bigint` has it too, but goes one bit a step and takes several times as long.
fn is_square(mut a: Words, mut n: Words) -> bool {
    // Its lowest bit counts the changes of sign.
    let mut sign = 0;
    // `a != [0; 6]` would call the C library's comparison of bytes, which takes as long as the rest of a step.
    while a.iter().fold(0, |some, word| some | word) != 0 {
        while a[0] == 0 {
            a = [a[1], a[2], a[3], a[4], a[5], 0];
        }
        let zeros = a[0].trailing_zeros();
        let above = [a[1], a[2], a[3], a[4], a[5], 0];
        for (word, above) in a.iter_mut().zip(above) {
            // Twice, since a shift by all of 64 is none.
            *word = *word >> zeros | above << 1 << (63 - zeros);
        }
        sign ^= u64::from(zeros) & (n[0] >> 1 ^ n[0] >> 2);
        let (difference, less) = minus(&a, &n);
        // Without a branch, for nobody can tell which way it would go.
        let all = u64::from(less).wrapping_neg();
        sign ^= (a[0] & n[0]) >> 1 & all;
        let mut carry = less;
        for i in 0..6 {
            n[i] ^= (a[i] ^ n[i]) & all;
            (a[i], carry) = (difference[i] ^ all).carrying_add(0, carry);
        }
    }
    sign & 1 == 0
}

/// `a` − `b` modulo 2³⁸⁴, and whether `a` is less.
fn minus(a: &Words, b: &Words) -> (Words, bool) {
    let (mut difference, mut borrow) = ([0; 6], false);
    for i in 0..6 {
        (difference[i], borrow) = a[i].borrowing_sub(b[i], borrow);
    }
    (difference, borrow)
}

/// `a` + `b` modulo 2³⁸⁴.
fn plus(a: &Words, b: &Words) -> Words {
    let (mut sum, mut carry) = ([0; 6], false);
    for i in 0..6 {
        (sum[i], carry) = a[i].carrying_add(b[i], carry);
    }
    sum
}

#[cfg(test)]
mod tests {
    use p384::elliptic_curve::{
        bigint::{U384, const_monty_params, modular::ConstMontyForm},
        sec1::ToSec1Point as _,
    };
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const_monty_params!(
        Theirs,
        U384,
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
        "p, for crypto-bigint."
    );

    fn number(words: &Words) -> U384 {
        U384::from_words(*words)
    }

    /// The y that p384 finds.
    fn y_by_p384(x: &[u8; 48], odd: bool) -> Option<[u8; 48]> {
        let key = [[2 + u8::from(odd)].as_slice(), x].concat();
        let point = p384::PublicKey::from_sec1_bytes(&key).ok()?;
        point.to_sec1_point(false).as_bytes().last_chunk().copied()
    }

    /// Whether there is one, after it was compared.
    fn is_x_of_a_point(x: &[u8; 48]) -> bool {
        let [even, odd] = [false, true].map(|odd| {
            let found = y(x, odd);
            assert_eq!(found, y_by_p384(x, odd), "{x:02x?} {odd}");
            found.is_some()
        });
        assert_eq!(even, odd);
        even
    }

    #[test]
    fn random_numbers_as_p384_has_it() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut points = 0;
        for round in 0..4_000 {
            let mut x = [0; 48];
            rng.fill_bytes(&mut x);
            // Also ones that begin or end with zeros, and such as are close to p.
            match round % 4 {
                1 => x[..round / 4 % 48].fill(0),
                2 => x[round / 4 % 48..].fill(0),
                3 => x[..round / 4 % 48].fill(0xFF),
                _ => {}
            }
            let expected = is_x_of_a_point(&x);
            assert_eq!(has_points(&x), expected, "{x:02x?}");
            points += u32::from(expected);
        }
        assert!((1_500..2_500).contains(&points), "{points}");
    }

    #[test]
    fn the_edges_as_p384_has_them() {
        let p = number(&P);
        let mut found = Vec::new();
        for x in 0..10u8 {
            let x = U384::from_u8(x);
            found.extend([x, p.wrapping_sub(&x), p.wrapping_add(&x), U384::MAX.wrapping_sub(&x)]);
        }
        // The generator's x.
        let generator = "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7";
        found.push(U384::from_be_hex(generator));
        for x in &found {
            let bytes = <[u8; 48]>::from(x.to_be_bytes());
            assert_eq!(has_points(&bytes), is_x_of_a_point(&bytes), "{x}");
            assert!(x < &p || !has_points(&bytes), "{x} has another spelling");
        }
        assert!(has_points(&found[found.len() - 1].to_be_bytes().into()));
    }

    /// Numbers of few words, and those just below p, are where carries go far.
    #[test]
    fn numbers_are_multiplied_as_crypto_bigint_does_it() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut random = || -> Words {
            let mut words = [0; 6];
            for word in &mut words {
                *word = match rng.next_u32() % 4 {
                    0 => 0,
                    1 => !0,
                    2 => u64::from(rng.next_u32()) << (rng.next_u32() % 64),
                    _ => rng.next_u64(),
                };
            }
            if minus(&words, &P).1 { words } else { minus(&words, &P).0 }
        };
        let mut numbers: Vec<Words> = (0..400).map(|_| random()).collect();
        for n in 0..5 {
            numbers.push([n, 0, 0, 0, 0, 0]);
            numbers.push(minus(&P, &[n + 1, 0, 0, 0, 0, 0]).0);
        }
        // As such, which look random then, and as what others look like then.
        let theirs = numbers.iter().flat_map(|words| {
            let number = number(words);
            [ConstMontyForm::<Theirs, 6>::new(&number), ConstMontyForm::from_montgomery(number)]
        });
        let theirs: Vec<_> = theirs.collect();
        let ours = numbers.iter().flat_map(|words| [Field(*words).times(&R_SQUARED), Field(*words)]);
        let ours: Vec<_> = ours.collect();
        for (a, a_of_theirs) in ours.iter().zip(&theirs) {
            assert_eq!(number(&a.0), *a_of_theirs.as_montgomery());
            assert_eq!(number(&a.number()), a_of_theirs.retrieve());
            assert_eq!(number(&a.squared(3).0), *a_of_theirs.square().square().square().as_montgomery());
            for (b, b_of_theirs) in ours.iter().zip(&theirs) {
                assert_eq!(number(&a.times(b).0), *(*a_of_theirs * b_of_theirs).as_montgomery());
                assert_eq!(number(&a.plus(b).0), *(*a_of_theirs + b_of_theirs).as_montgomery());
                assert_eq!(number(&a.minus(b).0), *(*a_of_theirs - b_of_theirs).as_montgomery());
            }
        }
    }

    /// What comes to p or above it, and not to 2³⁸⁴.
    #[test]
    fn a_number_is_less_than_p() {
        let below = |n: u64| minus(&P, &[n, 0, 0, 0, 0, 0]).0;
        assert_eq!(Field(P).number(), [0; 6]);
        let minus_one = Field(below(1)).times(&R_SQUARED);
        assert_eq!(minus_one.times(&Field(below(4))).0, [4, 0, 0, 0, 0, 0]);
        assert_eq!(minus_one.times(&Field([4, 0, 0, 0, 0, 0])).0, below(4));
    }

    #[test]
    fn squares_modulo_a_small_prime() {
        let number = |n: u64| [n, 0, 0, 0, 0, 0];
        // 0, and every square below each of them.
        for p in [3, 5, 7, 11, 13, 17, 19, 23, 97, 193] {
            let squares: Vec<u64> = (0..p).map(|root| root * root % p).collect();
            for a in 0..p {
                assert_eq!(is_square(number(a), number(p)), squares.contains(&a), "{a} modulo {p}");
            }
        }
    }
}
