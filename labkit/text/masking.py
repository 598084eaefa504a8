"""Hide secrets that show by their form: logins of addresses, headers, ``password=…``, keys.

What its form does not show is recognised by the name of its setting (`is_secret`). Pure, and below
all else, so every error's text passes through it.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_NAMES = re.compile(
    r"pass|pasw|\bpwd\b|secret|credential|\bkey\b|key\.pem|api[-_.]?key|(?:^|[_.-])auth\b|authorization"
    r"|user\.info|\bheaders?\b|(?<!oauth)bearer|token|cookie|signature|jaas|oauthbearer\.(?:config|extensions)",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(r"\.location$|\.file$|\.url$|token\.endpoint|client\.id$", re.IGNORECASE)
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
    r"(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*)(?:b?['\"][^'\"]*['\"]"
    r"|\w+\s+(?:,?\s*[\w-]+=(?:\"[^\"]*\"|[^\s,\"]+))+|(?:\w+\s+)?[^\s,;'\"]+)"
    r"|(\b(?:bearer|apikey|basic)\s+)(?=[\w+/.~-]*\d)[\w+/.~-]{12,}=*",
    re.IGNORECASE,
)  # fmt: skip
_COOKIE = re.compile(r"(\b(?:set-)?cookie2?:\s*)[^\s=;]+=[^\r\n'\"]*", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)", re.DOTALL)
_SIGNED_TOKEN = re.compile(r"\beyJ[\w-]{6,}\.eyJ[\w-]+\.[\w-]*")
_PASSWORD = re.compile(r"(?:passw(?:or)?d|passphrase|pwd|secret)\s*=\s*[^\s=]", re.IGNORECASE)
# What a name in free text ends with: `max_tokens`, `tokenizer`, `password_file` are no secrets.
_ENDING = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|credentials?|token|signature|user\.info|key\.pem|cookie"
    r"|(?:api|access|account|private|secret)[-_.]?key|(?:jaas|oauthbearer)\.config|(?<![a-z])auth)"
)
_ASSIGNED = re.compile(
    rf"""(?P<name>(?<![\w./-])[\w.-]*{_ENDING})
    (?P<separator>\\?['"]?\s*(?:=>|:|=(?!=))\s*)
    (?:b?(?P<quote>\\?['"])(?:(?!(?P=quote))(?:\\.|.))*(?:(?P=quote)|$)  # or cut off
    |[(\[]\s*b?['"].*?(?:[)\]]|$)
    |(?P<bare>(?:(?![)\]}},;.'"`]*(?:\s|$)|[,;&][\w.-]+[=:])\S)+))""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_NO_VALUE = re.compile(r"(?:none|null|true|false)$|/|…|\.\.\.|<|\$?\$\{", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z_][\w.]*[(\[]")
_BARE_LOGIN = re.compile(r"(^|,\s*)[^,\s/]*@(?=[\w.\[-])")


def is_secret(name: str) -> bool:
    """Tell whether the setting `name` holds a secret."""
    return bool(_NAMES.search(name)) and not _NOT_SECRET.search(name)


def without_secrets(text: str) -> str:
    """Return `text` without the logins and queries of addresses, headers, and named secrets."""
    if "@" in text:
        text = _LOGIN.sub(rf"\1{HIDDEN}@", text)
    if "://" in text:
        text = _QUERY.sub(rf"\1?{HIDDEN}", text)
    if "=" in text:
        text = _NAMED.sub(rf"\1={HIDDEN}", text)
    text = _HEADER.sub(lambda match: f"{match[1] or match[2]}{HIDDEN}", text)
    text = _COOKIE.sub(rf"\1{HIDDEN}", text)
    text = _PRIVATE_KEY.sub(rf"\1{HIDDEN}", text)
    text = _SIGNED_TOKEN.sub(HIDDEN, text)
    return _ASSIGNED.sub(_hide_value, text)


def _hide_value(match: re.Match[str]) -> str:
    """Return ``password=***``, or what was there where it is a sentence, code or no value."""
    name, separator, value = match["name"], match["separator"], match["bare"]
    shown = f"{name}{separator}{HIDDEN}"
    if value is None:  # in quotes or brackets
        return shown
    if _NO_VALUE.match(value) or (" =" in separator and _CODE.match(value)):
        return match[0]
    is_sentence = re.match(r"[\s,;.)]*[^\s,;.)]", match.string[match.end() :].partition("\n")[0])
    if separator.strip() == ":" and (is_sentence or name.lower().endswith("token")):
        return match[0]
    return shown


def has_login(text: str) -> bool:
    """Tell whether `text` has a login, a password, a cookie, a key or an authorization header.

    A secret that is named in an address's query counts as one.
    """
    if "://" in text and _NAMED.search(text):
        return True
    forms = (_LOGIN, _HEADER, _COOKIE, _PRIVATE_KEY, _SIGNED_TOKEN, _PASSWORD)
    return any(form.search(text) for form in forms)


def without_login(address: str) -> str:
    """Return an address, or several with commas, without its secrets; it may lack ``scheme://``."""
    return _BARE_LOGIN.sub(rf"\1{HIDDEN}@", without_secrets(address))
