//! The question: how a relay makes the owner of a box prove it, without keeping any state.
//!
//! The owner opens the question and sends its 56 bytes back. A message and a question are sealed to the same key,
//! so they are kept apart by `info` and `aad`; otherwise a dishonest relay would pass a stored message as a question
//! and get its plaintext as the answer.

use std::iter;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::CryptoRng;
use sha2::Sha384;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{BoxKey, CannotOpen, CannotSeal, Mode, lp16, open, seal};
use crate::{
    defences::{Defence, holds},
    protocol::{Answer, PublicKey, RelayUrl, base64url},
};

const INFO: &[u8] = b"connectoid/1 question";
const ANSWER_LABEL: &[u8] = b"connectoid/1 answer";
const SENDER_LABEL: &[u8] = b"connectoid/1 sender";

/// How far an answer may be ahead of this instance's clock, in seconds: the clocks of several instances differ.
const CLOCK_SKEW: i64 = 5;

/// A secret as HMAC has it once it has taken it in, which would be half of the work for texts as short as ours. In a box, so that
/// no copy is left behind where it is moved.
type Keyed = Box<Hmac<Sha384>>;

/// What HMAC makes of a secret is erased by the hash, which is to be built with its feature for that.
const _: () = erased::<Sha384>();

const fn erased<T: ZeroizeOnDrop>() {}

/// The relay's secrets: the first one signs questions, all verify answers.
#[derive(Clone)]
pub struct Secrets {
    first: Keyed,
    others: Vec<Keyed>,
}

/// Why a list of secrets was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a comma-separated list of secrets, each 32 to 64 random bytes in base64url")]
pub struct NotSecrets;

impl Secrets {
    /// One secret, of 32 to 64 bytes.
    pub fn one(secret: &[u8]) -> Result<Self, NotSecrets> {
        Ok(Self { first: taken_in(secret)?, others: Vec::new() })
    }

    /// A comma-separated list in base64url.
    pub fn parse(list: &str) -> Result<Self, NotSecrets> {
        let mut secrets = list.split(',').map(|secret| {
            let secret = base64url::decode(secret.trim()).map_err(|_| NotSecrets)?;
            taken_in(&Zeroizing::new(secret))
        });
        Ok(Self { first: secrets.next().ok_or(NotSecrets)??, others: secrets.collect::<Result<_, _>>()? })
    }

    /// A name for a sender that holds for one box: the first 8 bytes of
    /// HMAC-SHA384(K, "connectoid/1 sender" ‖ pub ‖ source), K being the first secret. Tells nothing without it.
    pub fn pseudonym(&self, key: &PublicKey, source: &[u8]) -> i64 {
        let mut mac = Hmac::clone(&self.first);
        mac.update(SENDER_LABEL);
        mac.update(key.as_bytes());
        mac.update(source);
        mac.finalize().into_bytes().first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
    }
}

fn taken_in(secret: &[u8]) -> Result<Keyed, NotSecrets> {
    if !(32..=64).contains(&secret.len()) {
        return Err(NotSecrets);
    }
    Hmac::new_from_slice(secret).map(Box::new).map_err(|_| NotSecrets)
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", 1 + self.others.len())
    }
}

/// Makes a question: `t(8) ‖ r(16) ‖ HMAC-SHA384(K, "connectoid/1 answer" ‖ lp16(relay) ‖ pub ‖ t ‖ r)[0..32]`,
/// sealed to the box, in base64url.
///
/// `now` is Unix time in seconds.
pub fn ask(
    rng: &mut impl CryptoRng,
    secrets: &Secrets,
    relay: &RelayUrl,
    key: &PublicKey,
    now: i64,
) -> Result<String, CannotSeal> {
    let plaintext = fresh(rng, secrets, relay, key, now);
    let sealed = seal(rng, key, Mode::Base, INFO, &aad(relay, key), &plaintext)?;
    Ok(base64url::encode(sealed))
}

/// Makes a question as [`ask`] does, in a quarter of the time: for the relay, whose dearest work it is. Of the randomness only
/// `r` comes from `rng`.
#[cfg(feature = "server")]
pub(crate) fn ask_quickly(
    rng: &mut impl CryptoRng,
    secrets: &Secrets,
    relay: &RelayUrl,
    key: &PublicKey,
    now: i64,
) -> Result<String, CannotSeal> {
    let plaintext = fresh(rng, secrets, relay, key, now);
    Ok(base64url::encode(super::quick::seal(key, INFO, &aad(relay, key), &plaintext)?))
}

/// What a new question holds.
fn fresh(
    rng: &mut impl CryptoRng,
    secrets: &Secrets,
    relay: &RelayUrl,
    key: &PublicKey,
    now: i64,
) -> [u8; Answer::BYTES] {
    let mut r = [0; 16];
    rng.fill_bytes(&mut r);
    plaintext(&secrets.first, relay, key, now, &r)
}

