#!/usr/bin/env python3
"""A second implementation of the peer, written from docs/protocol.md alone: it shares no code and no library with the
Rust one, so what both agree on is what the text says. HPKE is pyhpke's, ECDSA and HKDF are cryptography's.
For tests, not for people: private keys are arguments. Errors are one line on stderr and exit status 1."""

import argparse
import base64
import contextlib
import hashlib
import hmac
import ipaddress
import json
import math
import re
import sys
import urllib.parse
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
TYPES_WITHOUT_IK = ("candidate", "bye")


class Fault(Exception):
    """What is wrong with the input, in one line; `why` is the word for it in the files of vectors."""

    def __init__(self, message, why=None):
        super().__init__(message)
        self.why = why


@contextlib.contextmanager
def failing(why):
    """What goes wrong inside goes wrong for this reason, if none is given there."""
    try:
        yield
    except Fault as e:
        e.why = e.why or why
        raise


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


def no_constants(name):
    raise ValueError(f"{name} is not JSON")


def finite(digits):
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number out of range")
    return number


def plain_integer(digits):
    return -0.0 if digits == "-0" else int(digits)


def unjson(data, what):
    """A JSON object in UTF-8, no key twice, its text Unicode."""
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=no_duplicates,
            parse_constant=no_constants,
            parse_float=finite,
            parse_int=plain_integer,
        )
        compact(value)  # fails for half a surrogate pair
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


def is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def canonical_of(url):
    """The canonical spelling of a relay's URL: WHATWG's rules for the URLs that people write, not all of them."""
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise Fault(f"not a URL: {url!r}", "relay") from None
    if scheme not in ("https", "http") or not host or not re.fullmatch("[a-z0-9.:-]+", host):
        raise Fault(f"not a relay's URL: {url!r}", "relay")
    if scheme == "http" and not is_loopback(host):
        raise Fault(f"{url} would be unencrypted", "relay")
    origin = f"{scheme}://" + (f"[{host}]" if ":" in host else host)
    if port not in (None, {"https": 443, "http": 80}[scheme]):
        origin += f":{port}"
    return origin + ("" if parts.path == "/" else parts.path)


def canonical_relay(url):
    """A relay's URL that must be in its canonical spelling."""
    if not re.fullmatch(r"https?://[^/?#@\sA-Z]+(/[^?#\s]+)?", url):
        raise Fault(f"not a canonical relay URL: {url!r}")
    return url


def parse_connectoid(text):
    parts = text.split(".")
    if not 2 <= len(parts) <= 4:
        raise Fault("a connectoid has 2 to 4 parts", "parts")
    if len(parts) == 3 and not parts[2]:
        raise Fault("it ends with a dot", "cut")
    with failing("key"):
        pub = un_pub(parts[0])
    with failing("relays"):
        try:
            relays = [url for url in unb64(parts[1], "relay URLs").decode().split(" ") if url]
        except UnicodeDecodeError:
            raise Fault("relay URLs are not UTF-8") from None
    if not 1 <= len(relays) <= 4:
        raise Fault("not 1 to 4 relays", "relay-count")
    relays = [canonical_of(url) for url in relays]
    ext = parts[2] if len(parts) > 2 else ""
    with failing("ext"):
        unb64(ext, "ext")
        if len(ext) > 1024:
            raise Fault("ext is longer than 1024 characters")
    secret = None
    if len(parts) == 4:
        with failing("secret"):
            tagged = unb64(parts[3], "link secret")
            if tagged and tagged[0] != 1:
                raise Fault("unknown link version", "secret-version")
            secret = unb64(parts[3], "link secret", 33)[1:]
    return {"pub": pub, "relays": relays, "ext": ext or None, "secret": secret}


def return_connectoid(value):
    """The one inside a message or a frame: without its secret nobody could write back so that it counts."""
    try:
        connectoid = parse_connectoid(text_in(value, "connectoid"))
    except Fault as e:
        raise Fault(f"connectoid: {e}") from None
    if connectoid["secret"] is None:
        raise Fault("the connectoid has no secret")
    return connectoid


def write_connectoid(connectoid):
    parts = [b64(connectoid["pub"]), b64(" ".join(connectoid["relays"]).encode())]
    if connectoid["ext"] or connectoid["secret"]:
        parts.append(connectoid["ext"] or "")
    if connectoid["secret"]:
        parts.append(b64(b"\x01" + connectoid["secret"]))
    return ".".join(parts)


