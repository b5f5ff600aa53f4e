//! Whether there are points of P-384 with a given x, without finding their y: by a symbol instead of a square root, in an
//! eighth of the time. Keys are public, so it may depend on them.

use p384::elliptic_curve::bigint::{
    U384, const_monty_params,
    modular::{ConstMontyForm, ConstMontyParams as _},
};

const_monty_params!(
    P384,
    U384,
    "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    "p = 2³⁸⁴ − 2¹²⁸ − 2⁹⁶ + 2³² − 1 (SP 800-186, section 3.2.1.4)."
);

type Field = ConstMontyForm<P384, { U384::LIMBS }>;

const B: Field = Field::new(&U384::from_be_hex(
    "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
));

const THREE: Field = Field::new(&U384::from_u8(3));

/// A number, the lowest word first.
type Words = [u64; 6];

/// Whether `x`, big-endian, is less than p and x³ − 3x + b a square modulo p.
pub(super) fn has_points(x: &[u8; 48]) -> bool {
    let x = U384::from_be_slice(x);
    let p = P384::PARAMS.modulus().as_ref();
    if x.cmp_vartime(p).is_ge() {
        return false;
    }
    let x = Field::new(&x);
    let y_squared = (x.square() - THREE) * x + B;
    is_square(words(&y_squared.retrieve()), words(p))
}

/// Whether `a` is a square modulo `n`, a prime but 2: whether the Jacobi symbol (a/n) is not −1.
///
/// The binary algorithm: (2/n) is −1 for n = 3 and 5 modulo 8; (a/n) is −(n/a) if both are 3 modulo 4, else (n/a);
/// (a/n) = (a−n/n). `crypto-bigint` has it too, but goes one bit a step and takes three times as long.
fn is_square(mut a: Words, mut n: Words) -> bool {
    // Its lowest bit counts the changes of sign.
    let mut sign = 0;
    while a != [0; 6] {
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
        if less {
            sign ^= (a[0] & n[0]) >> 1;
            (a, n) = (minus(&n, &a).0, a);
        } else {
            a = difference;
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

fn words(number: &U384) -> Words {
    let mut words = [0; 6];
    for (word, bytes) in words.iter_mut().zip(number.to_le_bytes().as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    /// What p384 says, which finds the point.
    fn is_x_of_a_point(x: &[u8; 48]) -> bool {
        let [even, odd] = [2, 3].map(|tag| {
            let key = [[tag].as_slice(), x].concat();
            p384::PublicKey::from_sec1_bytes(&key).is_ok()
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
        let p = *P384::PARAMS.modulus().as_ref();
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