fn plaintext(
    secret: &Hmac<Sha384>,
    relay: &RelayUrl,
    key: &PublicKey,
    t: i64,
    r: &[u8; 16],
) -> [u8; Answer::BYTES] {
    let mut plaintext = [0; Answer::BYTES];
    plaintext[..8].copy_from_slice(&t.to_be_bytes());
    plaintext[8..24].copy_from_slice(r);
    let mac = mac(secret, relay, key, &plaintext[..24]).finalize().into_bytes();
    plaintext[24..].copy_from_slice(&mac[..32]);
    plaintext
}

fn mac(secret: &Hmac<Sha384>, relay: &RelayUrl, key: &PublicKey, t_and_r: &[u8]) -> Hmac<Sha384> {
    let mut mac = secret.clone();
    mac.update(ANSWER_LABEL);
    mac.update(&lp16(relay.as_str().as_bytes()));
    mac.update(key.as_bytes());
    mac.update(t_and_r);
    mac
}

fn aad(relay: &RelayUrl, key: &PublicKey) -> Vec<u8> {
    [&lp16(relay.as_str().as_bytes()), key.as_bytes().as_slice()].concat()
}

/// Whether `answer` is that to a question of ours about this box: for any of our URLs and secrets, made at most
/// `ttl` seconds before `now` (Unix time in seconds). Compares in constant time; reads nothing.
pub fn verify(
    secrets: &Secrets,
    relays: &[RelayUrl],
    key: &PublicKey,
    answer: &Answer,
    now: i64,
    ttl: i64,
) -> bool {
    let (t_and_r, given) = answer.0.split_at(24);
    let mut t = [0; 8];
    t.copy_from_slice(&t_and_r[..8]);
    let age = now.saturating_sub(i64::from_be_bytes(t));
    let in_time = (-CLOCK_SKEW..=ttl).contains(&age);
    let mut genuine = false;
    for relay in relays {
        for secret in iter::once(&secrets.first).chain(&secrets.others) {
            genuine |= mac(secret, relay, key, t_and_r).verify_truncated_left(given).is_ok();
        }
    }
    genuine & in_time
}

