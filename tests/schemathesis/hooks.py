"""What openapi.yaml cannot say of a good request: `pub` is on the curve, `answer` is right, no box stands twice.

Requests that schemathesis means to be good are made so. Those that it means to be refused are sent as they are.
"""

import base64
import os

import schemathesis
from cryptography.hazmat.primitives.asymmetric import ec

# The published example key, and an answer for its box.
PUB = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw"
ANSWER = os.environ["CONNECTOID_ANSWER"]

# Of a relay that asks for one.
API_KEY = os.environ.get("CONNECTOID_API_KEY")

# Bodies are JSON whatever these say.
CONTENT_TYPES = ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "x/y; charset=z"]


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.method != "POST" or case.meta is None:
        return
    if case.media_type != "application/json":  # what it takes `*/*` for, YAML for instance
        case.headers["Content-Type"] = CONTENT_TYPES[len(str(case.body)) % len(CONTENT_TYPES)]
        case.media_type = "application/json"
    if case.meta.generation.mode.is_positive:
        make_good(case.body)


def make_good(body):
    for fields in [body, *body.get("boxes", [])]:
        for name in ("at", "limit", "wait"):
            # To JSON Schema 1.0 is an integer, to the protocol it is not.
            if isinstance(fields.get(name), float):
                fields[name] = int(fields[name])
    if API_KEY:
        body["ext"] = API_KEY
    if body["action"] in ("receive", "delete"):
        body.update(pub=PUB, answer=ANSWER)
    elif "boxes" in body:
        taken = set()
        for box in body["boxes"]:
            box["pub"] = good_pub(box["pub"], taken)
            taken.add(box["pub"])
    else:
        body["pub"] = good_pub(body["pub"])


def good_pub(pub, taken=()):
    """The example key for half of them, that there be something to receive; else the next on the curve that is free."""
    if pub[-1] in "AQ" and PUB not in taken:
        return PUB
    encoded = base64.urlsafe_b64decode(pub + "==")
    sign, x = encoded[:1], int.from_bytes(encoded[1:], "big")
    while pub in taken or not is_on_curve(encoded):
        x = (x + 1) % 2**384
        encoded = sign + x.to_bytes(48, "big")
        pub = base64.urlsafe_b64encode(encoded).decode().rstrip("=")
    return pub


def is_on_curve(encoded):
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), encoded)
        return True
    except ValueError:
        return False
