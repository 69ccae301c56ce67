"""Where state may be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import Settings, _conflicts, read_settings


def test_state_may_be_kept_in_a_file_that_is_there_or_not(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert read_settings({"XERO_PROXY_STATE_FILE": str(path)}).state_file == str(path)
    path.touch()
    assert read_settings({"XERO_PROXY_STATE_FILE": str(path)}).state_file == str(path)


def test_two_places_for_the_limits_contradict_each_other(tmp_path: Path) -> None:
    settings = Settings(state_file=str(tmp_path / "state.db"), redis_url="redis://h")
    ((keys, sentence),) = _conflicts(settings)
    assert keys == {"state_file", "redis_url"}
    assert "XERO_PROXY_STATE_FILE and XERO_PROXY_REDIS_URL must not both be given" in sentence


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tls_cert_file": "/c"}, {"tls_cert_file", "tls_key_file"}),
        ({"tls_key_file": "/k"}, {"tls_cert_file", "tls_key_file"}),
        ({"tls_client_ca_file": "/a"}, {"tls_client_ca_file", "tls_cert_file"}),
    ],
)
def test_a_certificate_comes_with_its_key_and_authorities_with_both(
    given: dict[str, str], named: set[str]
) -> None:
    ((keys, _),) = _conflicts(Settings(**given))  # type: ignore[arg-type]  # they are texts alone
    assert keys == named