/// Opens a question that this relay sent about this box.
///
/// # Errors
/// If it is anything else: another relay's question, a message, another length. A client that gets this error sends
/// nothing back and reports a misbehaving relay.
pub fn open_question(key: &BoxKey, relay: &RelayUrl, question: &str) -> Result<Answer, CannotOpen> {
    let sealed = base64url::decode(question).map_err(|_| CannotOpen)?;
    let opened = match open(key, Mode::Base, INFO, &aad(relay, &key.public()), &sealed) {
        Err(_) if !holds(Defence::Purpose) => {
            super::message::open_without_secret(key, &sealed).map(|message| message[..Answer::BYTES].to_vec())
        }
        opened => opened,
    };
    let plaintext = Zeroizing::new(opened?);
    plaintext.as_slice().try_into().map(Answer).map_err(|_| CannotOpen)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const NOW: i64 = 1_795_170_000;

    fn relay() -> RelayUrl {
        "https://connecto.id".parse().unwrap()
    }

    #[test]
    fn asked_opened_and_answered_for_a_minute() {
        let mut rng = StdRng::seed_from_u64(1);
        let (key, other) = (BoxKey::generate(&mut rng), BoxKey::generate(&mut rng));
        let secrets = Secrets::one(&[7; 32]).unwrap();
        let question = ask(&mut rng, &secrets, &relay(), &key.public(), NOW).unwrap();
        let answer = open_question(&key, &relay(), &question).unwrap();
        let verify = |key: &BoxKey, now| verify(&secrets, &[relay()], &key.public(), &answer, now, 60);
        assert!(verify(&key, NOW));
        assert!(verify(&key, NOW + 60));
        assert!(!verify(&key, NOW + 61));
        assert!(verify(&key, NOW - 5));
        assert!(!verify(&key, NOW - 6));
        assert!(!verify(&other, NOW));
        for byte in 0..Answer::BYTES {
            let mut changed = answer;
            changed.0[byte] ^= 1;
            assert!(!super::verify(&secrets, &[relay()], &key.public(), &changed, NOW, 60), "byte {byte}");
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn asked_quickly_it_is_a_question_too() {
        let mut rng = StdRng::seed_from_u64(1);
        let secrets = Secrets::one(&[7; 32]).unwrap();
        for _ in 0..20 {
            let key = BoxKey::generate(&mut rng);
            let question = ask_quickly(&mut rng, &secrets, &relay(), &key.public(), NOW).unwrap();
            let answer = open_question(&key, &relay(), &question).unwrap();
            assert!(verify(&secrets, &[relay()], &key.public(), &answer, NOW, 60));
        }
        // The same chance, the same plaintext.
        let key = BoxKey::generate(&mut rng);
        let seed = || StdRng::seed_from_u64(2);
        let quickly = ask_quickly(&mut seed(), &secrets, &relay(), &key.public(), NOW).unwrap();
        let slowly = ask(&mut seed(), &secrets, &relay(), &key.public(), NOW).unwrap();
        let [quickly, slowly] = [quickly, slowly].map(|it| open_question(&key, &relay(), &it).unwrap());
        assert_eq!(quickly, slowly);
    }

    #[test]
    fn extreme_times_in_an_answer_are_no_panic() {
        let secrets = Secrets::one(&[7; 32]).unwrap();
        let key = BoxKey::generate(&mut StdRng::seed_from_u64(1)).public();
        for t in [i64::MIN, -1, 0, i64::MAX] {
            let answer = Answer(plaintext(&secrets.first, &relay(), &key, t, &[0; 16]));
            assert!(!verify(&secrets, &[relay()], &key, &answer, NOW, 60), "{t}");
        }
    }

    #[test]
    fn every_secret_and_url_of_ours_verifies_no_other() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::generate(&mut rng);
        let second: RelayUrl = "https://two.example/relay".parse().unwrap();
        let old = Secrets::one(&[7; 32]).unwrap();
        let question = ask(&mut rng, &old, &second, &key.public(), NOW).unwrap();
        let answer = open_question(&key, &second, &question).unwrap();
        let both = [relay(), second];
        let rotated =
            Secrets::parse(&[base64url::encode([8; 48]), base64url::encode([7; 32])].join(",")).unwrap();
        assert!(verify(&rotated, &both, &key.public(), &answer, NOW, 60));
        assert!(!verify(&rotated, &both[..1], &key.public(), &answer, NOW, 60));
        assert!(!verify(&Secrets::one(&[8; 48]).unwrap(), &both, &key.public(), &answer, NOW, 60));
    }

    #[test]
    fn nothing_but_this_relays_question_opens() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::generate(&mut rng);
        let secrets = Secrets::one(&[7; 32]).unwrap();
        let question = ask(&mut rng, &secrets, &relay(), &key.public(), NOW).unwrap();
        let other: RelayUrl = "https://evil.example".parse().unwrap();
        assert_eq!(open_question(&key, &other, &question), Err(CannotOpen));
        let aad = aad(&relay(), &key.public());
        for length in [0, 55, 57, 3982] {
            let sealed = seal(&mut rng, &key.public(), Mode::Base, INFO, &aad, &vec![0; length]).unwrap();
            assert_eq!(
                open_question(&key, &relay(), &base64url::encode(sealed)),
                Err(CannotOpen),
                "{length}"
            );
        }
        let message =
            seal(&mut rng, &key.public(), Mode::Base, b"connectoid/1 message", &aad, &[0; 56]).unwrap();
        assert_eq!(open_question(&key, &relay(), &base64url::encode(message)), Err(CannotOpen));
    }

    #[test]
    fn secrets_of_32_to_64_bytes() {
        let text = |lengths: &[usize]| {
            lengths.iter().map(|&n| base64url::encode(vec![1; n])).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(format!("{:?}", Secrets::parse(&text(&[32, 64])).unwrap()), "Secrets(2)");
        for wrong in [&[31][..], &[65], &[32, 31], &[0], &[]] {
            assert_eq!(Secrets::parse(&text(wrong)).err(), Some(NotSecrets), "{wrong:?}");
        }
        assert_eq!(Secrets::parse("not base64!").err(), Some(NotSecrets));
    }

    /// Python: hmac.new(bytes([7]*48), b"connectoid/1 sender" + pub + source, "sha384").digest()[:8]
    #[test]
    fn a_pseudonym_holds_for_one_source_one_box_and_one_secret() {
        let key = |text: &str| text.parse::<PublicKey>().unwrap();
        let one = key("A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw");
        let other = key("A6qHyiK-iwU3jrHHHvMgrXRuHTtii6ebmFn3QeCCVCo4VQLyXb9VKWw6VF44cnYKtw");
        let secrets = Secrets::one(&[7; 48]).unwrap();
        let name = secrets.pseudonym(&one, &[192, 0, 2, 1]);
        assert_eq!(name, 2_267_589_574_089_779_519);
        assert_eq!(secrets.pseudonym(&one, &[192, 0, 2, 1]), name);
        assert_ne!(secrets.pseudonym(&one, &[192, 0, 2, 2]), name);
        assert_ne!(secrets.pseudonym(&other, &[192, 0, 2, 1]), name);
        assert_ne!(Secrets::one(&[8; 48]).unwrap().pseudonym(&one, &[192, 0, 2, 1]), name);
    }
}
