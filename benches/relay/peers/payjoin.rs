//! payjoin-mailroom (https://github.com/payjoin/rust-payjoin): the payjoin directory (BIP 77). A mailbox has the name of a key
//! and holds one message, padded; every request is sealed in Oblivious HTTP (RFC 9458), which it insists on.

use std::{net::SocketAddr, ops::Range, path::Path, process::Command};

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hmac::HMAC_SHA256,
};
use k256::{
    NonZeroScalar, ProjectivePoint, PublicKey,
    elliptic_curve::{Generate as _, point::AffineCoordinates as _, sec1::ToSec1Point as _},
};
use rand::{CryptoRng, SeedableRng as _, rngs::StdRng};

use super::{About, Letter, Peer, fetch, wire::Wire};
use crate::{
    Outcome,
    hpke::{expand, extract, mac},
    lab::Lab,
};

const NAME: &str = "payjoin-mailroom";
const VERSION: &str = "0.1.3";

/// A message and a request have always the same size (BIP 77).
const PADDED_MESSAGE: usize = 7168;
const PADDED_REQUEST: usize = 8192;

pub(crate) struct Payjoin {
    server: SocketAddr,
    letter: Letter,
    gateway: Gateway,
}

pub(crate) struct Delivery {
    number: u64,
    post: Sealed,
    get: Sealed,
}

impl Peer for Payjoin {
    const ABOUT: About = About {
        name: NAME,
        stores: Some("a file each"),
        proves: None,
        sealed: "HPKE, by its clients; requests too",
        a_second: 3_000.0,
    };
    type Lane = Wire;
    type Delivery = Delivery;

    fn fetch() -> Outcome<String> {
        fetch::cargo(NAME, VERSION, true)?;
        Ok(VERSION.to_owned())
    }

    fn command(_: &Lab, address: SocketAddr, folder: &Path) -> Outcome<Command> {
        let mut command = Command::new(fetch::program(NAME, VERSION));
        command.current_dir(folder).env_clear();
        command.env("PJ_LISTENER", address.to_string()).env("PJ_STORAGE_DIR", folder);
        Ok(command)
    }

    fn meet(server: SocketAddr) -> Outcome<Self> {
        let keys =
            Wire::connect(0, server)?.ask(b"GET /ohttp-keys HTTP/1.1\r\nhost: relay.example\r\n\r\n")?;
        let padded = |message: &[u8]| [message, &[0].repeat(PADDED_MESSAGE - message.len())].concat();
        Ok(Self { server, letter: Letter::of(padded), gateway: Gateway::from_keys(&keys)? })
    }

    fn deliveries(&self, _: &Lab, numbers: Range<u64>) -> Outcome<Vec<Delivery>> {
        let mut rng = StdRng::seed_from_u64(numbers.start);
        let delivery = |number| {
            let path = format!("/{}", short_id(number));
            let post = self.gateway.seal(&mut rng, "POST", &path, &self.letter.number(number))?;
            let get = self.gateway.seal(&mut rng, "GET", &path, b"")?;
            Ok(Delivery { number, post, get })
        };
        numbers.map(delivery).collect()
    }

    fn lane(&self, n: usize) -> Outcome<Wire> {
        Wire::connect(n, self.server)
    }

    fn send(&self, wire: &mut Wire, delivery: &Delivery) -> Outcome<()> {
        succeeded(&delivery.post.open(wire.ask(&delivery.post.request)?)?).map(drop)
    }

    fn receive(&self, wire: &mut Wire, delivery: &Delivery) -> Outcome<()> {
        let reply = delivery.get.open(wire.ask(&delivery.get.request)?)?;
        let message = self.letter.number(delivery.number);
        if succeeded(&reply)?.windows(message.len()).any(|part| part == message) {
            return Ok(());
        }
        Err("the directory has another message".into())
    }
}

/// What follows the status of a reply (RFC 9292), which must be 200.
fn succeeded(reply: &[u8]) -> Outcome<&[u8]> {
    // A response of known length, and 200 in two bytes.
    let rest = reply.strip_prefix(&[1, 0x40, 200]);
    Ok(rest.ok_or_else(|| format!("the directory refused: {:?}", &reply[..reply.len().min(200)]))?)
}

/// Eight bytes in bech32's letters, without a checksum.
fn short_id(number: u64) -> String {
    const LETTERS: &[u8; 32] = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";
    // 13 letters of 5 bits are 65.
    let bits = u128::from(number) << 1;
    (0..13).rev().map(|n| char::from(LETTERS[(bits >> (5 * n)) as usize & 31])).collect()
}

/// Whom requests are sealed to.
struct Gateway {
    key: PublicKey,
    /// Its key's number, KEM, KDF, and AEAD, with which each request begins.
    head: [u8; 7],
}

