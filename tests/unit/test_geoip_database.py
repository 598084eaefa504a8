"""A GeoIP file that is replaced while it is in use, and databases that hold no places."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from labkit.enrich.geoip import geoip
from labkit.errors import ConfigError
from support.mmdb import mmdb, place


def cities(enricher: object, *addresses: str) -> list[tuple[str | None, str | None]]:
    rows = enricher.add(pa.table({"ip": list(addresses)}))  # type: ignore[attr-defined]
    return list(zip(rows["geoip_reason"].to_pylist(), rows["geoip_city"].to_pylist(), strict=True))


OLD = {"1.0.0.0/8": place("AU", "Sydney"), "81.0.0.0/8": place("GB", "Willesden")}
NEW = {f"{first}.0.0.0/8": place("US", "Mountain View") for first in (1, 2, 3, 9, 11, 12, 81)}


@pytest.mark.filterwarnings("ignore:GeoIP database")
@pytest.mark.parametrize("how", ["renamed", "overwritten"])
def test_a_file_replaced_while_in_use_changes_no_answer(tmp_path: Path, how: str) -> None:
    """BEHAVIOURS 52: one file's tree and another's data put 10.0.0.1 in Mountain View."""
    path = tmp_path / "x.mmdb"
    path.write_bytes(mmdb(OLD))
    enricher = geoip("ip", database=path)
    if how == "renamed":
        (tmp_path / "new").write_bytes(mmdb(NEW, built=1_750_000_000))
        os.replace(tmp_path / "new", path)
    else:
        path.write_bytes(mmdb(NEW, built=1_750_000_000))
    addresses = ("1.2.3.4", "81.2.69.142", "10.0.0.1", "9.9.9.9")
    assert cities(enricher, *addresses) == [
        ("hit", "Sydney"), ("hit", "Willesden"), ("private", None), ("not_found", None)
    ]  # fmt: skip
    assert "2023-11-14" in enricher.notes()[0]
    assert cities(geoip("ip", database=path), "9.9.9.9") == [("hit", "Mountain View")]


@pytest.mark.filterwarnings("ignore:GeoIP database")
def test_another_file_on_a_worker_is_an_error(tmp_path: Path) -> None:
    """BEHAVIOURS 52, a sibling: a pickled enricher opens the file anew.

    The receipt has the first one's date.
    """
    path = tmp_path / "x.mmdb"
    path.write_bytes(mmdb(OLD))
    sent = pickle.dumps(geoip("ip", database=path))
    assert cities(pickle.loads(sent), "1.2.3.4") == [("hit", "Sydney")]
    path.write_bytes(mmdb(NEW))
    with pytest.raises(ConfigError, match="another file"):
        pickle.loads(sent)


@pytest.mark.filterwarnings("ignore:GeoIP database")
@pytest.mark.parametrize(
    ("kind", "entry", "has"),
    [
        (
            "GeoLite2-ASN",
            {"autonomous_system_number": 13335, "autonomous_system_organization": "X"},
            "autonomous_system",
        ),
        ("GeoIP2-Anonymous-IP", {"is_anonymous": True, "is_tor_exit_node": True}, "is_anonymous"),
        ("GeoIP2-Domain", {"domain": "example.org"}, "domain"),
    ],
)
def test_a_database_without_places_is_refused(
    tmp_path: Path, kind: str, entry: dict[str, object], has: str
) -> None:
    """BEHAVIOURS 52: each address was a hit without a country."""
    path = tmp_path / "x.mmdb"
    path.write_bytes(mmdb({"1.0.0.0/8": entry}, kind=kind))
    with pytest.raises(ConfigError, match=rf"{kind}\) has no places, only {has}"):
        geoip("ip", database=path)


@pytest.mark.filterwarnings("ignore:GeoIP database")
def test_a_database_that_knows_countries_only_is_one_of_places(tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(
        mmdb({"1.0.0.0/8": {"country": {"iso_code": "AU"}}, "2.0.0.0/8": {}}, kind="x")
    )
    assert cities(geoip("ip", database=path), "1.2.3.4", "2.2.3.4") == [
        ("hit", None),
        ("hit", None),
    ]