def find_connectoid(text):
    """The connectoid in a link, and where it stood."""
    text = text.strip()
    if "://" not in text:
        return text.removeprefix("connectoid="), None
    before, _, in_fragment = text.partition("#")
    for place, where in (("fragment", in_fragment), ("query", before.partition("?")[2])):
        found = re.search(r"(?:^|[?&/#;!])connectoid=([^&]*)", where)
        if found:
            return found.group(1), place
    raise Fault("there is no connectoid in this URL", "no-connectoid")


# HPKE (section 3): one context seals one message


def hkdf(salt, ikm, info, length):
    return HKDF(algorithm=hashes.SHA384(), length=length, salt=salt, info=info).derive(ikm)


def seal(pub, plaintext, info, aad, psk=b"", psk_id=b"", ikm_e=None):
    """`ikm_e`: what the ephemeral key is derived of, for the vectors; random otherwise."""
    uncompressed = public_key(pub, "pub").public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    recipient = SUITE.kem.deserialize_public_key(uncompressed)
    ephemeral = SUITE.kem.derive_key_pair(ikm_e) if ikm_e else None
    enc, context = SUITE.create_sender_context(recipient, info=info, psk=psk, psk_id=psk_id, eks=ephemeral)
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


def question_seal(pub, relay, plaintext, ikm_e=None):
    return seal(pub, plaintext, b"connectoid/1 question", lp16(relay.encode()) + pub, ikm_e=ikm_e)


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


def message_seal(pub, secret, sign_key, payload, ikm_e=None):
    field = b64(payload)
    algorithm = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)
    r, s = decode_dss_signature(sign_key.sign(signed_bytes(field), algorithm))
    sig = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    return envelope_seal(pub, secret, compact({"alg": "ES384", "payload": field, "sig": b64(sig)}), ikm_e)


def envelope_seal(pub, secret, envelope, ikm_e=None):
    plaintext = lp32(envelope)
    for size in SEALED_SIZES:
        if len(plaintext) <= size - OVERHEAD:
            padded = plaintext.ljust(size - OVERHEAD, b"\x00")
            keys = message_keys(pub, secret)
            return seal(pub, padded, b"connectoid/1 message", b"connectoid/1\x01", **keys, ikm_e=ikm_e)
    raise Fault(f"the message is too large: {len(plaintext)} bytes, {SEALED_SIZES[-1] - OVERHEAD} at most")


def message_open(sk, pub, secret, data, known=None):
    """The payload's bytes and its object, checked in the order of the protocol; all but `n` repeats and pinning,
    which need a memory. `known` is the signing key of `candidate` and `bye`, which do not carry one."""
    with failing("seal"):
        sealed = unb64(data, "data")
        plaintext = unseal(sk, sealed, b"connectoid/1 message", b"connectoid/1\x01", **message_keys(pub, secret))
    if len(sealed) not in SEALED_SIZES:
        raise Fault(f"{len(sealed)} bytes are none of the sizes {SEALED_SIZES}", "size")
    length = int.from_bytes(plaintext[:4], "big")
    if length > len(plaintext) - 4:
        raise Fault("the envelope is longer than the message", "envelope")
    if any(plaintext[4 + length :]):
        raise Fault("the padding is not zero", "padding")
    with failing("envelope"):
        return payload_in(plaintext[4 : 4 + length], pub, known)


