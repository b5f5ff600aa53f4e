//! Boxes to send to, with their keys: as many as a run needs, quickly.
//!
//! Key n is that of the number k + n, for a random k, so its public key is the one before plus the generator: an addition
//! instead of a multiplication. They are keys like any other to whoever does not know that, and the relay does not.

use connectoid::protocol::base64url;
use p384::{
    AffinePoint, NonZeroScalar, ProjectivePoint, Scalar,
    elliptic_curve::{BatchNormalize as _, Generate as _, sec1::ToSec1Point as _},
};
use rand::CryptoRng;

/// The length of a box's name: its public key in base64url.
pub(crate) const NAME_CHARS: usize = 66;

/// A box.
#[derive(Clone)]
pub(crate) struct MailBox {
    /// The compressed public key.
    pub(crate) key: [u8; 49],
    /// The same in base64url.
    pub(crate) name: [u8; NAME_CHARS],
    /// The uncompressed public key.
    pub(crate) point: [u8; 97],
    /// The private key.
    pub(crate) private: [u8; 48],
}

/// Makes boxes, no two alike.
pub(crate) struct Boxes {
    private: Scalar,
    public: ProjectivePoint,
}

impl Boxes {
    pub(crate) fn new(rng: &mut impl CryptoRng) -> Self {
        let private = *NonZeroScalar::generate_from_rng(rng);
        Self { private, public: ProjectivePoint::GENERATOR * private }
    }

    /// So many that nobody had before.
    pub(crate) fn take(&mut self, count: usize) -> Vec<MailBox> {
        let mut privates = Vec::with_capacity(count);
        let mut publics = Vec::with_capacity(count);
        for _ in 0..count {
            privates.push(self.private);
            publics.push(self.public);
            self.private += Scalar::ONE;
            self.public += AffinePoint::GENERATOR;
        }
        // One inversion for all of them.
        let publics = ProjectivePoint::batch_normalize(publics.as_slice());
        privates.iter().zip(publics).map(|(private, public)| mail_box(private, &public)).collect()
    }
}

fn mail_box(private: &Scalar, public: &AffinePoint) -> MailBox {
    let mut made =
        MailBox { key: [0; 49], name: [0; NAME_CHARS], point: [0; 97], private: private.to_bytes().into() };
    made.key.copy_from_slice(public.to_sec1_point(true).as_bytes());
    made.point.copy_from_slice(public.to_sec1_point(false).as_bytes());
    made.name.copy_from_slice(base64url::encode(made.key).as_bytes());
    made
}