/// DHKEM(secp256k1, HKDF-SHA256).
const KEM: &[u8] = b"KEM\x00\x16";

/// That with HKDF-SHA256 and ChaCha20-Poly1305.
const SUITE: &[u8] = b"HPKE\x00\x16\x00\x01\x00\x03";

/// A sealed request, and what its reply opens with.
struct Sealed {
    request: Vec<u8>,
    enc: Vec<u8>,
    secret: Vec<u8>,
}

impl Gateway {
    /// From a key configuration (RFC 9458, section 3.1).
    fn from_keys(keys: &[u8]) -> Outcome<Self> {
        let [id, 0, 0x16, point @ .., 0, 4, 0, 1, 0, 3] = keys else {
            return Err("the directory's keys are of another kind".into());
        };
        Ok(Self { key: PublicKey::from_sec1_bytes(point)?, head: [*id, 0, 0x16, 0, 1, 0, 3] })
    }

    /// A request that says this, sealed (RFC 9458, section 4.3).
    fn seal(&self, rng: &mut impl CryptoRng, method: &str, path: &str, body: &[u8]) -> Outcome<Sealed> {
        let ephemeral = NonZeroScalar::generate_from_rng(rng);
        let enc = ProjectivePoint::mul_by_generator(&ephemeral).to_affine().to_sec1_point(false);
        let dh = (self.key.to_projective() * *ephemeral).to_affine().x();
        let info = [b"message/bhttp request\0", self.head.as_slice()].concat();
        let (enc, own) = (enc.as_bytes(), self.key.to_sec1_point(false));

        // RFC 9180, sections 4.1 and 5.1.
        let shared = extract(HMAC_SHA256, KEM, &[], b"eae_prk", &dh);
        let both = [enc, own.as_bytes()].concat();
        let shared = expand(HMAC_SHA256, KEM, shared.as_ref(), b"shared_secret", &both, 32);
        let id = extract(HMAC_SHA256, SUITE, &[], b"psk_id_hash", &[]);
        let info = extract(HMAC_SHA256, SUITE, &[], b"info_hash", &info);
        let context = [[0].as_slice(), id.as_ref(), info.as_ref()].concat();
        let secret = extract(HMAC_SHA256, SUITE, shared.as_ref(), b"secret", &[]);
        let key = expand(HMAC_SHA256, SUITE, secret.as_ref(), b"key", &context, 32);
        let nonce = expand(HMAC_SHA256, SUITE, secret.as_ref(), b"base_nonce", &context, 12);
        let exporter = expand(HMAC_SHA256, SUITE, secret.as_ref(), b"exp", &context, 32);
        let secret = expand(HMAC_SHA256, SUITE, exporter.as_ref(), b"sec", b"message/bhttp response", 32);

        let mut plain = binary_request(method, path, body);
        plain.resize(PADDED_REQUEST - self.head.len() - enc.len() - CHACHA20_POLY1305.tag_len(), 0);
        let (key, nonce) = cipher(key.as_ref(), nonce.as_ref())?;
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut plain)?;
        let mut request = format!(
            "POST /.well-known/ohttp-gateway HTTP/1.1\r\nhost: relay.example\r\n\
             content-type: message/ohttp-req\r\ncontent-length: {PADDED_REQUEST}\r\n\r\n"
        )
        .into_bytes();
        request.extend([self.head.as_slice(), enc, &plain].concat());
        Ok(Sealed { request, enc: enc.to_vec(), secret: secret.as_ref().to_vec() })
    }
}

impl Sealed {
    /// What the reply says (RFC 9458, section 4.4).
    fn open(&self, mut reply: Vec<u8>) -> Outcome<Vec<u8>> {
        if reply.len() < 32 {
            return Err("the reply is too short".into());
        }
        let (salt, sealed) = reply.split_at_mut(32);
        let prk = mac(HMAC_SHA256, &[&self.enc, &*salt].concat(), &[&self.secret]);
        let part = |name: &[u8]| mac(HMAC_SHA256, prk.as_ref(), &[name, &[1]]);
        let (key, nonce) = cipher(part(b"key").as_ref(), part(b"nonce").as_ref())?;
        Ok(key.open_in_place(nonce, Aad::empty(), sealed)?.to_vec())
    }
}

fn cipher(key: &[u8], nonce: &[u8]) -> Outcome<(LessSafeKey, Nonce)> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key[..32])?);
    Ok((key, Nonce::try_assume_unique_for_key(&nonce[..12])?))
}

/// A request of known length without fields (RFC 9292, section 3.1).
fn binary_request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = vec![0];
    for part in [method.as_bytes(), b"https", b"relay.example", path.as_bytes(), b"", body, b""] {
        // In two bytes, which hold 14 bits, however short it is.
        request.extend_from_slice(&(0x4000 | part.len() as u16).to_be_bytes());
        request.extend_from_slice(part);
    }
    request
}