def payload_in(envelope, pub, known):
    envelope = unjson(envelope, "the envelope")
    alg, field, sig = (text_in(envelope, name) for name in ("alg", "payload", "sig"))
    if alg != "ES384":
        raise Fault(f"alg is {alg!r}, not ES384", "alg")
    payload_bytes = unb64(field, "payload")
    payload = unjson(payload_bytes, "the payload")
    version, typ = integer_in(payload, "v"), text_in(payload, "typ")
    ik = known
    if typ not in TYPES_WITHOUT_IK:
        ik = un_pub(payload.get("ik"), "ik")
    elif typ == "candidate":
        unb64(payload.get("re"), "re", 48)
    if ik is None:
        raise Fault(f"{typ} carries no ik: give the known one with --ik", "signer")

    with failing("signature"):
        sig = unb64(sig, "sig", 96)
        r, s = int.from_bytes(sig[:48], "big"), int.from_bytes(sig[48:], "big")
        try:
            key = public_key(ik, "ik")
            key.verify(encode_dss_signature(r, s), signed_bytes(field), ec.ECDSA(hashes.SHA384()))
        except InvalidSignature:
            raise Fault("the signature is wrong") from None

    if version != 1:
        raise Fault("v is not 1", "version")
    if typ not in TYPES:
        raise Fault(f"typ is {typ!r}", "type")
    if un_pub(payload.get("to"), "to") != pub:
        raise Fault("to is another box", "address")
    for name in ("n", "ts"):
        integer_in(payload, name)
    check_body(payload)
    return payload_bytes, payload


def text_in(value, name):
    if not isinstance(value.get(name), str):
        raise Fault(f"{name} is not text")
    return value[name]


def integer_in(value, name):
    if type(value.get(name)) is not int or not 0 <= value[name] < 2**53:
        raise Fault(f"{name} is not an integer below 2^53")
    return value[name]


def check_body(payload):
    """The fields of each type."""
    typ = payload["typ"]
    if typ in ("answer", "candidate", "refuse"):
        unb64(payload.get("re"), "re", 48)
    if typ == "offer":
        return_connectoid(payload)
        unb64(payload.get("sasCommit"), "sasCommit", 48)
        check_sdp(payload.get("sdpOffer"), "offer")
    elif typ == "answer":
        unb64(payload.get("sasNonce"), "sasNonce", 32)
        check_sdp(payload.get("sdpAnswer"), "answer")
    elif typ == "candidate":
        candidates = payload.get("candidates")
        if not isinstance(candidates, list) or not all(isinstance(one, dict) for one in candidates):
            raise Fault("candidates is not a list of objects")
        if not 1 <= len(candidates) <= 32:
            raise Fault("not 1 to 32 candidates")
    elif typ == "refuse":
        if text_in(payload, "reason") not in ("link-used", "declined"):
            raise Fault("an unknown reason")
    elif typ == "note":
        unb64(payload.get("note"), "note")


def check_sdp(description, typ):
    if not isinstance(description, dict) or text_in(description, "type") != typ:
        raise Fault(f"not an SDP of type {typ}")
    fingerprint(text_in(description, "sdp"))


# The data channel and the short string (sections 5 and 6): for the vectors only

# The Matrix specification's table in its order: Dog … Pin.
EMOJI = (
    "🐶 🐱 🦁 🐎 🦄 🐷 🐘 🐰 🐼 🐓 🐧 🐢 🐟 🐙 🦋 🌷 🌳 🌵 🍄 🌏 🌙 ☁️ 🔥 🍌 🍎 🍓 🌽 🍕 🎂 ❤️ 😀 🤖 "
    "🎩 👓 🔧 🎅 👍 ☂️ ⌛ ⏰ 🎁 💡 📕 ✏️ 📎 ✂️ 🔒 🔑 🔨 ☎️ 🏁 🚂 🚲 ✈️ 🚀 🏆 ⚽ 🎸 🎺 🔔 ⚓ 🎧 📁 📌"
).split()


