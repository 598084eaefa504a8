"""The login of the local schema registry: a token.

Only the registry can check it, and only this user can read it. Apicurio has no users of its own: it
takes tokens of an identity server. It also takes the public key of one, asks no server then, and
holds each token against the key. So a key is made once, signs one token, and is forgotten; the
token and the public key stay in a file of the state folder. A web page (by DNS rebinding) and
another user of this machine have no token, and are refused whatever Host or Origin they name.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

FILE = "registry-login.json"
_END = 4_102_444_800  # 2100-01-01: as long as the state folder, as the roles' passwords are


def read_login(root: Path) -> dict[str, str]:
    """Return the public key and the token.

    Nothing where the registry was never started with a login.
    """
    try:
        login = json.loads((root / FILE).read_text(encoding="utf-8"))
        return {name: str(login[name]) for name in ("public_key", "token")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def client_settings(token: str) -> dict[str, str]:
    """Return what Confluent's clients need to log in with `token`."""
    return {
        "bearer.auth.credentials.source": "STATIC_TOKEN",
        "bearer.auth.token": token,
        # the client wants one; Apicurio does not look at it
        "bearer.auth.logical.cluster": "labkit",
    }


def server_settings(public_key: str) -> dict[str, str]:
    """Return the environment in which Apicurio refuses who has no token."""
    return {
        "REGISTRY_AUTH_ENABLED": "true",
        "QUARKUS_OIDC_PUBLIC_KEY": public_key,
        "QUARKUS_OIDC_AUTH_SERVER_URL": "",  # the default is a server of others
        # it logs tokens
        "QUARKUS_LOG_CATEGORY__IO_QUARKUS_OIDC_RUNTIME_OIDCPROVIDER__LEVEL": "ERROR",
    }


def new_login() -> dict[str, str]:
    """Return a public key, and a token signed by its private key, which is kept nowhere."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = {"iss": "labkit", "sub": "labkit", "iat": int(time.time()), "exp": _END}
    body = b".".join(
        _encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims)
    )
    signature = key.sign(body, padding.PKCS1v15(), hashes.SHA256())
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    token = b".".join((body, _encode(signature))).decode()
    return {"public_key": base64.b64encode(public).decode(), "token": token}


def _encode(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")
