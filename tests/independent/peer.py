#!/usr/bin/env python3
"""A second implementation of the peer, written from docs/protocol.md alone: it shares no code and no library with the
Rust one, so what both agree on is what the text says. HPKE is pyhpke's, ECDSA and HKDF are cryptography's.
For tests, not for people: private keys are arguments. Errors are one line on stderr and exit status 1."""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
import warnings

warnings.simplefilter("ignore")  # of the imports below about old ciphers: stderr is for our one line

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

SUITE = CipherSuite.new(KEMId.DHKEM_P384_HKDF_SHA384, KDFId.HKDF_SHA384, AEADId.AES256_GCM)
SEALED_SIZES = (4096, 8192, 16384)
OVERHEAD = 1 + 97 + 16  # version, enc, tag
TYPES = ("offer", "answer", "candidate", "refuse", "bye", "note")
TYPES_WITH_IK = ("offer", "answer", "refuse", "note")


class Fault(Exception):
    """What is wrong with the input, in one line."""


# Bytes and text


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text, what, size=None):
    """Canonical base64url without padding; nothing else is accepted."""
    if not isinstance(text, str) or not re.fullmatch("[A-Za-z0-9_-]*", text) or len(text) % 4 == 1:
        raise Fault(f"{what} is not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise Fault(f"{what} is not canonical base64url")
    if size is not None and len(data) != size:
        raise Fault(f"{what} has {len(data)} bytes, not {size}")
    return data


def unhex(text, what, size=None):
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise Fault(f"{what} is not hex") from None
    if size is not None and len(data) != size:
        raise Fault(f"{what} has {len(data)} bytes, not {size}")
    return data


def lp16(data):
    return len(data).to_bytes(2, "big") + data


def lp32(data):
    return len(data).to_bytes(4, "big") + data


def no_duplicates(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def unjson(data, what):
    """A JSON object in UTF-8, no key twice."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as e:
        raise Fault(f"{what} is not JSON: {e}") from None
    if not isinstance(value, dict):
        raise Fault(f"{what} is not a JSON object")
    return value


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# Keys


def private_key(data):
    try:
        return ec.derive_private_key(int.from_bytes(data, "big"), ec.SECP384R1())
    except ValueError:
        raise Fault("the private key is out of range") from None


def public_bytes(key, form=PublicFormat.CompressedPoint):
    return key.public_key().public_bytes(Encoding.X962, form)


def public_key(data, what):
    if len(data) != 49 or data[0] not in (2, 3):
        raise Fault(f"{what} is not a compressed P-384 point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), data)
    except ValueError:
        raise Fault(f"{what} is not a point of P-384") from None


def un_pub(text, what="pub"):
    """The 49 bytes of a public key in its only accepted spelling."""
    data = unb64(text, what, 49)
    public_key(data, what)
    return data


def box_key(sk_hex, pub_text):
    sk, pub = unhex(sk_hex, "--sk", 48), un_pub(pub_text, "--pub")
    if public_bytes(private_key(sk)) != pub:
        raise Fault("--pub is not the public key of --sk")
    return sk, pub


# The link (section 1)


def canonical_relay(url):
    """The spelling of a relay's URL that formulas use: enough of WHATWG's rules to catch a slip, not all of them."""
    if not re.fullmatch(r"https?://[^/?#@\sA-Z]+(/[^?#\s]+)?", url):
        raise Fault(f"not a canonical relay URL: {url!r}")
    return url


def parse_connectoid(text):
    parts = text.split(".")
    if not 2 <= len(parts) <= 4:
        raise Fault("a connectoid has 2 to 4 parts")
    pub = un_pub(parts[0])
    try:
        relays = unb64(parts[1], "relay URLs").decode().split(" ")
    except UnicodeDecodeError:
        raise Fault("relay URLs are not UTF-8") from None
    if len(relays) > 4:
        raise Fault("more than 4 relays")
    secret = None
    if len(parts) == 4:
        tagged = unb64(parts[3], "link secret", 33)
        if tagged[0] != 1:
            raise Fault("unknown link version")
        secret = tagged[1:]
    return {
        "pub": pub,
        "relays": [canonical_relay(url) for url in relays],
        "ext": (parts[2] or None) if len(parts) > 2 else None,
        "secret": secret,
    }


# HPKE (section 3): one context seals one message


def hkdf(salt, ikm, info, length):
    return HKDF(algorithm=hashes.SHA384(), length=length, salt=salt, info=info).derive(ikm)


def seal(pub, plaintext, info, aad, psk=b"", psk_id=b""):
    uncompressed = public_key(pub, "pub").public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    recipient = SUITE.kem.deserialize_public_key(uncompressed)
    enc, context = SUITE.create_sender_context(recipient, info=info, psk=psk, psk_id=psk_id)
    return b64(b"\x01" + enc + context.seal(plaintext, aad=aad))


def unseal(sk, sealed, info, aad, psk=b"", psk_id=b""):
    if len(sealed) < OVERHEAD or sealed[0] != 1:
        raise Fault("not a sealed message of version 1")
    try:
        key = SUITE.kem.deserialize_private_key(sk)
        context = SUITE.create_recipient_context(sealed[1:98], key, info=info, psk=psk, psk_id=psk_id)
        return context.open(sealed[98:], aad=aad)
    except Exception:  # pyhpke's own, and cryptography's for an enc off the curve
        raise Fault("it does not open") from None


# The question (section 3)


def question_seal(pub, relay, plaintext):
    return seal(pub, plaintext, b"connectoid/1 question", lp16(relay.encode()) + pub)


def question_open(sk, pub, relay, question):
    sealed = unb64(question, "question")
    plaintext = unseal(sk, sealed, b"connectoid/1 question", lp16(relay.encode()) + pub)
    if len(plaintext) != 56:
        raise Fault(f"the question holds {len(plaintext)} bytes, not 56: not answered")
    return plaintext


def question_in(reply, pub, relay):
    """The question for `pub` in a reply to `check`, of one box or of many."""
    if reply.get("ok") is not True:
        raise Fault(f"the relay refused: {reply.get('error')!r}")
    if reply.get("relay", relay) != relay:
        raise Fault(f"the question is of another relay: {reply['relay']!r}")
    question = reply.get("question")
    for box in reply.get("boxes", []):
        if box.get("pub") == b64(pub):
            question = box.get("question")
    if question is None:
        raise Fault("the reply holds no question for this key")
    return question


# Messages (section 4)


def message_keys(pub, secret):
    """The keyword arguments of HPKE: PSK mode for a box with a secret, base mode for one without."""
    if secret is None:
        return {}
    return {"psk": message_psk(pub, secret), "psk_id": b"connectoid/1 psk"}


def message_psk(pub, secret):
    return hkdf(b"connectoid/1 psk", secret, pub, 48)


def signed_bytes(payload_field):
    return b"connectoid/1 sig\x00" + payload_field.encode("ascii")


def message_seal(pub, secret, sign_key, payload):
    field = b64(compact(payload))
    r, s = decode_dss_signature(sign_key.sign(signed_bytes(field), ec.ECDSA(hashes.SHA384())))
    sig = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    plaintext = lp32(compact({"alg": "ES384", "payload": field, "sig": b64(sig)}))
    for size in SEALED_SIZES:
        if len(plaintext) <= size - OVERHEAD:
            padded = plaintext.ljust(size - OVERHEAD, b"\x00")
            return seal(pub, padded, b"connectoid/1 message", b"connectoid/1\x01", **message_keys(pub, secret))
    raise Fault(f"the message is too large: {len(plaintext)} bytes, {SEALED_SIZES[-1] - OVERHEAD} at most")


def message_open(sk, pub, secret, data, ik=None):
    """The payload's bytes and its object, checked in the order of the protocol; all but `n` repeats and pinning,
    which need a memory. `ik` is the pinned signing key, which `candidate` and `bye` do not carry."""
    sealed = unb64(data, "data")
    if len(sealed) not in SEALED_SIZES:
        raise Fault(f"{len(sealed)} bytes are none of the sizes {SEALED_SIZES}")
    plaintext = unseal(sk, sealed, b"connectoid/1 message", b"connectoid/1\x01", **message_keys(pub, secret))
    length = int.from_bytes(plaintext[:4], "big")
    if length > len(plaintext) - 4:
        raise Fault("the envelope is longer than the message")
    if any(plaintext[4 + length :]):
        raise Fault("the padding is not zero")
    envelope = unjson(plaintext[4 : 4 + length], "the envelope")
    if envelope.get("alg") != "ES384":
        raise Fault(f"alg is {envelope.get('alg')!r}, not ES384")
    payload_bytes = unb64(envelope.get("payload"), "payload")
    sig = unb64(envelope.get("sig"), "sig", 96)
    payload = unjson(payload_bytes, "the payload")

    claimed = un_pub(payload["ik"], "ik") if "ik" in payload else None
    if ik is None and claimed is None:
        raise Fault("the payload names no ik: give the pinned one with --ik")
    if ik is not None and claimed is not None and claimed != ik:
        raise Fault("ik is not the pinned one")
    r, s = int.from_bytes(sig[:48], "big"), int.from_bytes(sig[48:], "big")
    try:
        key = public_key(ik or claimed, "ik")
        key.verify(encode_dss_signature(r, s), signed_bytes(envelope["payload"]), ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise Fault("the signature is wrong") from None

    if type(payload.get("v")) is not int or payload["v"] != 1:
        raise Fault("v is not 1")
    if payload.get("typ") not in TYPES:
        raise Fault(f"typ is {payload.get('typ')!r}")
    if un_pub(payload.get("to"), "to") != pub:
        raise Fault("to is another box")
    if payload["typ"] in TYPES_WITH_IK and claimed is None:
        raise Fault("ik is missing")
    for name in ("n", "ts"):
        if type(payload.get(name)) is not int or not 0 <= payload[name] < 2**53:
            raise Fault(f"{name} is not an integer below 2^53")
    return payload_bytes, payload


# The data channel and the short string (sections 5 and 6): for the vectors only

# The Matrix specification's table in its order: Dog … Pin.
EMOJI = (
    "🐶 🐱 🦁 🐎 🦄 🐷 🐘 🐰 🐼 🐓 🐧 🐢 🐟 🐙 🦋 🌷 🌳 🌵 🍄 🌏 🌙 ☁️ 🔥 🍌 🍎 🍓 🌽 🍕 🎂 ❤️ 😀 🤖 "
    "🎩 👓 🔧 🎅 👍 ☂️ ⌛ ⏰ 🎁 💡 📕 ✏️ 📎 ✂️ 🔒 🔑 🔨 ☎️ 🏁 🚂 🚲 ✈️ 🚀 🏆 ⚽ 🎸 🎺 🔔 ⚓ 🎧 📁 📌"
).split()


def sha384(*parts):
    return hashlib.sha384(b"".join(parts)).digest()


def hmac384(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha384).digest()


def transcript(offer, answer):
    return sha384(b"connectoid/1 transcript", lp32(offer), lp32(answer))


def data_channel_key(th, secret_o, secret_a):
    return hkdf(th, (secret_o or bytes(32)) + (secret_a or bytes(32)), b"connectoid/1 dc", 48)


def proof(kdc, role, nonce_peer, nonce_own, fp_own, fp_peer):
    return hmac384(kdc, b"connectoid/1 proof", role, nonce_peer, nonce_own, fp_own, fp_peer)


def fingerprint(sdp):
    found = set(re.findall(r"^a=fingerprint:sha-256 ([0-9A-Fa-f:]+)\r?$", sdp, re.M))
    if len(found) != 1:
        raise Fault(f"{len(found)} fingerprints in an SDP")
    return bytes.fromhex(found.pop().replace(":", ""))


def short_string(th, secret_o, secret_a, r_o, r_a):
    raw = hkdf(th, secret_o + secret_a, b"connectoid/1 sas" + r_o + r_a, 8)
    bits = f"{int.from_bytes(raw, 'big'):064b}"
    indexes = [int(bits[6 * i : 6 * i + 6], 2) for i in range(7)]
    numbers = [int(bits[13 * i : 13 * i + 13], 2) + 1000 for i in range(3)]
    return {"raw": raw.hex(), "indexes": indexes, "emoji": " ".join(EMOJI[i] for i in indexes), "numbers": numbers}


# The vectors


class Checks:
    count = 0

    def equal(self, name, got, expected):
        if got != expected:
            raise Fault(f"{name}: computed {got!r}, the file has {expected!r}")
        self.count += 1


def check_connectoid_vectors(v, check):
    link = parse_connectoid(v["link"])
    offer_payload, offer = message_open(bytes.fromhex(v["skA"]), link["pub"], link["secret"], v["offer"]["data"])
    back = parse_connectoid(offer["connectoid"])
    answer_payload, answer = message_open(bytes.fromhex(v["skB"]), back["pub"], back["secret"], v["answer"]["data"])

    for name, byte in (("skA", 0xA1), ("skB", 0xB1), ("sigA", 0xA2), ("sigB", 0xB2)):
        pair = SUITE.kem.derive_key_pair(bytes([byte]) * 48)
        ours = public_bytes(private_key(bytes.fromhex(v[name])), PublicFormat.UncompressedPoint)
        check.equal(name, ours, pair.public_key.to_public_bytes())
    for name, pub in (("skA", link["pub"]), ("skB", back["pub"])):
        check.equal(f"{name}'s pub", public_bytes(private_key(bytes.fromhex(v[name]))), pub)
    for name, ik in (("sigA", answer["ik"]), ("sigB", offer["ik"])):
        check.equal(f"{name}'s ik", b64(public_bytes(private_key(bytes.fromhex(v[name])))), ik)
    parts = b64(link["pub"]), b64(v["relay"].encode()), "", b64(b"\x01" + link["secret"])
    check.equal("link", ".".join(parts), v["link"])
    check.equal("the link's relays", link["relays"], [v["relay"]])
    check.equal("the link's ext", link["ext"], None)
    check.equal("pskA", message_psk(link["pub"], link["secret"]).hex(), v["pskA"])
    check.equal("pskB", message_psk(back["pub"], back["secret"]).hex(), v["pskB"])

    q, relay = v["question"], lp16(v["relay"].encode())
    head = q["t"].to_bytes(8, "big") + bytes.fromhex(q["r"])
    mac = hmac384(bytes.fromhex(q["K"]), b"connectoid/1 answer", relay, link["pub"], head)
    check.equal("question.answer", b64(head + mac[:32]), q["answer"])
    opened = question_open(bytes.fromhex(v["skA"]), link["pub"], v["relay"], q["question"])
    check.equal("question.question", b64(opened), q["answer"])

    check.equal("offer.payload", offer_payload.decode(), v["offer"]["payload"])
    check.equal("offer.typ", offer["typ"], "offer")
    check.equal("answer.payload", answer_payload.decode(), v["answer"]["payload"])
    check.equal("answer.typ", answer["typ"], "answer")
    check.equal("answer.re", answer["re"], b64(sha384(offer_payload)))

    secrets = link["secret"], back["secret"]
    th = transcript(offer_payload, answer_payload)
    kdc = data_channel_key(th, *secrets)
    check.equal("TH", th.hex(), v["TH"])
    check.equal("Kdc", kdc.hex(), v["Kdc"])
    check.equal("KdcNoSecret", data_channel_key(th, None, back["secret"]).hex(), v["KdcNoSecret"])

    r_o, r_a = bytes.fromhex(v["rO"]), unb64(answer["sasNonce"], "sasNonce", 32)
    commit = sha384(b"connectoid/1 sas-commit", r_o, back["pub"], un_pub(offer["ik"], "ik"))
    check.equal("sasCommit", b64(commit), offer["sasCommit"])
    for name, value in short_string(th, *secrets, r_o, r_a).items():
        check.equal(f"sas.{name}", value, v["sas"][name])

    fp_o, fp_a = fingerprint(offer["sdpOffer"]["sdp"]), fingerprint(answer["sdpAnswer"]["sdp"])
    nonce_o, nonce_a = bytes.fromhex(v["nonceO"]), bytes.fromhex(v["nonceA"])
    check.equal("fpO", fp_o.hex(), v["fpO"])
    check.equal("fpA", fp_a.hex(), v["fpA"])
    check.equal("proofO", proof(kdc, b"\x4f", nonce_a, nonce_o, fp_o, fp_a).hex(), v["proofO"])
    check.equal("proofA", proof(kdc, b"\x41", nonce_o, nonce_a, fp_a, fp_o).hex(), v["proofA"])


def check_mls_vectors(v, check):
    """RFC 9420, 5.1.3. Every vector here is shorter than 16,384 bytes, so a prefix has one or two bytes."""
    v = v["encrypt_with_label"]

    def prefixed(data):
        return (bytes([len(data)]) if len(data) < 64 else (0x4000 | len(data)).to_bytes(2, "big")) + data

    priv, pub = bytes.fromhex(v["priv"])[1:], bytes.fromhex(v["pub"])[2:]
    check.equal("priv's prefix", prefixed(priv).hex(), v["priv"])
    check.equal("pub", prefixed(public_bytes(private_key(priv), PublicFormat.UncompressedPoint)).hex(), v["pub"])
    check.equal("pub's size", len(pub), 97)
    info = prefixed(b"MLS 1.0 " + v["label"].encode()) + prefixed(bytes.fromhex(v["context"]))
    sealed = b"\x01" + bytes.fromhex(v["kem_output"]) + bytes.fromhex(v["ciphertext"])
    check.equal("plaintext", unseal(priv, sealed, info, b"").hex(), v["plaintext"])


# The commands


def keygen(args):
    key = ec.generate_private_key(ec.SECP384R1())
    sk = key.private_numbers().private_value.to_bytes(48, "big")
    return json.dumps({"sk": sk.hex(), "pub": b64(public_bytes(key))})


def answer(args):
    sk, pub = box_key(args.sk, args.pub)
    relay = canonical_relay(args.relay)
    question = question_in(unjson(sys.stdin.buffer.read(), "the reply"), pub, relay)
    plaintext = question_open(sk, pub, relay, question)
    return json.dumps({"answer": b64(plaintext), "t": int.from_bytes(plaintext[:8], "big")})


def question(args):
    return question_seal(un_pub(args.pub), canonical_relay(args.relay), unhex(args.plaintext, "--plaintext"))


def open_(args):
    sk, pub = box_key(args.sk, args.pub)
    secret = None if args.secret is None else unb64(args.secret, "--secret", 32)
    ik = None if args.ik is None else un_pub(args.ik, "--ik")
    data = sys.stdin.buffer.read().decode("ascii", "replace").strip()
    _, payload = message_open(sk, pub, secret, data, ik)
    payload.pop("noteText", None)
    if "note" in payload or payload["typ"] == "note":
        try:
            payload["noteText"] = unb64(payload.get("note"), "note").decode()
        except UnicodeDecodeError:
            pass
    return json.dumps(payload)


def seal_(args):
    pub = un_pub(args.to_pub, "--to-pub")
    secret = None if args.secret is None else unb64(args.secret, "--secret", 32)
    if not (0 <= args.n < 2**53 and 0 <= args.ts < 2**53):
        raise Fault("--n and --ts are integers below 2^53")
    sign_key = private_key(unhex(args.sign_key, "--sign-key", 48))
    with open(args.note_file, "rb") as f:
        note = f.read()
    ik = b64(public_bytes(sign_key))
    payload = {"v": 1, "typ": "note", "n": args.n, "ts": args.ts, "to": b64(pub), "ik": ik, "note": b64(note)}
    return message_seal(pub, secret, sign_key, payload)


def vectors(args):
    with open(args.file, "rb") as f:
        v = unjson(f.read(), args.file)
    check = Checks()
    (check_mls_vectors if "encrypt_with_label" in v else check_connectoid_vectors)(v, check)
    return f"{check.count} checked"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Fault(message)


def joined(argv):
    """`--secret -x` as `--secret=-x`: base64url may begin with a hyphen, and each of our options takes one value."""
    words, rest = [], iter(argv)
    for word in rest:
        if word.startswith("--") and "=" not in word and word != "--help":
            word += "=" + next(rest, "")
        words.append(word)
    return words


def parse(argv):
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function, name, help, *arguments):
        sub = commands.add_parser(name, help=help)
        sub.set_defaults(run=function)
        for flag, options in arguments:
            sub.add_argument(flag, **options)

    need, may, number = {"required": True}, {}, {"required": True, "type": int}
    sk, pub, relay = ("--sk", need), ("--pub", need), ("--relay", need)
    command(keygen, "keygen", "print a new key pair")
    command(answer, "answer", "stdin: a reply to check; print the answer to its question", sk, pub, relay)
    command(question, "question", "seal a question, as a relay does", pub, relay, ("--plaintext", need))
    command(open_, "open", "stdin: data; print its payload", sk, pub, ("--secret", may), ("--ik", may))
    command(
        seal_, "seal", "seal a note",
        ("--to-pub", need), ("--secret", may), ("--sign-key", need), ("--n", number), ("--ts", number), ("--note-file", need),
    )  # fmt: skip
    command(vectors, "vectors", "check a file of vectors", ("file", may))
    return parser.parse_args(joined(argv))


def main():
    try:
        args = parse(sys.argv[1:])
        print(args.run(args))
    except Fault as e:
        sys.exit(f"peer.py: {e}")
    except OSError as e:
        sys.exit(f"peer.py: {e.filename}: {e.strerror}")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        sys.exit(f"peer.py: input of an unexpected form: {type(e).__name__}: {e}")


if __name__ == "__main__":
    main()