EMOJI_NAMES = (
    "Dog Cat Lion Horse Unicorn Pig Elephant Rabbit Panda Rooster Penguin Turtle Fish Octopus Butterfly Flower "
    "Tree Cactus Mushroom Globe Moon Cloud Fire Banana Apple Strawberry Corn Pizza Cake Heart Smiley Robot "
    "Hat Glasses Spanner Santa ThumbsUp Umbrella Hourglass Clock Gift LightBulb Book Pencil Paperclip Scissors "
    "Lock Key Hammer Telephone Flag Train Bicycle Aeroplane Rocket Trophy Ball Guitar Trumpet Bell Anchor "
    "Headphones Folder Pin"
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
    found = set()
    for line in sdp.split("\n"):
        name, _, value = line.removesuffix("\r").removeprefix("a=fingerprint:").partition(" ")
        if not line.startswith("a=fingerprint:") or name.lower() != "sha-256":
            continue
        if not re.fullmatch("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}", value):
            raise Fault("a fingerprint that cannot be read")
        found.add(bytes.fromhex(value.replace(":", "")))
    if len(found) != 1:
        raise Fault(f"{len(found)} fingerprints in an SDP")
    return found.pop()


def short_string(th, secret_o, secret_a, r_o, r_a):
    raw = hkdf(th, secret_o + secret_a, b"connectoid/1 sas" + r_o + r_a, 8)
    bits = f"{int.from_bytes(raw, 'big'):064b}"
    indexes = [int(bits[6 * i : 6 * i + 6], 2) for i in range(7)]
    numbers = [int(bits[13 * i : 13 * i + 13], 2) + 1000 for i in range(3)]
    return {"raw": raw.hex(), "indexes": indexes, "emoji": " ".join(EMOJI[i] for i in indexes), "numbers": numbers}


def frame_read(text):
    """A frame's fields, bytes as bytes."""
    data = text.encode()
    if len(data) > 16384:
        raise Fault("more than 16 KiB", "too-big")
    with failing("malformed"):
        frame = unjson(data, "the frame")
        t = text_in(frame, "t")
        if t == "hello":
            if integer_in(frame, "v") != 1:
                raise Fault("v is not 1", "version")
            fields = {"t": t, "nonce": unb64(frame.get("nonce"), "nonce", 32)}
            if "r" in frame:
                fields["r"] = unb64(frame["r"], "r", 32)
            return fields
        if t == "proof":
            return {"t": t, "mac": unb64(frame.get("mac"), "mac", 48)}
        if t == "rekey":
            return {"t": t, "connectoid": write_connectoid(return_connectoid(frame))}
        if t == "rekey-ok":
            return {"t": t, "pub": b64(un_pub(frame.get("pub")))}
        raise Fault(f"t is {t!r}", "type")


def frame_write(fields):
    text = {name: b64(value) if isinstance(value, bytes) else value for name, value in fields.items()}
    if text["t"] == "hello":
        text = {"t": "hello", "v": 1, **text}
    return compact(text).decode()


# The vectors


class Checks:
    count = 0

    def equal(self, name, got, expected):
        if got != expected:
            raise Fault(f"{name}: computed {got!r}, the file has {expected!r}")
        self.count += 1

    def refused(self, name, why, function, *arguments):
        """That this fails; for the reason `why` if that is not None."""
        try:
            function(*arguments)
        except Fault as e:
            if why is not None and e.why != why:
                raise Fault(f"{name}: refused for {e.why!r} ({e}), the file has {why!r}") from None
            self.count += 1
            return
        raise Fault(f"{name}: taken, the file has {why!r}")


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


def check_links(v, check):
    for entry in v["connectoids"]:
        read, given = parse_connectoid(entry["given"]), entry["given"]
        check.equal(given, write_connectoid(read), entry["canonical"])
        check.equal(given, b64(read["pub"]), entry["pub"])
        check.equal(given, read["relays"], entry["relays"])
        check.equal(given, read["ext"], entry["ext"])
        check.equal(given, read["secret"] and read["secret"].hex(), entry["secret"])
    for entry in v["links"]:
        text, place = find_connectoid(entry["given"])
        check.equal(entry["given"], write_connectoid(parse_connectoid(text)), entry["connectoid"])
        check.equal(entry["given"], place, entry["place"])
    for entry in v["refused"]:
        given = entry["given"]
        check.refused(repr(given), entry["why"], lambda: parse_connectoid(find_connectoid(given)[0]))


def check_keys(v, check):
    for text in v["good"]:
        check.equal("good", b64(un_pub(text)), text)
    for entry in v["refused"]:
        check.refused(entry["why"], None, un_pub, entry["given"])
    for entry in v["privateRefused"]:
        check.refused(entry["why"], None, lambda given=entry["given"]: private_key(unhex(given, "sk", 48)))


def check_question(v, check):
    sk, pub, relay, key = bytes.fromhex(v["sk"]), un_pub(v["pub"]), v["relay"], bytes.fromhex(v["K"])
    head = v["t"].to_bytes(8, "big") + bytes.fromhex(v["r"])

    def tag(head):
        return hmac384(key, b"connectoid/1 answer", lp16(relay.encode()), pub, head)[:32]

    check.equal("sk", public_bytes(private_key(sk)), pub)
    check.equal("answer", b64(head + tag(head)), v["answer"])
    check.equal("question opened", b64(question_open(sk, pub, relay, v["question"])), v["answer"])
    check.equal("question", question_seal(pub, relay, head + tag(head), bytes.fromhex(v["ikmE"])), v["question"])
    for entry in v["refused"]:
        check.refused(entry["why"], None, question_open, sk, pub, relay, entry["question"])
    for entry in v["answers"]:
        answer = unb64(entry["answer"], "answer", 56)
        age = entry["now"] - int.from_bytes(answer[:8], "big")
        verifies = -5 <= age <= 60 and tag(answer[:24]) == answer[24:]
        check.equal(f"answer at {entry['now']}", verifies, entry["verifies"])


def check_messages(v, check):
    boxes = {}
    for name, box in v["boxes"].items():
        sk, secret = bytes.fromhex(box["sk"]), box["secret"] and bytes.fromhex(box["secret"])
        boxes[name] = sk, un_pub(box["pub"]), secret
        check.equal(name, b64(public_bytes(private_key(sk))), box["pub"])
        check.equal(f"{name}'s psk", secret and message_psk(boxes[name][1], secret).hex(), box["psk"])
    for name, signer in v["signers"].items():
        check.equal(name, b64(public_bytes(private_key(bytes.fromhex(signer["sk"])))), signer["ik"])
    bob = private_key(bytes.fromhex(v["signers"]["bob"]["sk"]))
    for entry in v["good"]:
        sk, pub, secret = boxes[entry["to"]]
        name = f"{entry['typ']} {entry['n']} to {entry['to']}"
        known = entry["known"] and un_pub(entry["known"])
        payload, opened = message_open(sk, pub, secret, entry["data"], known)
        check.equal(name, payload.decode(), entry["payload"])
        check.equal(name, (opened["typ"], opened["n"], opened["ts"]), (entry["typ"], entry["n"], v["ts"]))
        # The same bytes again: ECDSA is deterministic (RFC 6979), and the ephemeral key is given.
        ours = message_seal(pub, secret, bob, entry["payload"].encode(), bytes.fromhex(entry["ikmE"]))
        check.equal(f"{name}, sealed", ours, entry["data"])
        if known:
            check.refused(name, "signer", message_open, sk, pub, secret, entry["data"])
    for entry in v["refused"]:
        sk, pub, secret = boxes[entry["to"]]
        data = entry.get("data") or envelope_seal(pub, secret, entry["envelope"].encode())
        known = entry["known"] and un_pub(entry["known"])
        check.refused(entry["name"], entry["why"], message_open, sk, pub, secret, data, known)


def check_connections(v, check):
    for one in v["connections"]:
        offer, answer = one["offer"].encode(), one["answer"].encode()
        said, reply = unjson(offer, "the offer"), unjson(answer, "the answer")
        check.equal("re", reply["re"], b64(sha384(offer)))
        secrets = one["secretO"] and bytes.fromhex(one["secretO"]), bytes.fromhex(one["secretA"])
        r_o, r_a, nonce_o, nonce_a = (bytes.fromhex(one[name]) for name in ("rO", "rA", "nonceO", "nonceA"))
        back = parse_connectoid(said["connectoid"])
        check.equal("secretA", back["secret"], secrets[1])
        commit = sha384(b"connectoid/1 sas-commit", r_o, back["pub"], un_pub(said["ik"], "ik"))
        check.equal("sasCommit", commit.hex(), one["sasCommit"])
        check.equal("sasCommit of the offer", b64(commit), said["sasCommit"])
        check.equal("sasNonce", b64(r_a), reply["sasNonce"])
        th = transcript(offer, answer)
        kdc = data_channel_key(th, *secrets)
        check.equal("TH", th.hex(), one["TH"])
        check.equal("Kdc", kdc.hex(), one["Kdc"])
        sas = short_string(th, secrets[0] or bytes(32), secrets[1], r_o, r_a)
        for name in ("raw", "emoji", "numbers"):
            check.equal(f"sas.{name}", sas[name], one["sas"][name])
        check.equal("sas.names", " ".join(EMOJI_NAMES[i] for i in sas["indexes"]), one["sas"]["names"])
        fp_o, fp_a = fingerprint(said["sdpOffer"]["sdp"]), fingerprint(reply["sdpAnswer"]["sdp"])
        check.equal("fpO", fp_o.hex(), one["fpO"])
        check.equal("fpA", fp_a.hex(), one["fpA"])
        proof_o = proof(kdc, b"\x4f", nonce_a, nonce_o, fp_o, fp_a).hex()
        check.equal("proofO", proof_o, one["proofO"])
        check.equal("proofA", proof(kdc, b"\x41", nonce_o, nonce_a, fp_a, fp_o).hex(), one["proofA"])
        for entry in one["refusedFromOfferer"]:
            check.equal(entry["why"], entry["mac"] == proof_o, False)


def check_sdps(v, check):
    for entry in v["sdps"]:
        if entry["fingerprint"] is None:
            check.refused(repr(entry["sdp"]), None, fingerprint, entry["sdp"])
        else:
            check.equal(repr(entry["sdp"]), fingerprint(entry["sdp"]).hex(), entry["fingerprint"])


def check_frames(v, check):
    for entry in v["good"]:
        fields = frame_read(entry["given"])
        shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
        given = {name: value for name, value in entry["fields"].items() if value is not None}
        check.equal(entry["given"], shown, given)
        check.equal(entry["given"], frame_write(fields), entry["written"])
    for entry in v["refused"]:
        check.refused(entry["given"][:100], entry["why"], frame_read, entry["given"])


VECTORS = {
    "links": check_links,
    "keys": check_keys,
    "question": check_question,
    "messages": check_messages,
    "connections": check_connections,
    "sdp": check_sdps,
    "frames": check_frames,
}


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
    if ik is not None and "ik" in payload and un_pub(payload["ik"], "ik") != ik:
        raise Fault("ik is not the pinned one")
    payload.pop("noteText", None)
    if payload["typ"] == "note":
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
    if (args.note_file is None) == (args.body is None):
        raise Fault("either --note-file or --body")
    if args.body is not None:
        body = unjson(args.body.encode(), "--body")
    else:
        with open(args.note_file, "rb") as f:
            body = {"typ": "note", "note": b64(f.read())}
    payload = {"v": 1, "typ": text_in(body, "typ"), "n": args.n, "ts": args.ts, "to": b64(pub)}
    if payload["typ"] not in TYPES_WITHOUT_IK:
        payload["ik"] = b64(public_bytes(sign_key))
    return message_seal(pub, secret, sign_key, compact({**payload, **body}))


def link(args):
    text, place = find_connectoid(sys.stdin.buffer.read().decode())
    return json.dumps({"connectoid": write_connectoid(parse_connectoid(text)), "place": place})


def transcript_(args):
    one = unjson(sys.stdin.buffer.read(), "the connection")
    th = transcript(one["offer"].encode(), one["answer"].encode())
    secrets = one["secretO"] and bytes.fromhex(one["secretO"]), bytes.fromhex(one["secretA"])
    names = ("rO", "rA", "nonceO", "nonceA", "fpO", "fpA")
    r_o, r_a, nonce_o, nonce_a, fp_o, fp_a = (unhex(one[name], name, 32) for name in names)
    kdc = data_channel_key(th, *secrets)
    sas = short_string(th, secrets[0] or bytes(32), secrets[1], r_o, r_a)
    return json.dumps({
        "sas": {name: sas[name] for name in ("raw", "emoji", "numbers")},
        "proofO": proof(kdc, b"\x4f", nonce_a, nonce_o, fp_o, fp_a).hex(),
        "proofA": proof(kdc, b"\x41", nonce_o, nonce_a, fp_a, fp_o).hex(),
    })


def vectors(args):
    with open(args.file, "rb") as f:
        v = unjson(f.read(), args.file)
    check = Checks()
    if "kind" in v:
        VECTORS[v["kind"]](v, check)
    else:
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
        seal_, "seal", "seal a note, or a message of any type: --body is a JSON object with typ and its fields",
        ("--to-pub", need), ("--secret", may), ("--sign-key", need), ("--n", number), ("--ts", number),
        ("--note-file", may), ("--body", may),
    )  # fmt: skip
    command(link, "link", "stdin: a link; print its connectoid and where it stood")
    command(transcript_, "transcript", "stdin: a connection as in the vectors; print what follows from its fields")
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
