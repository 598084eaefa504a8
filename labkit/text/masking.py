"""Hide secrets that show by their form: logins and queries of addresses, authorization headers.

What its form does not show is recognised by the name of its setting (`is_secret`). Pure, and below
all else, so every error's text passes through it.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_NAMES = re.compile(
    r"passw|passwd|passphrase|\bpwd\b|secret|credential|\bkey\b|key\.pem|api[-_.]?key|(?:^|[_.-])auth\b|authorization"
    r"|user\.info|\bheaders?\b|bearer|token|cookie|signature|jaas|oauthbearer\.config",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(
    r"\.location$|\.file$|\.url$|token\.endpoint|oauthbearer\.method", re.IGNORECASE
)
# one more character of this address, not the next in a list
_NEXT_ADDRESS = r"(?:(?!,?[A-Za-z][\w+.-]*://)\S)"
_LOGIN = re.compile(rf"([A-Za-z][\w+.-]*://){_NEXT_ADDRESS}*@")
_QUERY = re.compile(
    rf"([A-Za-z][\w+.-]*://{_NEXT_ADDRESS}*?)[?#]{_NEXT_ADDRESS}*?(?=$|[\s,'\")>\]])"
)
_NAMED = re.compile(
    r"([?&#;](?:[\w.-]*(?:key|token|secret|passw|pwd|auth|sig|credential)[\w.-]*))=[^&\s#'\")]*",
    re.I,
)
_HEADER = re.compile(
    r"(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*)(?:b?['\"][^'\"]*['\"]|(?:\w+\s+)?[^\s,;'\"]+)"
    r"|(\b(?:bearer|apikey|basic)\s+)(?=[\w+/.~-]*\d)[\w+/.~-]{12,}=*",
    re.IGNORECASE,
)  # fmt: skip
_BARE_LOGIN = re.compile(r"(^|,\s*)[^,\s/]*@(?=[\w.\[-])")


def is_secret(name: str) -> bool:
    """Tell whether the setting `name` holds a secret."""
    return bool(_NAMES.search(name)) and not _NOT_SECRET.search(name)


def without_secrets(text: str) -> str:
    """Return `text` with its addresses' logins and queries, and authorization headers, hidden."""
    if "@" in text:
        text = _LOGIN.sub(rf"\1{HIDDEN}@", text)
    if "://" in text:
        text = _QUERY.sub(rf"\1?{HIDDEN}", text)
    if "=" in text:
        text = _NAMED.sub(rf"\1={HIDDEN}", text)
    return _HEADER.sub(lambda match: f"{match[1] or match[2]}{HIDDEN}", text)


def has_login(text: str) -> bool:
    """Tell whether `text` has a login or an authorization header.

    A secret that is named in an address's query counts as one.
    """
    return bool(
        _LOGIN.search(text) or ("://" in text and _NAMED.search(text)) or _HEADER.search(text)
    )


def without_login(address: str) -> str:
    """Return an address, or several with commas, without its secrets; it may lack ``scheme://``."""
    return _BARE_LOGIN.sub(rf"\1{HIDDEN}@", without_secrets(address))
