"""Tokens for AWS MSK with IAM: ``oauth_cb = "labkit.msk:token"`` in a profile.

They are signed for who this process is to AWS. ``sasl.oauthbearer.config`` holds
``region=eu-west-1`` and may add ``profile=NAME`` (of the AWS configuration) or ``role=ARN`` (a role
to take on). Needs the extra: ``pip install 'labkit[msk]'``.
"""

from __future__ import annotations

from labkit.checks.extras import needs_extra
from labkit.errors import ConfigError

_KEYS = {"region", "profile", "role"}


def token(config: str) -> tuple[str, float]:
    """Return a signed token and when it expires, in seconds since the epoch.

    No server is asked to sign it.

    Parameters
    ----------
    config : str
        ``region=… [profile=…] [role=…]``.

    Raises
    ------
    ConfigError
        When the region is missing or the extra is not installed.
    """
    settings = dict(word.partition("=")[::2] for word in (config or "").replace(",", " ").split())
    if not settings.get("region") or set(settings) - _KEYS or {"profile", "role"} <= set(settings):
        raise ConfigError(
            "sasl.oauthbearer.config must be 'region=REGION', with profile=NAME or role=ARN where needed",
            hint='"sasl.oauthbearer.config" = "region=eu-west-1"',
        )
    with needs_extra("msk", "AWS MSK IAM"):
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider as Provider
    region = settings["region"]
    if "profile" in settings:
        text, expires_ms = Provider.generate_auth_token_from_profile(region, settings["profile"])
    elif "role" in settings:
        text, expires_ms = Provider.generate_auth_token_from_role_arn(region, settings["role"])
    else:
        text, expires_ms = Provider.generate_auth_token(region)
    return text, expires_ms / 1000
