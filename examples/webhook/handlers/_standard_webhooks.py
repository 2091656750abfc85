"""Signatures as Standard Webhooks 1.0.0 has them: HMAC-SHA256 of `id.timestamp.body`, in base64."""

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"


def key_of(secret):
    """The key behind a secret such as `whsec_MfKQ…`. Raises ValueError."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a webhook secret is {PREFIX} and base64: {error}") from error
    if not 24 <= len(key) <= 64:
        raise ValueError(f"the key of a webhook has 24 to 64 bytes; this one has {len(key)}")
    return key


def signature(keys, id, timestamp, body):
    """The header `webhook-signature`: one signature for each key, so that a receiver may know the old or the new one."""
    content = b"%b.%d.%b" % (id.encode(), timestamp, body)
    digests = (hmac.new(key, content, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
